package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
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
	"stint/client"
	"stint/internal/runner/native"
)

// bench is one run of the benchmarks: where it works, and how much.
type bench struct {
	app   *app
	flags *benchFlags
	dir   string
	size  int64
}

// workload measures one thing.
type workload func(ctx context.Context, b *bench) (measurement, error)

func workloads() map[string]workload {
	return map[string]workload{
		"operations": benchOperations,
		"commands":   benchCommands,
		"grep":       benchGrep,
		"wordcount":  benchWordcount,
		"sort":       benchSort,
		"recovery":   benchRecovery,
		"resume":     benchResume,
	}
}

// benchRun is one run: what it took.
type benchRun struct {
	wall, cpu float64 // seconds
}

// rating says how fast a run was: more is better.
type rating func(benchRun) float64

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

// measure performs a request so many times and each time the reference after
// it, if there is one: what else the machine does meanwhile slows both.
func (b *bench) measure(ctx context.Context, name string, req stint.Request, theirs func() (benchRun, error), rate rating) (measurement, error) {
	s, err := benchService(ctx, filepath.Join(b.dir, name))
	if err != nil {
		return measurement{}, err
	}
	var ours, reference []benchRun
	for range b.flags.runs {
		run, err := performOnce(ctx, s, req)
		ours = append(ours, run)
		if err == nil && theirs != nil {
			run, err = theirs()
			reference = append(reference, run)
		}
		if err != nil {
			s.stop() //nolint:errcheck // the first error counts
			return measurement{}, err
		}
	}
	return compareRuns(ours, reference, rate), s.stop()
}

// compareRuns makes the measurement of runs and of those of the reference, which
// are as many or none.
func compareRuns(ours, theirs []benchRun, rate rating) measurement {
	m := measurement{Rate: rate(medianRun(ours, rate)), CPU: medianRun(ours, rate).cpu}
	for _, run := range ours {
		m.Runs = append(m.Runs, rate(run))
	}
	if len(theirs) == 0 {
		return m
	}
	m.Reference.Rate, m.Reference.CPU = rate(medianRun(theirs, rate)), medianRun(theirs, rate).cpu
	for i, run := range theirs {
		m.Reference.Runs = append(m.Reference.Runs, rate(run))
		m.Ratios = append(m.Ratios, m.Runs[i]/m.Reference.Runs[i])
	}
	sorted := slices.Sorted(slices.Values(m.Ratios))
	m.Ratio = sorted[len(sorted)/2]
	return m
}

func medianRun(runs []benchRun, rate rating) benchRun {
	sorted := slices.SortedFunc(slices.Values(runs), func(x, y benchRun) int { return cmp.Compare(rate(x), rate(y)) })
	return sorted[len(sorted)/2]
}

func performOnce(ctx context.Context, s *session, req stint.Request) (benchRun, error) {
	pid := s.own.Process.Pid
	before, began := cpuSeconds(pid), time.Now()
	x, err := s.Submit(ctx, req)
	if err != nil {
		return benchRun{}, err
	}
	last, err := watch(ctx, s.Client, x.ID, 0, func(client.Silence) error { return nil }, func(*stint.Execution) error { return nil })
	if err != nil {
		return benchRun{}, err
	}
	if last.Status != stint.Completed {
		return benchRun{}, fmt.Errorf("%s is %s: %w", x.ID, last.Status, last.Error)
	}
	return benchRun{wall: time.Since(began).Seconds(), cpu: cpuSeconds(pid) - before}, nil
}

func benchOperations(ctx context.Context, b *bench) (measurement, error) {
	n := b.flags.operations
	m, err := b.measure(ctx, "operations", nothing(n), nil, func(r benchRun) float64 { return float64(n) / r.wall })
	m.Unit = perSecond
	return m, err
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
	bare := func() (benchRun, error) { return spawnLoop(ctx, path, n) }
	m, err := b.measure(ctx, "commands", req, bare, func(r benchRun) float64 { return float64(n) / r.wall })
	m.Unit, m.Reference.Tool = perSecond, "spawn loop"
	return m, err
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

const literal = "needle-in-the-text"

func benchGrep(ctx context.Context, b *bench) (measurement, error) {
	return b.read(ctx, "grep", b.size, map[string]string{"pattern": literal, "fixed": "true"}, "grep", "-a", "-F", literal)
}

// benchWordcount reads a quarter of the text, since mawk takes its time.
func benchWordcount(ctx context.Context, b *bench) (measurement, error) {
	return b.read(ctx, "wordcount", max(b.size/4, 1), nil, "mawk", `{ for (i = 1; i <= NF; i++) n[$i]++ } END { for (w in n) print w "\t" n[w] }`)
}

// read measures a shipped program over text of a size beside a tool that makes
// the same of it.
func (b *bench) read(ctx context.Context, name string, size int64, params map[string]string, tool string, args ...string) (measurement, error) {
	path, err := b.makeText(size)
	if err != nil {
		return measurement{}, err
	}
	program, err := native.Program(name, params)
	if err != nil {
		return measurement{}, err
	}
	theirs := func() (benchRun, error) { return toolRun(ctx, tool, append(args, path)...) }
	if _, err := exec.LookPath(tool); err != nil {
		b.app.say("stint: no reference for %s: %v\n", name, err)
		theirs = nil
	}
	req := stint.Request{Program: program, Params: params, Inputs: []string{path}}
	m, err := b.measure(ctx, name, req, theirs, func(r benchRun) float64 { return float64(size) / r.cpu })
	m.Unit = perCoreSeconds
	if theirs != nil {
		m.Reference.Tool = tool
	}
	return m, err
}

// toolRun runs a tool. Its output is read and dropped: to /dev/null, grep would
// look for the first match only.
func toolRun(ctx context.Context, tool string, args ...string) (benchRun, error) {
	c := exec.CommandContext(ctx, tool, args...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	c.Stdout = io.Discard // through a pipe
	began := time.Now()
	if err := c.Run(); err != nil {
		return benchRun{}, fmt.Errorf("%s: %w", tool, err)
	}
	return benchRun{wall: time.Since(began).Seconds(), cpu: (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds()}, nil
}

// textBlock is how many bytes of text are made; a longer text repeats them.
const textBlock = 64 << 20

// makeText writes text that is much like prose or source: lines of words, of
// which a few are common and most are rare, and seldom the one that grep looks
// for, first in the first line. A text of the same size is made once.
func (b *bench) makeText(size int64) (string, error) {
	path := filepath.Join(b.dir, fmt.Sprintf("text-%d", size))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("make text: %w", err)
	}
	defer f.Close() //nolint:errcheck // Write tells
	words := vocabulary(rand.New(rand.NewPCG(1, 2)))
	block := make([]byte, 0, min(size, textBlock)+1<<10)
	for int64(len(block)) < min(size, textBlock) {
		block = append(block, nextLine(words, int64(len(block)))...)
	}
	for size > 0 {
		n, err := f.Write(block[:min(size, int64(len(block)))])
		if err != nil {
			return "", fmt.Errorf("make text: %w", err)
		}
		size -= int64(n)
	}
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
	if s.r.IntN(100_000) == 0 || at == 0 {
		fmt.Fprintf(&line, "%s %d ", literal, at)
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
	for _, child := range children(pid) {
		sum += cpuSeconds(child)
	}
	return sum
}
