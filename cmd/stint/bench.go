package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/runner/native"
)

// bench is one run of the benchmarks: where it works, and how much.
type bench struct {
	app   *app
	flags *benchFlags
	dir   string
	size  int64
	text  string // path of the text, once it is made
}

// workload measures one thing.
type workload func(ctx context.Context, b *bench) (measurement, error)

func workloads() map[string]workload {
	return map[string]workload{
		"operations": benchOperations,
		"commands":   benchCommands,
		"grep":       benchGrep,
		"wordcount":  benchWordcount,
	}
}

// benchRun is one run: what it took.
type benchRun struct {
	wall, cpu float64 // seconds
}

// benchService starts a service on a data folder for one workload.
func benchService(ctx context.Context, dir string) (*session, error) {
	f, err := (&app{data: dir}).openFolder()
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, f, 1, runtime.NumCPU())
	if err != nil {
		return nil, err
	}
	s.Client, err = f.service()
	return s, err
}

// measure performs a request so many times and returns the run with the median
// of rate, and the rates of all.
func (b *bench) measure(ctx context.Context, name string, req stint.Request, rate func(benchRun) float64) (median benchRun, rates []float64, err error) {
	s, err := benchService(ctx, filepath.Join(b.dir, name))
	if err != nil {
		return median, nil, err
	}
	var all []benchRun
	for range b.flags.runs {
		run, err := performOnce(ctx, s, req)
		if err != nil {
			s.stop() //nolint:errcheck // the first error counts
			return median, nil, err
		}
		all = append(all, run)
		rates = append(rates, rate(run))
	}
	slices.SortFunc(all, func(x, y benchRun) int { return cmp.Compare(rate(x), rate(y)) })
	return all[len(all)/2], rates, s.stop()
}

func performOnce(ctx context.Context, s *session, req stint.Request) (benchRun, error) {
	pid := s.own.Process.Pid
	before, began := cpuSeconds(pid), time.Now()
	x, err := s.Submit(ctx, req)
	if err != nil {
		return benchRun{}, err
	}
	last, err := watch(ctx, s.Client, x.ID, func(*stint.Execution) error { return nil })
	if err != nil {
		return benchRun{}, err
	}
	if last.Status != stint.Completed {
		return benchRun{}, fmt.Errorf("%s is %s: %w", x.ID, last.Status, last.Error)
	}
	return benchRun{wall: time.Since(began).Seconds(), cpu: cpuSeconds(pid) - before}, nil
}

func benchOperations(ctx context.Context, b *bench) (measurement, error) {
	program, err := native.Program("noop", nil)
	if err != nil {
		return measurement{}, err
	}
	n := b.flags.operations
	req := stint.Request{Program: program, Inputs: []string{fmt.Sprintf("range:1..%d", n)}, SubsetSize: 1}
	rate := func(r benchRun) float64 { return float64(n) / r.wall }
	run, rates, err := b.measure(ctx, "operations", req, rate)
	return measurement{Operations: rate(run), CPU: run.cpu, Runs: rates}, err
}

func benchCommands(ctx context.Context, b *bench) (measurement, error) {
	path, err := exec.LookPath("true")
	if err != nil {
		return measurement{}, err
	}
	n := b.flags.commands
	program := stint.Program{Name: "commands", Type: stint.Custom, Stages: []stint.Stage{
		{Name: "map", Action: stint.Action{Command: []string{path}}, Input: stint.Edge{Kind: stint.FromInput}},
	}}
	req := stint.Request{Program: program, Inputs: []string{fmt.Sprintf("range:1..%d", n)}, SubsetSize: 1}
	rate := func(r benchRun) float64 { return float64(n) / r.wall }
	run, rates, err := b.measure(ctx, "commands", req, rate)
	if err != nil {
		return measurement{}, err
	}
	bare, err := spawnLoop(ctx, path, n)
	if err != nil {
		return measurement{}, err
	}
	m := measurement{Operations: rate(run), CPU: run.cpu, Runs: rates}
	m.Reference = reference{Tool: "spawn loop", Operations: rate(bare), CPU: bare.cpu}
	m.Ratio = m.Operations / m.Reference.Operations
	return m, nil
}

// spawnLoop starts a program n times, as many at once as there are cores, and
// does nothing else.
func spawnLoop(ctx context.Context, path string, n int) (benchRun, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return benchRun{}, err
	}
	defer null.Close() //nolint:errcheck // nothing is written
	before, began := cpuSeconds(os.Getpid()), time.Now()
	group, ctx := errgroup.WithContext(ctx)
	cores := runtime.NumCPU()
	for core := range cores {
		group.Go(func() error {
			for i := core; i < n && ctx.Err() == nil; i += cores {
				p, err := os.StartProcess(path, []string{path}, &os.ProcAttr{Files: []*os.File{null, null, null}})
				if err != nil {
					return err
				}
				if _, err := p.Wait(); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	err = group.Wait()
	return benchRun{wall: time.Since(began).Seconds(), cpu: cpuSeconds(os.Getpid()) - before}, err
}

func benchGrep(ctx context.Context, b *bench) (measurement, error) {
	const literal = "needle-in-the-text"
	return b.read(ctx, "grep", map[string]string{"pattern": literal, "fixed": "true"}, "grep", "-a", "-c", "-F", literal)
}

func benchWordcount(ctx context.Context, b *bench) (measurement, error) {
	return b.read(ctx, "wordcount", nil, "mawk", `{ for (i = 1; i <= NF; i++) n[$i]++ } END { for (w in n) print w "\t" n[w] }`)
}

// read measures a shipped program over the text beside a tool over the same.
func (b *bench) read(ctx context.Context, name string, params map[string]string, tool string, args ...string) (measurement, error) {
	path, err := b.makeText()
	if err != nil {
		return measurement{}, err
	}
	program, err := native.Program(name, params)
	if err != nil {
		return measurement{}, err
	}
	req := stint.Request{Program: program, Params: params, Inputs: []string{path}}
	rate := func(r benchRun) float64 { return float64(b.size) / r.cpu }
	run, rates, err := b.measure(ctx, name, req, rate)
	if err != nil {
		return measurement{}, err
	}
	m := measurement{Bytes: rate(run), CPU: run.cpu, Runs: rates}
	other, err := toolRun(ctx, tool, append(args, path)...)
	if err != nil {
		b.app.say("stint: no reference for %s: %v\n", name, err)
		return m, nil
	}
	m.Reference = reference{Tool: tool, CPU: other}
	m.Ratio = other / m.CPU
	return m, nil
}

// toolRun returns the CPU seconds that a tool takes.
func toolRun(ctx context.Context, tool string, args ...string) (float64, error) {
	c := exec.CommandContext(ctx, tool, args...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	if err := c.Run(); err != nil {
		return 0, err
	}
	return (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds(), nil
}

// makeText writes text that is much like prose or source: lines of words, of
// which a few are common and most are rare, and seldom the one that grep looks for.
func (b *bench) makeText() (string, error) {
	if b.text != "" {
		return b.text, nil
	}
	path := filepath.Join(b.dir, "text")
	f, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("make text: %w", err)
	}
	defer f.Close() //nolint:errcheck // Flush tells
	w := bufio.NewWriterSize(f, 1<<20)
	words := vocabulary(rand.New(rand.NewPCG(1, 2)))
	for n := int64(0); n < b.size; {
		line := nextLine(words, n)
		if int64(len(line)) > b.size-n {
			line = line[:b.size-n]
		}
		n += int64(len(line))
		if _, err := w.WriteString(line); err != nil {
			return "", fmt.Errorf("make text: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return "", fmt.Errorf("make text: %w", err)
	}
	b.text = path
	return path, nil
}

// wordSource draws words, some of them often.
type wordSource struct {
	r     *rand.Rand
	zipf  *rand.Zipf
	words []string
}

func vocabulary(r *rand.Rand) *wordSource {
	words := make([]string, 50_000)
	for i := range words {
		b := make([]byte, 2+r.IntN(9))
		for j := range b {
			b[j] = byte('a' + r.IntN(26))
		}
		words[i] = string(b)
	}
	return &wordSource{r: r, zipf: rand.NewZipf(r, 1.1, 4, uint64(len(words)-1)), words: words}
}

func nextLine(s *wordSource, at int64) string {
	var line strings.Builder
	if s.r.IntN(100_000) == 0 {
		fmt.Fprintf(&line, "needle-in-the-text %d ", at)
	}
	for range 4 + s.r.IntN(12) {
		line.WriteString(s.words[s.zipf.Uint64()])
		line.WriteByte(' ')
	}
	return line.String() + "\n"
}

// cpuSeconds returns the CPU time of a process, of all its descendants that
// live, and of those that ended and were waited for.
func cpuSeconds(pid int) float64 {
	const ticks = 100 // a second, on every Linux
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	sum := 0.0
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseFloat(field, 64)
		if err == nil {
			sum += n / ticks
		}
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return sum
	}
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that is gone
		}
		for child := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(child); err == nil {
				sum += cpuSeconds(n)
			}
		}
	}
	return sum
}
