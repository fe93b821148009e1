package sdk_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/frame"
	"stint/internal/runner/command"
	"stint/internal/runner/sdk"
	"stint/internal/shuffle"
	"stint/program"
)

// one keeps performances apart: a process has one set of children.
var one sync.Mutex

// TestMain makes the test binary a program where a worker started it.
func TestMain(m *testing.M) {
	if os.Getenv("STINT_FRAMES") == "" {
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "program":
		program.Main(stages())
	case "raw":
		raw(os.Args[2:])
	}
}

// raw reads one frame, writes what it is told, and does what it is told then.
func raw(args []string) {
	frames := frame.NewReader(os.Stdin)
	_, _, _ = frames.Next()
	b, err := hex.DecodeString(args[0])
	if err != nil {
		panic(err)
	}
	if _, err := os.Stdout.Write(b); err != nil {
		panic(err)
	}
	switch args[1] {
	case "hang":
		hang()
	case "hang up":
		_ = os.Stdout.Close()
		hang()
	case "read":
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "kill":
		unix.Kill(os.Getpid(), unix.SIGKILL) //nolint:errcheck // it ends here
	}
	code, _ := strconv.Atoi(args[1])
	os.Exit(code)
}

func hang() {
	for {
		_, _ = unix.Poll(nil, -1)
	}
}

func stages() program.Stages {
	return program.Stages{
		"map": {
			Map: program.Map(func(ctx *program.Context, line string, emit func(string, string)) error {
				verb, rest, _ := strings.Cut(line, " ")
				switch verb {
				case "emit":
					emit(rest, "")
				case "many":
					n, _ := strconv.Atoi(rest)
					for i := range n {
						emit(fmt.Sprintf("key %09d", i), strings.Repeat("x", 100))
					}
				case "pid":
					emit(strconv.Itoa(os.Getpid()), "")
				case "bad":
					emit("never seen", "")
					return errors.New("it is " + rest)
				case "panic":
					panic(rest)
				case "fatal":
					return program.Fatal(errors.New(rest))
				case "exit":
					os.Exit(3)
				case "say":
					fmt.Fprintln(os.Stdout, rest) //nolint:errcheck // what it says is looked at
					ctx.Status(rest)
					ctx.Count("group", rest, 2)
				case "child":
					if err := exec.Command("sleep", "1000").Start(); err != nil {
						return err
					}
				case "tell":
					emit(strings.Join([]string{
						ctx.Stage(), ctx.Operation(), strconv.Itoa(ctx.Attempt()), ctx.Param("p"), fmt.Sprint(ctx.Input()),
						ctx.Broadcast("b"), ctx.Checkpoint(), fmt.Sprint(ctx.Partitions()), ctx.Execution(), os.Getenv("A"),
					}, " "), "")
				case "await":
					ctx.Status("awaiting")
					<-ctx.Done()
					if rest == "done" {
						return nil
					}
					return program.ErrStopped
				case "leave":
					return os.WriteFile("left", nil, 0o600)
				case "spin":
					for i := 0; ; i++ {
					}
				}
				return nil
			}),
			Combine: program.Combine(func(_ *program.Context, key string, values iter.Seq[string]) (string, error) {
				return strings.Join(slices.Collect(values), "+"), nil
			}),
		},
		"words": {Map: program.Map(func(_ *program.Context, line string, emit func(string, int64)) error {
			for word := range strings.FieldsSeq(line) {
				emit(word, 1)
			}
			return nil
		})},
		"files": {Map: program.Map(func(ctx *program.Context, content []byte, emit func(string, string)) error {
			emit(ctx.File(), string(content))
			return nil
		})},
		"reduce": {Reduce: program.Reduce(func(ctx *program.Context, key string, values iter.Seq[string], emit func(string, string)) error {
			var all []string
			for v := range values {
				if v == "bad" {
					return errors.New("a bad value")
				}
				all = append(all, fmt.Sprintf("%d:%s", ctx.Edge(), v))
			}
			emit(key, strings.Join(all, ","))
			return nil
		})},
	}
}

// performance is operations performed one after the other by one runner.
type performance struct {
	t              *testing.T
	attempt        stint.Attempt
	commands       *command.Runner
	runner         *sdk.Runner
	stdout, stderr bytes.Buffer
	status         []string
	bad            []string
}

func newPerformance(t *testing.T, argv ...string) *performance {
	t.Helper()
	one.Lock()
	p := &performance{t: t, commands: &command.Runner{}}
	p.runner = &sdk.Runner{Processes: p.commands}
	t.Cleanup(func() {
		if err := p.runner.Close(); err != nil {
			t.Error(err)
		}
		if n := children(); n != 0 {
			t.Errorf("%d processes are left", n)
		}
		one.Unlock()
	})
	p.attempt = stint.Attempt{
		Execution: "x-abc", Stage: "map", Operation: "map/7", Op: 7, Number: 2, First: true, Partitions: 5,
		Action: stint.Action{SDK: append([]string{os.Args[0]}, argv...)}, Environ: []string{"PATH=" + os.Getenv("PATH"), "A=1"},
		Params: map[string]string{"p": "v"}, Dir: t.TempDir(), Stderr: &p.stderr,
		Status: func(s string) { p.status = append(p.status, s) },
		Bad: func(record []byte, why error) error {
			p.bad = append(p.bad, string(record)+"|"+why.Error())
			return nil
		},
	}
	return p
}

// children returns how many processes have this one for a parent.
func children() int {
	n := 0
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if f[1] == strconv.Itoa(os.Getpid()) {
			n++
		}
	}
	return n
}

func (p *performance) try(ctx context.Context, in io.Reader) error {
	p.stdout.Reset()
	p.attempt.Counters = &stint.Counters{}
	return p.runner.Perform(ctx, &p.attempt, in, &p.stdout)
}

func (p *performance) perform(lines ...string) string {
	p.t.Helper()
	if err := p.try(p.t.Context(), strings.NewReader(strings.Join(lines, "\n")+"\n")); err != nil {
		p.t.Fatalf("%v\n%s", err, p.stderr.String())
	}
	return p.stdout.String()
}

func (p *performance) fail(code stint.Code, want string, lines ...string) {
	p.t.Helper()
	err := p.try(p.t.Context(), strings.NewReader(strings.Join(lines, "\n")+"\n"))
	if stint.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), want) {
		p.t.Fatalf("%v, want %s: %s\n%s", err, code, want, p.stderr.String())
	}
}

func TestOneProcessPerformsOperationsOneAfterTheOther(t *testing.T) {
	p := newPerformance(t, "program")
	first := p.perform("pid", "emit a")
	if !strings.HasSuffix(first, "\t\na\t\n") {
		t.Fatalf("%q", first)
	}
	for range 50 {
		if got := p.perform("pid", "emit a"); got != first {
			t.Fatalf("%q after %q", got, first)
		}
	}
	if got := p.perform(); got != "" {
		t.Errorf("of no record: %q", got)
	}
	p.attempt.Environ = append(p.attempt.Environ, "B=2")
	if got := p.perform("pid", "emit a"); got == first {
		t.Error("another environment has the same process")
	}
}

func TestAProgramIsToldOfItsOperation(t *testing.T) {
	p := newPerformance(t, "program")
	p.attempt.Input = stint.Piece{Object: stint.Object{URL: "file:///x"}, Offset: 3, Length: 4}
	p.attempt.Beside = map[string]string{"b": "/tmp/b"}
	p.attempt.Checkpoint = "/tmp/c"
	want := "map map/7 2 v {file:///x 3 4} /tmp/b /tmp/c 5 x-abc 1\t\n"
	if got := p.perform("tell"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWhatAProgramPrintsCountsAndSays(t *testing.T) {
	p := newPerformance(t, "program")
	p.perform("say hello", "say hello")
	if got := p.stderr.String(); got != "hello\nhello\n" {
		t.Errorf("stderr %q", got)
	}
	if got := p.attempt.Counters.Deltas(0); len(got) != 1 || got[0].Value != 4 || got[0].Name != "hello" {
		t.Errorf("counters %+v", got)
	}
	if !slices.Equal(p.status, []string{"hello", "hello"}) {
		t.Errorf("status %q", p.status)
	}
}

// A program that writes much more than it has read, while it is given much more
// than pipes hold.
func TestNeitherWaitsForTheOtherForEver(t *testing.T) {
	p := newPerformance(t, "program")
	lines := slices.Repeat([]string{"many 500", "emit " + strings.Repeat("y", 10000)}, 200)
	got := p.perform(lines...)
	if want := 200 * (500*115 + 10002); len(got) != want {
		t.Errorf("%d bytes, want %d", len(got), want)
	}
}

func TestBadRecordsAreReportedAndLeaveNoOutput(t *testing.T) {
	p := newPerformance(t, "program")
	if got := p.perform("emit a", "bad one", "emit b", "panic two", "emit c"); got != "a\t\nb\t\nc\t\n" {
		t.Errorf("%q", got)
	}
	if want := []string{"bad one|record 2: it is one", "panic two|record 4: panic: two"}; !slices.Equal(p.bad, want) {
		t.Errorf("%q, want %q", p.bad, want)
	}
	p.attempt.Bad = func([]byte, error) error { return stint.Errorf(stint.Failed, "no bad records, please") }
	p.fail(stint.Failed, "no bad records, please", "emit a", "bad one", "emit b")
	if got := p.perform("emit a"); got != "a\t\n" {
		t.Errorf("the operation after that: %q", got)
	}
}

func TestAnOperationThatFailsFailsAlone(t *testing.T) {
	p := newPerformance(t, "program")
	pid := p.perform("pid")
	p.fail(stint.Failed, "gone wrong", "fatal gone wrong", "emit a")
	if got := p.perform("pid"); got != pid {
		t.Errorf("pid %q, was %q: the program had not to end", got, pid)
	}
	p.fail(stint.Failed, "exit 3", "exit", "emit a")
	if err, ok := errors.AsType[*stint.ExitError](p.try(t.Context(), strings.NewReader("exit\n"))); !ok || err.Exit != 3 {
		t.Errorf("%v is no exit with 3", err)
	}
	if got := p.perform("pid"); got == pid {
		t.Error("the program has ended and still has its number")
	}
}

func TestAWorkingDirectoryThatWasMadeAnewHasAnotherProcess(t *testing.T) {
	p := newPerformance(t, "program")
	pid := p.perform("pid")
	p.perform("leave")
	if err := errors.Join(os.Rename(p.attempt.Dir, p.attempt.Dir+".old"), os.Mkdir(p.attempt.Dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if got := p.perform("pid", "leave"); got == pid {
		t.Error("the process stays in a directory that is gone")
	}
	if _, err := os.Stat(filepath.Join(p.attempt.Dir, "left")); err != nil {
		t.Error(err)
	}
}

// A command's runner ends everything that is left of a command; the program's
// process must not be that, and the other way round.
func TestCommandsAndProgramsTakeTurns(t *testing.T) {
	p := newPerformance(t, "program")
	for range 3 {
		if got := p.perform("child", "emit a"); got != "a\t\n" {
			t.Errorf("%q", got)
		}
		a := p.attempt
		a.Action = stint.Action{Command: []string{"sh", "-c", "cat; sleep 1000 >/dev/null 2>&1 &"}}
		var out bytes.Buffer
		if err := p.commands.Perform(t.Context(), &a, strings.NewReader("x\n"), &out); err != nil {
			t.Fatal(err)
		}
		if out.String() != "x\n" || children() != 0 {
			t.Errorf("%q, and %d processes are left", out.String(), children())
		}
	}
}

func TestFailuresLeaveNoChildren(t *testing.T) {
	p := newPerformance(t, "program")
	p.fail(stint.Failed, "exit 3", "child", "child", "exit")
	if n := children(); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

func TestAContextThatEndsKillsTheProcess(t *testing.T) {
	p := newPerformance(t, "program")
	ctx, cancel := context.WithCancelCause(t.Context())
	p.attempt.Status = func(string) { cancel(errors.New("enough")) }
	err := p.try(ctx, strings.NewReader("say x\nspin\n"))
	if stint.CodeOf(err) != stint.Canceled || !strings.Contains(err.Error(), "enough") || children() != 0 {
		t.Errorf("%v, %d processes left", err, children())
	}
	if got := p.perform("emit a"); got != "a\t\n" {
		t.Errorf("%q", got)
	}
}

func TestAProgramIsAskedToEnd(t *testing.T) {
	p := newPerformance(t, "program")
	for _, c := range []struct {
		line, output string
		code         stint.Code
	}{{"await done", "a\t\n", ""}, {"await", "", stint.Canceled}} {
		ask := make(chan func(), 1)
		p.attempt.OnStop = func(call func()) func() bool { ask <- call; return func() bool { return false } }
		p.attempt.Status = func(string) { go (<-ask)() }
		err := p.try(t.Context(), strings.NewReader("emit a\n"+c.line+"\n"))
		if got := stint.CodeOf(err); err != nil && got != c.code || c.code == "" && (err != nil || p.stdout.String() != c.output) || c.code != "" && err == nil {
			t.Errorf("%s: %v, %q", c.line, err, p.stdout.String())
		}
		p.attempt.OnStop = nil
		p.attempt.Status = func(string) {}
		if got := p.perform("emit b"); got != "b\t\n" {
			t.Errorf("after %s: %q", c.line, got)
		}
	}
}

// spared is a sink that may be spared its combining.
type spared struct {
	sink
	left bool
}

func (s *spared) LeaveUncombined() { s.left = true }

func TestAProgramCombinesWhatItWritesIfItIsTheCombiner(t *testing.T) {
	p := newPerformance(t, "program")
	other := stint.Action{SDK: []string{os.Args[0], "another"}}
	for _, c := range []struct {
		combine *stint.Action
		want    []string
	}{
		{&p.attempt.Action, []string{"b=+ false", "a= false"}},
		{&other, []string{"b= false", "a= false", "b= false"}},
		{&stint.Action{Native: "sum"}, []string{"b= false", "a= false", "b= false"}},
		{nil, []string{"b= false", "a= false", "b= false"}},
	} {
		p.attempt.Combine, p.attempt.Counters = c.combine, &stint.Counters{}
		var out spared
		if err := p.runner.Perform(t.Context(), &p.attempt, strings.NewReader("emit b\nemit a\nemit b\n"), &out); err != nil {
			t.Fatal(err)
		}
		if own := len(c.want) == 2; !slices.Equal(out.got, c.want) || out.left != own {
			t.Errorf("%+v: %q, want %q; left uncombined: %v", c.combine, out.got, c.want, out.left)
		}
	}
	p.attempt.Combine = &p.attempt.Action
	if got := p.perform("emit b", "emit a", "emit b"); got != "b\t\na\t\nb\t\n" {
		t.Errorf("%q: lines are not combined", got)
	}
}

func TestWhoWasNotToldToGatherSparesNothing(t *testing.T) {
	p := newPerformance(t, "raw", hex.EncodeToString(frame.AppendDone(nil, frame.Completion{Number: 1, Once: true})), "read")
	p.attempt.Counters = &stint.Counters{}
	var out spared
	if err := p.runner.Perform(t.Context(), &p.attempt, strings.NewReader("a\n"), &out); err != nil || out.left {
		t.Errorf("%v, left uncombined: %v", err, out.left)
	}
}

// joined is records that come over edges.
type joined struct {
	records [][3]string
	at      int
}

func (j *joined) Next() (key, value []byte, err error) {
	if j.at == len(j.records) {
		return nil, nil, io.EOF
	}
	j.at++
	return []byte(j.records[j.at-1][1]), []byte(j.records[j.at-1][2]), nil
}

func (j *joined) Edge() int { return int(j.records[j.at-1][0][0] - '0') }

func (*joined) Read([]byte) (int, error) { return 0, errors.New("records are there") }

// sink takes records.
type sink struct{ got []string }

func (s *sink) Emit(key, value []byte) error {
	s.got = append(s.got, fmt.Sprintf("%s=%s %t", key, value, value == nil))
	return nil
}

func (*sink) Write([]byte) (int, error) { return 0, errors.New("records are taken") }

func TestRecordsGoInByKeyAndComeOutAsRecords(t *testing.T) {
	p := newPerformance(t, "program")
	p.attempt.Stage, p.attempt.First = "reduce", false
	in := &joined{records: [][3]string{{"0", "a", "x"}, {"0", "a", "y"}, {"1", "a", "z"}, {"0", "b", "bad"}, {"0", "b", "x"}, {"1", "c", ""}}}
	var out sink
	p.attempt.Counters = &stint.Counters{}
	if err := p.runner.Perform(t.Context(), &p.attempt, in, &out); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a=0:x,0:y,1:z false", "c=1: false"}; !slices.Equal(out.got, want) {
		t.Errorf("%q, want %q", out.got, want)
	}
	if want := []string{"b|record 4: a bad value"}; !slices.Equal(p.bad, want) {
		t.Errorf("bad %q, want %q", p.bad, want)
	}
	p.attempt.Stage, p.attempt.Combining = "map", true
	out.got = nil
	if err := p.runner.Perform(t.Context(), &p.attempt, &joined{records: in.records[:3]}, &out); err != nil || !slices.Equal(out.got, []string{"a=x+y+z false"}) {
		t.Errorf("combined: %v, %q", err, out.got)
	}
}

// files is a reader of whole files.
type files []string

func (files) Read([]byte) (int, error) { return 0, errors.New("files are there") }

func (f files) Objects(each func(o stint.Object, content io.Reader) error) error {
	for i, text := range f {
		if err := each(stint.Object{URL: fmt.Sprintf("file:///%d", i)}, strings.NewReader(text)); err != nil {
			return err
		}
	}
	return nil
}

func TestAFileIsARecord(t *testing.T) {
	p := newPerformance(t, "program")
	p.attempt.Stage, p.attempt.Split = "files", stint.SplitFiles
	if err := p.try(t.Context(), files{"a b", "", "c"}); err != nil {
		t.Fatal(err)
	}
	if want := "file:///0\ta b\nfile:///1\t\nfile:///2\tc\n"; p.stdout.String() != want {
		t.Errorf("%q, want %q", p.stdout.String(), want)
	}
}

func TestAnErrorOfTheInputIsTheAttempts(t *testing.T) {
	p := newPerformance(t, "program")
	broken := errors.New("the disk is gone")
	if err := p.try(t.Context(), io.MultiReader(strings.NewReader("emit a\n"), errReader{broken})); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestLimitsAreThoseOfTheShuffle(t *testing.T) {
	t.Parallel()
	if frame.MaxKey != shuffle.MaxKey || frame.MaxValue != shuffle.MaxValue {
		t.Errorf("a frame takes %d and %d, the shuffle %d and %d", frame.MaxKey, frame.MaxValue, shuffle.MaxKey, shuffle.MaxValue)
	}
}

// frameOf is a frame as text.
func frameOf(kind frame.Type, payload ...byte) string {
	return string(frame.AppendFrame(nil, kind, payload))
}

func TestAProgramThatDoesNotKeepToTheFormatFailsItsOperation(t *testing.T) {
	done := string(frame.AppendDone(nil, frame.Completion{Number: 1}))
	altered := []byte(done)
	altered[len(altered)-1] ^= 1
	for _, c := range []struct{ name, bytes, then, want string }{
		{"text", "Great\n", "read", `protocol_error: expected version 1, got 71 ('G'): is this text output? set streaming: lines`},
		{"another version", "\x02\x07\x00", "read", "protocol_error: expected version 1, got 2"},
		{"checksum", string(altered), "read", "protocol_error: frame 1 checksum"},
		{"unknown type", "\x01\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "read", "protocol_error: type 9"},
		{"a worker's type", frameOf(frame.EndOfInput, 0, 0, 0, 0, 0, 0, 0, 0), "read", "protocol_error: type 3"},
		{"two ends", done + done, "read", "protocol_error: a frame of type 7 after"},
		{"records behind the end", done + frameOf(frame.RecordBatch, 0, 0, 0, 0, 0, 0, 0, 0), "read", "protocol_error: a frame of type 2 after"},
		{"text behind the end", done + "Great", "read", "protocol_error: expected version 1, got 71"},
		{"the end of another operation", string(frame.AppendDone(nil, frame.Completion{Number: 2})), "read", "protocol_error: done with operation 2 in operation 1"},
		{"more records than came", string(frame.AppendDone(nil, frame.Completion{Number: 1, Records: 1})), "read", "protocol_error: done with 1 records; 0 came"},
		{"no end", "", "0", "truncated_stream"},
		{"no end, closed", "", "hang up", "truncated_stream"},
		{"half a frame", done[:len(done)-1], "0", "truncated_frame: the stream ends inside a frame: 11 of 12 bytes"},
		{"half a header", done[:3], "0", "truncated_frame: the stream ends inside a frame: 3 of 12 bytes of a header"},
		{"another exit code", "", "9", "exit 9"},
		{"killed", "", "kill", "killed by SIGKILL"},
		{"a long key", frameOf(frame.RecordBatch, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0), "read", "key_too_long: record 1: a key of 16777217 bytes: limit 16 MiB"},
		{"a long value", frameOf(frame.RecordBatch, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 4), "read", "record_too_long: record 1: a value of 67108865 bytes: limit 64 MiB"},
		{"a long frame", "\x01\x02\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00", "read", "record_too_long: a frame of 4294967295 bytes"},
		{"more records than bytes", frameOf(frame.RecordBatch, 255, 255, 255, 255, 0, 0, 0, 0), "read", "protocol_error: 4294967295 records in a frame of 8 bytes"},
		{"a counter that is none", frameOf(frame.CounterUpdate, 'x'), "read", "protocol_error: counter"},
		{"a bad record that was not given", string(frame.AppendBad(nil, frame.Bad{Number: 1, Count: 1})), "read", "protocol_error: bad records 2 to 2 of the 1 that were given"},
		{"more bad records than were given", string(frame.AppendBad(nil, frame.Bad{Count: 1 << 62})), "read", "protocol_error: bad records 1 to 4611686018427387904 of the 1"},
		{"a bad record twice", strings.Repeat(string(frame.AppendBad(nil, frame.Bad{Count: 1})), 2) + done, "read", "protocol_error: bad records 1 to 1 of the 1 that were given, behind 1"},
		{"it failed", string(frame.AppendFailed(nil, 1, "because")), "read", "because"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPerformance(t, "raw", hex.EncodeToString([]byte(c.bytes)), c.then)
			if c.then == "hang up" {
				p.commands.Drain = 50 * time.Millisecond // nobody ends
			}
			p.fail(stint.Failed, c.want, "a line")
			p.attempt.Action.SDK = []string{os.Args[0], "program"}
			if got := p.perform("emit a"); got != "a\t\n" {
				t.Errorf("the next operation: %q", got)
			}
		})
	}
}

func TestAnEmptyRecordIsARecord(t *testing.T) {
	var b frame.Batch
	if err := b.Add(0, nil, nil); err != nil {
		t.Fatal(err)
	}
	p := newPerformance(t, "raw", hex.EncodeToString(frame.AppendDone(b.AppendFrame(nil), frame.Completion{Number: 1, Records: 1})), "read")
	if got := p.perform("a line"); got != "\n" {
		t.Errorf("%q", got)
	}
}

// A process that says so although it was not given all: it is not given another.
func TestAProgramNeedNotReadItsInput(t *testing.T) {
	p := newPerformance(t, "raw", hex.EncodeToString(frame.AppendDone(nil, frame.Completion{Number: 1})), "hang")
	for range 2 {
		p.perform(slices.Repeat([]string{strings.Repeat("x", 1000)}, 5000)...)
		if got := p.attempt.Counters.Deltas(0); len(got) != 1 || got[0].Name != "input_not_read" {
			t.Errorf("counters %+v", got)
		}
	}
}

func TestAProgramThatIsNotThereIsInvalid(t *testing.T) {
	p := newPerformance(t)
	p.attempt.Action.SDK = []string{"no-such-program"}
	p.fail(stint.Invalid, "no-such-program", "a line")
}
