package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/runner/command"
)

// one keeps performances apart: a process has one set of children.
var one sync.Mutex

// performance is one call of Perform and what came of it.
type performance struct {
	attempt stint.Attempt
	in      io.Reader
	out     io.Writer
	drain   time.Duration
	runner  *command.Runner // nil: one of its own

	stdout, stderr bytes.Buffer
	status         []string
	took           time.Duration
}

func sh(script string) *performance { return program("sh", "-c", script, "sh") }

func program(argv ...string) *performance {
	return &performance{
		attempt: stint.Attempt{
			Execution: "x-abc", Stage: "map", Operation: "map/7", Op: 7, Number: 2, Job: 3, First: true,
			Action: stint.Action{Command: argv}, Environ: []string{"PATH=" + os.Getenv("PATH"), "A=1"},
			Partitions: 5, Operations: 9, Dir: os.TempDir(),
		},
		in: strings.NewReader(""), drain: 200 * time.Millisecond,
	}
}

func (p *performance) perform(ctx context.Context, t *testing.T) error {
	t.Helper()
	one.Lock()
	defer one.Unlock()
	if p.out == nil {
		p.out = &p.stdout
	}
	p.attempt.Stderr = &p.stderr
	p.attempt.Counters = &stint.Counters{}
	p.attempt.Status = func(s string) { p.status = append(p.status, s) }
	if p.runner == nil {
		p.runner = &command.Runner{Drain: p.drain}
	}
	begun := time.Now()
	defer func() { p.took = time.Since(begun) }()
	return p.runner.Perform(ctx, &p.attempt, p.in, p.out)
}

func (p *performance) mustPerform(t *testing.T) {
	t.Helper()
	if err := p.perform(t.Context(), t); err != nil {
		t.Fatalf("%v\nstderr: %s", err, p.stderr.String())
	}
}

func (p *performance) counters() map[string]int64 {
	m := make(map[string]int64)
	for _, c := range p.attempt.Counters.Deltas(0) {
		m[c.Group+"/"+c.Name] = c.Value
	}
	return m
}

func TestInputGoesInAndOutputComesOutUnchanged(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 4095, 64 << 10, 64<<10 + 1, 3 << 20} {
		data := bytes.Repeat([]byte("a\xff\x00\r\nb\t"), size/7+1)[:size]
		p := program("cat")
		p.in = bytes.NewReader(data)
		p.mustPerform(t)
		if !bytes.Equal(data, p.stdout.Bytes()) {
			t.Errorf("%d bytes came back as %d", size, p.stdout.Len())
		}
		if c := p.counters(); len(c) != 0 {
			t.Errorf("counters %v", c)
		}
	}
}

func TestALineOfTenMegabytesIsCarried(t *testing.T) {
	t.Parallel()
	p := sh(`head -c 10000000 /dev/zero; echo`)
	p.mustPerform(t)
	if n := p.stdout.Len(); n != 10000001 {
		t.Fatal(n)
	}
}

func TestExitCodeFailsTheAttempt(t *testing.T) {
	t.Parallel()
	err := sh("exit 3").perform(t.Context(), t)
	var exit *stint.ExitError
	if !errors.As(err, &exit) || exit.Exit != 3 || stint.CodeOf(err) != stint.Failed {
		t.Fatalf("%#v", err)
	}
}

func TestSignalFailsTheAttempt(t *testing.T) {
	t.Parallel()
	err := sh("kill -SEGV $$").perform(t.Context(), t)
	var exit *stint.ExitError
	if !errors.As(err, &exit) || exit.Signal != "SIGSEGV" || stint.CodeOf(err) != stint.Failed {
		t.Fatalf("%#v", err)
	}
}

func TestProgramsThatCannotBeStartedAreRefusedByName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("lonely", "#!/usr/bin/no-such-interpreter -x\n", 0o755)
	write("text", "hello\n", 0o755)
	write("empty", "", 0o755)
	elf := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...)
	elf[16], elf[18], elf[20], elf[52] = 2, 183, 1, 64
	write("foreign", string(elf), 0o755)
	absolute := filepath.Join(dir, "plain")
	write("plain", "#!/bin/sh\n", 0o644)
	cases := []struct {
		argv []string
		want string
	}{
		{nil, "names no program"},
		{[]string{""}, "names no program"},
		{[]string{"no-such-program-here"}, `program "no-such-program-here": neither among the program's files nor in PATH`},
		{[]string{"./nowhere"}, "no such file among the program's files"},
		{[]string{"/no/such/file"}, "/no/such/file does not exist"},
		{[]string{absolute}, "is not executable"},
		{[]string{dir}, "is not executable"},
		{[]string{"lonely"}, "interpreter /usr/bin/no-such-interpreter of"},
		{[]string{"text"}, "neither a program of this machine nor a script"},
		{[]string{"empty"}, "it is empty"},
		{[]string{"foreign"}, "ELF aarch64; nodes have "},
		{[]string{"cat", "a\x00b"}, "contains NUL"},
		{[]string{"cat", strings.Repeat("x", 1<<20)}, "too long"},
	}
	for _, c := range cases {
		p := program(c.argv...)
		p.attempt.Dir = dir
		err := p.perform(t.Context(), t)
		if err == nil || !strings.Contains(err.Error(), c.want) || stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%.40q: %v (%s), want %q", c.argv, err, stint.CodeOf(err), c.want)
		}
	}
}

func TestWorkingDirectoryComesBeforePathAndIsMadeExecutable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cat"), []byte("#!/bin/sh\necho mine; pwd\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cat", "./cat"} {
		p := program(name)
		p.attempt.Dir = dir
		p.mustPerform(t)
		if d := cmp.Diff("mine\n"+dir+"\n", p.stdout.String()); d != "" {
			t.Error(d)
		}
	}
}

func TestAProgramThatIsGoneFromPathIsLookedForAgain(t *testing.T) {
	t.Parallel()
	first, second := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := os.WriteFile(filepath.Join(dir, "which-one"), []byte("#!/bin/sh\necho "+dir+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runner := &command.Runner{}
	from := func(path ...string) string {
		p := program("which-one")
		p.runner = runner
		p.attempt.Environ = []string{"PATH=" + strings.Join(path, ":")}
		p.mustPerform(t)
		return strings.TrimSpace(p.stdout.String())
	}
	got := []string{from(first, second), from(second, first), from(first, second)}
	if err := os.Remove(filepath.Join(first, "which-one")); err != nil {
		t.Fatal(err)
	}
	got = append(got, from(first, second))
	if d := cmp.Diff([]string{first, second, first, second}, got); d != "" {
		t.Error(d)
	}
}

func TestAProcessThatClosesItsStreamsIsWaitedFor(t *testing.T) {
	t.Parallel()
	p := sh("exec <&- >&- 2>&-; sleep 0.1; exit 3")
	p.in = strings.NewReader("not read\n")
	err := p.perform(t.Context(), t)
	if exit, ok := errors.AsType[*stint.ExitError](err); !ok || exit.Exit != 3 {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p = sh("exec <&- >&- 2>&-; sleep 60")
	if err := p.perform(ctx, t); stint.CodeOf(err) != stint.Canceled || p.took > 10*time.Second {
		t.Errorf("%v after %s", err, p.took)
	}
}

func TestInputThatIsNotReadIsAllowedAndCounted(t *testing.T) {
	t.Parallel()
	p := program("true")
	p.in = bytes.NewReader(make([]byte, 4<<20))
	p.mustPerform(t)
	if d := cmp.Diff(map[string]int64{"stint/input_not_read": 1}, p.counters()); d != "" {
		t.Fatal(d)
	}
	p = sh("exec <&-; head -c 3000000 /dev/zero")
	p.in = bytes.NewReader(make([]byte, 4<<20))
	p.mustPerform(t)
	if p.stdout.Len() != 3000000 || p.counters()["stint/input_not_read"] != 1 {
		t.Fatal(p.stdout.Len(), p.counters())
	}
}

func TestEmptyInputOfALaterStageGivesNoOutput(t *testing.T) {
	t.Parallel()
	p := program("wc", "-l")
	p.mustPerform(t)
	if got := strings.TrimSpace(p.stdout.String()); got != "0" {
		t.Errorf("first stage: %q", got)
	}
	p = program("wc", "-l")
	p.attempt.First = false
	p.mustPerform(t)
	if p.stdout.Len() != 0 {
		t.Errorf("later stage: %q", p.stdout.String())
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestErrorsOfInputAndOutputEndTheProcessAndAreReturned(t *testing.T) {
	t.Parallel()
	cause := stint.Errorf(stint.Invalid, "input changed")
	p := program("cat")
	p.in = io.MultiReader(strings.NewReader("some\n"), failing{cause})
	if err := p.perform(t.Context(), t); !errors.Is(err, error(cause)) {
		t.Error(err)
	}
	p = program("yes")
	p.out = failing{cause}
	if err := p.perform(t.Context(), t); !errors.Is(err, error(cause)) {
		t.Error(err)
	}
}

// cancelAfter cancels when the process has written n bytes.
type cancelAfter struct {
	n      int
	cancel context.CancelFunc
}

func (c *cancelAfter) Write(b []byte) (int, error) {
	if c.n -= len(b); c.n <= 0 {
		c.cancel()
	}
	return len(b), nil
}

func TestCancelEndsProcessesThatDoNotWantToEnd(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"writes without end":        "exec yes",
		"ignores SIGTERM":           "trap '' TERM INT HUP; echo ready; while :; do sleep 60; done",
		"never reads its input":     "echo ready; exec sleep 60",
		"made a session of its own": "echo ready; exec setsid sleep 60",
		"has children":              "sleep 60 & setsid sleep 61 & echo ready; wait",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		p := sh(script)
		p.in = bytes.NewReader(make([]byte, 1<<20))
		p.out = &cancelAfter{n: 6, cancel: cancel}
		if err := p.perform(ctx, t); stint.CodeOf(err) != stint.Canceled {
			t.Errorf("%s: %v", name, err)
		}
		mustBeGone(t, name)
	}
}

func TestCancelledBeforeItBegan(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := program("sleep", "60").perform(ctx, t); stint.CodeOf(err) != stint.Canceled {
		t.Fatal(err)
	}
}

// mustBeGone fails if this process has a child that sleeps. Nothing is performed
// meanwhile: a child of another test would be taken for one that was left.
func mustBeGone(t *testing.T, name string) {
	t.Helper()
	one.Lock()
	defer one.Unlock()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		stat, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if strings.Contains(string(stat), fmt.Sprintf("(sleep) S %d ", os.Getpid())) {
			t.Errorf("%s: left behind: %s", name, stat)
		}
	}
}

func TestDaemonsAreGoneAfterwards(t *testing.T) {
	t.Parallel()
	daemon := `import os,sys,time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
open(sys.argv[1],"w").write(str(os.getpid()))
time.sleep(60)`
	for name, p := range map[string]*performance{
		"double fork":          program("python3", "-c", daemon+"\n"),
		"holds stdout open":    sh(`setsid sleep 60 & echo $! > "$1"; echo done`),
		"closes all its files": sh(`setsid sleep 60 <&- >&- 2>&- & echo $! > "$1"; echo done`),
	} {
		file := filepath.Join(t.TempDir(), "pid")
		p.attempt.Action.Command = append(p.attempt.Action.Command, file)
		p.mustPerform(t)
		if p.counters()["stint/leftover_processes"] < 1 {
			t.Errorf("%s: counters %v", name, p.counters())
		}
		pid := waitForFile(t, name, file)
		if pid == "" {
			continue // killed before it could write its number
		}
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("%s: process %s lives", name, pid)
		}
		mustBeGone(t, name)
	}
}

func waitForFile(t *testing.T, name, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", name, err)
	}
	return strings.TrimSpace(string(b))
}

func TestWhatIsLeftMayFinishItsOutputWithinTheDrain(t *testing.T) {
	t.Parallel()
	p := sh("{ sleep 0.1; echo late; } & echo early")
	p.drain = time.Minute
	p.mustPerform(t)
	if d := cmp.Diff("early\nlate\n", p.stdout.String()); d != "" {
		t.Error(d)
	}
	if p.took > 30*time.Second {
		t.Errorf("waited %s", p.took)
	}
}

func TestADaemonThatWritesWithoutEndIsCutOffAfterTheDrain(t *testing.T) {
	t.Parallel()
	p := sh("yes & exit 0")
	p.drain = 50 * time.Millisecond
	p.out = io.Discard
	p.mustPerform(t)
	if p.counters()["stint/leftover_processes"] != 1 {
		t.Fatal(p.counters())
	}
}

func TestAFloodOnStderrDoesNotBlockTheProcess(t *testing.T) {
	t.Parallel()
	p := sh("yes reporter: | head -c 20000000 >&2; head -c 20000000 /dev/zero >&2; echo end")
	p.mustPerform(t)
	if p.stdout.String() != "end\n" || p.stderr.Len() < 40000000-1 {
		t.Fatal(p.stdout.String(), p.stderr.Len())
	}
}

func TestMessagesOnStderrAreObeyedAndTheRestIsKept(t *testing.T) {
	t.Parallel()
	p := sh(`printf 'a\nreporter:counter:g,n,5\nb\nreporter:counter:g,n,-2\nreporter:status:half way\r\nrepor\nreporter:counter:g,n,NaN\nreporter:counter:a,b\nreporter:counter:g,last,1' >&2`)
	p.mustPerform(t)
	want := map[string]int64{"g/n": 3, "g/last": 1, "stint/reporter_malformed": 2}
	if d := cmp.Diff(want, p.counters()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"half way"}, p.status); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("a\nb\nrepor\nreporter:counter:g,n,NaN\nreporter:counter:a,b\n", p.stderr.String()); d != "" {
		t.Error(d)
	}
}

func TestTheProgramIsToldOfItsOperation(t *testing.T) {
	t.Parallel()
	p := program("env")
	p.attempt.Input = stint.Piece{Object: stint.Object{URL: "file:///in/a%20b"}, Offset: 10, Length: 20}
	p.mustPerform(t)
	for _, line := range []string{
		"A=1", "STINT_EXECUTION=x-abc", "STINT_STAGE=map", "STINT_OPERATION=map/7", "STINT_ATTEMPT=2",
		"STINT_INPUT=file:///in/a%20b", "STINT_INPUT_OFFSET=10", "STINT_INPUT_LENGTH=20",
		"mapreduce_map_input_file=file:///in/a%20b", "map_input_file=file:///in/a%20b",
		"mapreduce_map_input_start=10", "mapreduce_map_input_length=20", "mapreduce_task_partition=7",
		"mapreduce_task_id=task_abc_0001_m_000007", "mapreduce_task_attempt_id=attempt_abc_0001_m_000007_1",
		"mapreduce_task_ismap=true", "mapreduce_job_id=job_abc_0001", "mapreduce_job_reduces=5",
	} {
		if !strings.Contains("\n"+p.stdout.String(), "\n"+line+"\n") {
			t.Errorf("no %s in\n%s", line, p.stdout.String())
		}
	}
	p = program("env")
	p.attempt.First, p.attempt.Partition = false, 4
	p.in = strings.NewReader("k\tv\n")
	p.mustPerform(t)
	for _, line := range []string{"mapreduce_task_ismap=false", "mapreduce_task_partition=4", "mapreduce_job_reduces=9"} {
		if !strings.Contains(p.stdout.String(), line+"\n") {
			t.Errorf("no %s in\n%s", line, p.stdout.String())
		}
	}
	if strings.Contains(p.stdout.String(), "STINT_INPUT") {
		t.Error("a later stage has no input object")
	}
}

func TestNoDescriptorIsLeftOpen(t *testing.T) { // alone: it counts those of the process
	one.Lock()
	defer one.Unlock()
	runner := &command.Runner{}
	a := program("true").attempt
	a.Stderr, a.Counters = io.Discard, &stint.Counters{}
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	var first int
	for i := range 50 {
		if i%2 == 0 {
			a.Action.Command[0] = "no-such-program"
		} else {
			a.Action.Command[0] = "/etc/hostname"
		}
		if i%5 == 0 {
			a.Action.Command[0] = "true"
		}
		err := runner.Perform(t.Context(), &a, strings.NewReader("x\n"), io.Discard)
		if (i%5 == 0) != (err == nil) {
			t.Fatal(i, err)
		}
		if i == 0 {
			first = count()
		}
	}
	if n := count(); n > first+2 {
		t.Fatalf("%d descriptors, %d at first", n, first)
	}
}

func FuzzStderr(f *testing.F) {
	f.Add([]byte("reporter:counter:a,b,1\nx"), uint8(3))
	f.Add([]byte("rep\nreporter:\n\nreporter:status:"), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, chunk uint8) {
		whole, pieces := command.ReadStderr(data, len(data)+1), command.ReadStderr(data, int(chunk)+1)
		if d := cmp.Diff(whole, pieces); d != "" {
			t.Fatal(d)
		}
	})
}

func TestSplitArgs(t *testing.T) {
	t.Parallel()
	cases := []struct {
		line string
		want []string
	}{
		{"cat", []string{"cat"}},
		{" a  b ", []string{"a", "b"}},
		{`a"b c"d`, []string{"a", "b c", "d"}},
		{`'it is' "it's" '"'`, []string{"it is", "it's", `"`}},
		{`a "" '' b`, []string{"a", "b"}},
		{`a\ b \"c d\"`, []string{`a\`, "b", `\`, `c d\`}},
		{"a\tb\nc", []string{"a\tb\nc"}},
		{"sh -c 'a | b > $c'", []string{"sh", "-c", "a | b > $c"}},
		{"\xff é", []string{"\xff", "é"}},
	}
	for _, c := range cases {
		got, err := command.SplitArgs(c.line)
		if err != nil {
			t.Errorf("%q: %v", c.line, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q: %s", c.line, d)
		}
	}
	for _, bad := range []string{"", "   ", `""`, `a "b`, "a 'b\"", "a\x00"} {
		if got, err := command.SplitArgs(bad); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
}

func FuzzSplitArgs(f *testing.F) {
	f.Add(`a"b c"d 'e'`)
	f.Fuzz(func(t *testing.T, line string) {
		args, err := command.SplitArgs(line)
		if err != nil {
			return
		}
		for _, a := range args {
			if a == "" || !strings.Contains(line, a) {
				t.Fatalf("%q: %q", line, args)
			}
		}
	})
}
