package worker_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/block"
	"stint/internal/runner/command"
	"stint/internal/runner/native"
	"stint/internal/shuffle"
	"stint/internal/worker"
)

// one keeps workers apart that start processes: this process has one set of children.
var one sync.Mutex

const execution = stint.ExecutionID("x-abcdefghjkmnpqrs")

// agent is the other end of a worker under test: it owns a block store, hands
// out orders and collects what it is told.
type agent struct {
	t     *testing.T
	conn  *worker.Conn
	store *block.Store
	dir   string
	spec  stint.Spec
	ended chan error
	told  []worker.Record
	seen  int // of told, by await
	says  []stint.StatusText
	drops []stint.Range

	staged func(*stint.Part, *os.File) // is told of parts that are to be stored
}

func socketPair(tb testing.TB) (*worker.Conn, *worker.Conn) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return connOf(tb, fds[0]), connOf(tb, fds[1])
}

// rawPair is a pair of which one end is no Conn.
func rawPair(tb testing.TB) (*os.File, *worker.Conn) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "raw"), connOf(tb, fds[1])
}

func connOf(tb testing.TB, fd int) *worker.Conn {
	tb.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close() //nolint:errcheck // a duplicate is in use
	c, err := net.FileConn(f)
	if err != nil {
		tb.Fatal(err)
	}
	return worker.NewConn(c.(*net.UnixConn))
}

// checkInput is what the agent's wiring gives: the version is the size.
func checkInput(f *os.File, o stint.Object) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if v := fmt.Sprint(fi.Size()); v != o.Version {
		return stint.Errorf(stint.Invalid, "input changed: %s was %s, is %s", o.URL, o.Version, v)
	}
	return nil
}

// panicking is a runner whose operator "panic" does.
type panicking struct{ native *native.Runner }

func (p panicking) Perform(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	if a.Action.Native == "panic" {
		panic("on purpose")
	}
	if a.Action.Native == "hang" {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return p.native.Perform(ctx, a, in, out)
}

func newWorker() *worker.Worker {
	return &worker.Worker{
		Command: &command.Runner{}, Native: panicking{native.New()},
		Combiners: native.Combiners(), CheckInput: checkInput,
	}
}

// start starts a worker for the stages in this process.
func start(t *testing.T, stages ...stint.StageSpec) *agent {
	t.Helper()
	return startWith(t, newWorker(), func(*agent) {}, stages...)
}

// startWith is start for a worker and for what is to be different of its setup.
func startWith(t *testing.T, w *worker.Worker, prepare func(*agent), stages ...stint.StageSpec) *agent {
	t.Helper()
	one.Lock()
	a := newAgent(t, stages...)
	prepare(a)
	theirs, ours := socketPair(t)
	a.conn, a.ended = ours, make(chan error, 1)
	go func() { a.ended <- w.Run(context.WithoutCancel(t.Context()), theirs) }()
	t.Cleanup(func() {
		_ = a.conn.Close()
		if err := <-a.ended; err != nil {
			t.Log(err)
		}
		one.Unlock()
	})
	a.setUp()
	return a
}

func newAgent(t *testing.T, stages ...stint.StageSpec) *agent {
	t.Helper()
	a := &agent{t: t, dir: t.TempDir(), spec: stint.Spec{Execution: execution, Stages: stages, Environment: map[string]string{"GREETING": "hello"}}}
	var err error
	if a.store, err = block.Open(filepath.Join(a.dir, "blocks")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"slot", "files", "parts"} {
		if err := os.Mkdir(filepath.Join(a.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (a *agent) setUp() {
	a.t.Helper()
	a.send(worker.Message{Setup: &worker.Setup{
		Spec: a.spec, Dir: filepath.Join(a.dir, "slot"), Files: filepath.Join(a.dir, "files"), Memory: 4 << 20,
		Checkpoints: filepath.Join(a.dir, "checkpoints"),
	}})
	a.newSegment()
}

func (a *agent) newSegment() {
	a.t.Helper()
	id, data, log, err := a.store.CreateSegment(execution)
	if err != nil {
		a.t.Fatal(err)
	}
	a.send(worker.Message{Segment: &worker.SegmentFiles{ID: id}}, data, log)
}

// send sends a message and closes its files.
func (a *agent) send(m worker.Message, files ...*os.File) {
	a.t.Helper()
	if err := a.conn.Send(m, files); err != nil {
		a.t.Fatal(err)
	}
	for _, f := range files {
		_ = f.Close()
	}
}

// perform orders operations of a stage and waits until each has ended. It
// enters their blocks into the store.
func (a *agent) perform(stage int, orders []worker.Order, files ...*os.File) map[uint32]worker.Record {
	a.t.Helper()
	a.send(worker.Message{Perform: &worker.Perform{Job: stint.JobID(stage + 1), Stage: stage, Attempt: 1, Orders: orders}}, files...)
	return a.await(len(orders))
}

// await receives until n operations have ended.
func (a *agent) await(n int) map[uint32]worker.Record {
	a.t.Helper()
	ended := make(map[uint32]worker.Record)
	for len(ended) < n {
		if a.seen == len(a.told) {
			a.receive()
		}
		for _, r := range a.told[a.seen:] {
			switch {
			case r.Done != nil:
				ended[r.Done.Op.Op] = r
				if r.Done.Block != nil {
					if err := a.store.Add(execution, r.Done.Stage, r.Done.Op.Op, *r.Done.Block); err != nil {
						a.t.Fatal(err)
					}
				}
			case r.Failed != nil:
				ended[r.Failed.Op] = r
			case r.Interrupted != nil:
				ended[r.Interrupted.Op] = r
			}
		}
		a.seen = len(a.told)
	}
	return ended
}

func (a *agent) receive() {
	a.t.Helper()
	m, files, err := a.conn.Receive()
	if err != nil {
		a.t.Fatal(err)
	}
	if m.Events.Staged != nil {
		a.staged(m.Events.Staged, files[0])
	}
	a.told = append(a.told, m.Events.Records...)
	a.says = append(a.says, m.Events.Status...)
	for _, d := range m.Events.Dropped {
		for _, ops := range d.Ops {
			a.drops = stint.UnionRange(a.drops, ops)
		}
	}
}

func (a *agent) done(ended map[uint32]worker.Record, op uint32) *worker.DoneRecord {
	a.t.Helper()
	if r := ended[op]; r.Done == nil {
		a.t.Fatalf("operation %d: %+v", op, r.Failed)
	}
	return ended[op].Done
}

func (a *agent) failed(ended map[uint32]worker.Record, code stint.Code, want string) *stint.Failure {
	a.t.Helper()
	f := ended[0].Failed
	if f == nil || f.Error.Code != code || !strings.Contains(f.Error.Message, want) {
		a.t.Fatalf("operation 0: %+v, want %s %q", f, code, want)
	}
	return f
}

// input makes a file and returns its object.
func (a *agent) input(name, text string) (stint.Object, *os.File) {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return stint.Object{URL: "file://" + path, Size: int64(len(text)), Version: fmt.Sprint(len(text))}, a.open(path)
}

func (a *agent) open(path string) *os.File {
	a.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		a.t.Fatal(err)
	}
	return f
}

// pieces cuts a text into operations of size bytes.
func (a *agent) pieces(text string, size int) (orders []worker.Order, files []*os.File) {
	a.t.Helper()
	object, first := a.input("input", text)
	_ = first.Close()
	for at := 0; at < len(text); at += size {
		piece := stint.Piece{Object: object, Offset: int64(at), Length: int64(min(size, len(text)-at))}
		orders = append(orders, worker.Order{Op: uint32(len(orders)), Files: 1, Subset: stint.Subset{Pieces: []stint.Piece{piece}}})
		files = append(files, a.open(filepath.Join(a.dir, "input")))
	}
	return orders, files
}

// reading makes the order of an operation that reads a partition of all
// operations of the first stage.
func (a *agent) reading(op uint32, ops, partition uint32) (worker.Order, []*os.File) {
	a.t.Helper()
	o := worker.Order{Op: op}
	var files []*os.File
	for up := range ops {
		r, records, sum, err := a.store.Open(execution, 0, up, partition)
		if stint.CodeOf(err) == stint.NotFound || err == nil && r.Size() == 0 {
			continue
		}
		if err != nil {
			a.t.Fatal(err)
		}
		outer, offset, length := r.Outer()
		files = append(files, a.open(outer.(*os.File).Name()))
		o.Runs = append(o.Runs, worker.Run{File: len(files) - 1, Op: up, Offset: offset, Length: length, Records: records, Sum: sum})
	}
	o.Files = len(files)
	return o, files
}

// part adds a part file to an order.
func (a *agent) part(o *worker.Order, files []*os.File) []*os.File {
	a.t.Helper()
	o.Part = fmt.Sprintf("part-%d", o.Op)
	f, err := os.Create(filepath.Join(a.dir, "parts", o.Part))
	if err != nil {
		a.t.Fatal(err)
	}
	o.Files++
	return append(files, f)
}

func (a *agent) partText(name string) string {
	a.t.Helper()
	b, err := os.ReadFile(filepath.Join(a.dir, "parts", name))
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b)
}

func (a *agent) blockText(stage int, op uint32) string {
	a.t.Helper()
	r, _, _, err := a.store.Open(execution, stage, op, 0)
	if err != nil {
		a.t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b)
}

// log returns the records of all logs.
func (a *agent) log() []worker.Record {
	a.t.Helper()
	logs, err := a.store.Logs(execution)
	if err != nil {
		a.t.Fatal(err)
	}
	var out []worker.Record
	for _, l := range logs {
		f, err := block.OpenLog(l.Path)
		if err != nil {
			a.t.Fatal(err)
		}
		err = worker.ReadLog(f, func(r worker.Record) error { out = append(out, r); return nil })
		_ = f.Close()
		if err != nil {
			a.t.Fatal(err)
		}
	}
	return out
}

func first(action stint.Action) stint.StageSpec {
	return stint.StageSpec{Stage: stint.Stage{Name: "first", Action: action, Input: stint.Edge{Kind: stint.FromInput}}, Partitions: 1, Operations: 1}
}

func sorted(action stint.Action, partitions uint32, combine *stint.Action) stint.StageSpec {
	s := first(action)
	s.Sorted, s.Partitions, s.Combine = true, partitions, combine
	return s
}

func reduce(action stint.Action) stint.StageSpec {
	return stint.StageSpec{Stage: stint.Stage{Name: "last", Action: action, Input: stint.Edge{Kind: stint.Shuffle, From: "first"}}, Partitions: 1, Part: true, Operations: 1}
}

func sh(script string) stint.Action { return stint.Action{Command: []string{"sh", "-c", script}} }
func op(name string) stint.Action   { return stint.Action{Native: name} }

// shuffled performs a first stage over pieces of text and then the last one over
// every partition; it returns the parts, and what came of the first stage.
func (a *agent) shuffled(text string, size int) ([]string, map[uint32]worker.Record) {
	a.t.Helper()
	orders, files := a.pieces(text, size)
	ended := a.perform(0, orders, files...)
	for i := range orders {
		a.done(ended, uint32(i))
	}
	var parts []string
	for p := range a.spec.Stages[0].Partitions {
		o, files := a.reading(p, uint32(len(orders)), p)
		files = a.part(&o, files)
		d := a.done(a.perform(1, []worker.Order{o}, files...), p)
		text := a.partText(o.Part)
		if d.Part == nil || d.Part.Bytes != int64(len(text)) || d.Block != nil {
			a.t.Fatalf("part %d: %+v of %d bytes", p, d.Part, len(text))
		}
		parts = append(parts, text)
	}
	return parts, ended
}

const poem = "the cat\nand the dog\n\xff\xfe and\r\nthe\tcat the\nend"

func naiveCount(text string) []string {
	counts := make(map[string]int)
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\n' || r == '\t' || r == '\r' }) {
		counts[w]++
	}
	var out []string
	for w, n := range counts {
		out = append(out, fmt.Sprintf("%s\t%d\n", w, n))
	}
	slices.Sort(out)
	return out
}

func TestWordcountIsTheSameForEverySubsetSize(t *testing.T) {
	t.Parallel()
	var want []string
	for _, size := range []int{1000, 1, 3, 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			a := start(t, sorted(op("wordcount"), 3, &stint.Action{Native: "sum"}), reduce(op("sum")))
			parts, _ := a.shuffled(poem, size)
			if want == nil {
				want = parts
			}
			if !slices.Equal(parts, want) {
				t.Errorf("%q, want %q", parts, want)
			}
			lines := strings.SplitAfter(strings.Join(parts, ""), "\n")
			lines = lines[:len(lines)-1]
			slices.Sort(lines)
			if naive := naiveCount(poem); !slices.Equal(lines, naive) {
				t.Errorf("%q, want %q", lines, naive)
			}
		})
	}
}

func TestCommandsSeeTheirLinesSortedAndStable(t *testing.T) {
	t.Parallel()
	a := start(t, sorted(sh("cat"), 2, nil), reduce(sh("cat")))
	parts, ended := a.shuffled("b\t2\na\t9\nb\t1\n\nc\t\nb\na\t\xff\t3\nb\t0", 7)
	var want [2][]string
	for _, line := range []string{"", "a\t9", "a\t\xff\t3", "b\t2", "b\t1", "b", "b\t0", "c\t"} {
		key, _, _ := strings.Cut(line, "\t")
		p := shuffle.HashPartition([]byte(key), 2)
		want[p] = append(want[p], line+"\n")
	}
	for p := range want {
		if w := strings.Join(want[p], ""); parts[p] != w {
			t.Errorf("partition %d: %q, want %q", p, parts[p], w)
		}
	}
	var in, out int64
	for _, r := range ended {
		in, out = in+r.Done.Op.RecordsIn, out+r.Done.Op.RecordsOut
	}
	if in != 8 || out != 8 {
		t.Errorf("%d records in, %d out", in, out)
	}
}

func TestACommandCombinesOncePerOperationAndPartition(t *testing.T) {
	t.Parallel()
	combine := sh(`echo ran >&2; sort -r; echo "$GREETING" > leftover`)
	a := start(t, sorted(sh("cat"), 2, &combine), reduce(sh("cat")))
	parts, ended := a.shuffled("a\t1\nb\t2\na\t0\nd\t1\n", 8)
	all := strings.Join(parts, "")
	if len(all) != 16 || !strings.Contains(all, "a\t1\na\t0\n") {
		t.Errorf("%q", parts)
	}
	for op, r := range ended {
		want := map[string]bool{}
		for _, p := range r.Done.Block.Parts {
			want[fmt.Sprint(p.Partition)] = true
		}
		if got := strings.Count(r.Done.Stderr, "ran\n"); got != len(want) {
			t.Errorf("operation %d: combined %d times, %d partitions", op, got, len(want))
		}
	}
}

func TestOutputAsWrittenIsGatheredIntoPartsInOrder(t *testing.T) {
	t.Parallel()
	gather := reduce(op("identity"))
	gather.Input.Kind = stint.Gather
	a := start(t, first(sh(`cat; printf 'no line end'`)), gather)
	orders, files := a.pieces("one\ntwo\nthree\n", 4)
	ended := a.perform(0, orders, files...)
	if d := a.done(ended, 0); d.Op.RecordsOut != 2 || d.Op.BytesIn != 4 || d.Op.RecordsIn != 1 {
		t.Errorf("%+v", d.Op)
	}
	o, files := a.reading(0, uint32(len(orders)), 0)
	files = a.part(&o, files)
	d := a.done(a.perform(1, []worker.Order{o}, files...), 0)
	want := "one\nno line end\ntwo\nno line end\nthree\nno line end\nno line end\n"
	if got := a.partText("part-0"); got != want || d.Part.Bytes != int64(len(want)) || d.Op.RecordsIn != 7 {
		t.Errorf("%q, %+v", got, d)
	}
}

func TestGeneratedRangesAreLines(t *testing.T) {
	t.Parallel()
	s := first(sh("cat"))
	s.Values, s.Each = &stint.Values{First: 8, Count: 5}, 3
	a := start(t, s)
	ended := a.perform(0, []worker.Order{{Op: 0}, {Op: 1}})
	a.done(ended, 0)
	a.done(ended, 1)
	if got := a.blockText(0, 0) + a.blockText(0, 1); got != "8\n9\n10\n11\n12\n" {
		t.Errorf("%q", got)
	}
}

func TestFailuresSayWhoseFaultTheyAre(t *testing.T) {
	t.Parallel()
	stages := []stint.StageSpec{
		first(sh("cat; echo why >&2; exit 3")), first(sh("kill -KILL $$")), first(op("panic")), first(stint.Action{Command: []string{"no-such-program"}}),
		first(sh(`cat > /dev/null; echo more >> "${STINT_INPUT#file://}"`)), sorted(op("identity"), 1, &stint.Action{Native: "sum"}), first(op("identity")),
	}
	a := start(t, stages...)
	perform := func(stage int, text string) map[uint32]worker.Record {
		orders, files := a.pieces(text, 1<<30)
		return a.perform(stage, orders, files...)
	}
	if f := a.failed(perform(0, "x\n"), stint.Failed, "exit 3"); f.Exit != 3 || f.Stderr != "why\n" || f.Attempt != 1 {
		t.Errorf("%+v", f)
	}
	if f := a.failed(perform(1, "x\n"), stint.Failed, "SIGKILL"); f.Signal != "SIGKILL" {
		t.Errorf("%+v", f)
	}
	if f := a.failed(perform(2, "x\n"), stint.Failed, "panic: on purpose"); !strings.Contains(f.Stderr, "worker_test.go") {
		t.Errorf("%+v", f)
	}
	a.failed(perform(3, "x\n"), stint.Invalid, "no-such-program")
	a.failed(perform(4, "x\n"), stint.Invalid, "input changed: file://")
	a.failed(perform(5, "k\tv\n"), stint.Failed, `key "k"`)
	if d := a.done(perform(6, "still works\n"), 0); d.Op.BytesOut != 12 {
		t.Errorf("%+v", d.Op)
	}
}

func TestAFullDiskIsTheNodesFault(t *testing.T) {
	t.Parallel()
	gather := reduce(op("identity"))
	gather.Input.Kind = stint.Gather
	a := start(t, first(op("identity")), gather)
	_, _, log, err := a.store.CreateSegment(execution)
	if err != nil {
		t.Fatal(err)
	}
	a.send(worker.Message{Segment: &worker.SegmentFiles{ID: 9}}, a.open("/dev/full"), log)
	orders, files := a.pieces("some text\n", 100)
	a.failed(a.perform(0, orders, files...), stint.Unavailable, "no space left")
	a.newSegment()
	orders, files = a.pieces("some text\n", 100)
	a.done(a.perform(0, orders, files...), 0)
	o, files := a.reading(0, 1, 0)
	o.Part, o.Files = "part-0", o.Files+1
	a.failed(a.perform(1, []worker.Order{o}, append(files, a.open("/dev/full"))...), stint.Unavailable, "no space left")
}

func TestDamagedOutputOfAnEarlierStageIsLost(t *testing.T) {
	t.Parallel()
	gather := reduce(op("identity"))
	gather.Input.Kind = stint.Gather
	for kind, next := range map[string]stint.StageSpec{"merged": reduce(op("identity")), "gathered": gather} {
		t.Run(kind, func(t *testing.T) {
			stage := first(op("identity"))
			stage.Sorted = kind == "merged"
			a := start(t, stage, next)
			orders, files := a.pieces("aaa\tb\nccc\td\n", 1<<20)
			d := a.done(a.perform(0, orders, files...), 0)
			o, files := a.reading(0, 1, 0)
			if _, err := files[0].WriteAt([]byte{'x'}, d.Block.Offset+2); err != nil {
				t.Fatal(err)
			}
			files = a.part(&o, files)
			a.failed(a.perform(1, []worker.Order{o}, files...), stint.Lost, "operation 0")
		})
	}
}

func TestWhenTheAgentIsGoneEverythingEnds(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh("echo reporter:status:ready >&2; sleep 61")), first(op("hang")))
	for stage := range 2 {
		a.send(worker.Message{Perform: &worker.Perform{Job: 1, Stage: stage, Attempt: 1, Orders: []worker.Order{{Op: uint32(stage), Subset: stint.Subset{Values: &stint.Values{Count: 1}}}}}})
	}
	for len(a.says) == 0 {
		a.receive()
	}
	_ = a.conn.Close()
	err := <-a.ended
	a.ended <- nil
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && len(b) > 0 {
			t.Errorf("children are left: %s", b)
		}
	}
}

func TestTheWorkingDirectoryHoldsTheProgramsFilesAndNothingElse(t *testing.T) {
	t.Parallel()
	look := first(stint.Action{Command: []string{"sh", "-c", `ls -A; ./hello; mkdir -p d/e; touch d/e/f; chmod 500 d; rm hello`}})
	quiet := first(sh("ls -A"))
	a := startWith(t, newWorker(), func(a *agent) {
		a.spec.Program.Files = []stint.ProgramFile{{Name: "hello"}}
		if err := os.WriteFile(filepath.Join(a.dir, "files", "hello"), []byte("#!/bin/sh\necho $GREETING\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}, look, quiet)
	for i, stage := range []int{0, 0, 1, 1} {
		want := "hello\nhello\n"
		if stage == 1 {
			want = "hello\n"
		}
		op := uint32(i)
		a.done(a.perform(stage, []worker.Order{{Op: op, Subset: stint.Subset{Values: &stint.Values{Count: 1}}}}), op)
		if got := a.blockText(stage, op); got != want {
			t.Errorf("operation %d saw %q", i, got)
		}
	}
}

func TestWhatIsToldIsInTheLogInOrder(t *testing.T) {
	t.Parallel()
	a := start(t, first(op("noop")))
	n := 0
	for batch := range 5 {
		orders := make([]worker.Order, 300)
		for i := range orders {
			orders[i] = worker.Order{Op: uint32(n), Subset: stint.Subset{Values: &stint.Values{Count: 1}}}
			n++
		}
		if batch == 3 {
			a.newSegment()
		}
		a.perform(0, orders)
	}
	log := a.log()
	if len(log) != 2*n || len(a.told) != 2*n {
		t.Fatalf("%d records in the log, %d told, of %d", len(log), len(a.told), 2*n)
	}
	for i := range n {
		begun, done := log[2*i].Begun, log[2*i+1].Done
		if begun == nil || done == nil || begun.Ops.From != uint32(i) || done.Op.Op != uint32(i) {
			t.Fatalf("records %d: %+v %+v", i, log[2*i], log[2*i+1])
		}
		if a.told[2*i].Begun == nil || a.told[2*i+1].Done.Op != done.Op {
			t.Fatalf("told %d: %+v", i, a.told[2*i+1])
		}
	}
}

func TestCountersAndStatusAreTold(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh(`echo reporter:counter:g,n,2 >&2; echo reporter:status:on it >&2; echo text >&2`)))
	d := a.done(a.perform(0, []worker.Order{{Op: 4, Subset: stint.Subset{Values: &stint.Values{Count: 1}}}}), 4)
	want := stint.CounterDelta{Op: 4, Group: "g", Name: "n", Value: 2}
	if !slices.Contains(d.Counters, want) || d.Stderr != "text\n" {
		t.Errorf("%+v", d)
	}
	if !slices.Contains(a.says, stint.StatusText{Job: 1, Op: 4, Text: "on it"}) {
		t.Errorf("%+v", a.says)
	}
}

func TestTheBeginningAndTheEndOfALongStderrAreKept(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh(`i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done >&2`)))
	d := a.done(a.perform(0, []worker.Order{{Subset: stint.Subset{Values: &stint.Values{Count: 1}}}}), 0)
	if len(d.Stderr) > 129<<10 || len(d.Stderr) < 127<<10 || !strings.HasSuffix(d.Stderr, "line 19999\n") || !strings.HasPrefix(d.Stderr, "line 0\nline 1\n") || !strings.Contains(d.Stderr, " bytes are left out here]\nline ") {
		t.Errorf("%d bytes: %.20q", len(d.Stderr), d.Stderr)
	}
}

func TestARecordThatIsTooLongIsTheProgramsFault(t *testing.T) {
	t.Parallel()
	a := start(t, sorted(sh(`echo short; head -c 80000000 /dev/zero`), 1, nil))
	ended := a.perform(0, []worker.Order{{Subset: stint.Subset{Values: &stint.Values{Count: 1}}}})
	a.failed(ended, stint.Failed, "record_too_long: record 2")
}

func TestNoDescriptorIsKept(t *testing.T) { // alone: it counts those of the process
	a := start(t, first(op("identity")))
	text := strings.Repeat("line\n", 200)
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	orders, files := a.pieces(text, 100)
	a.perform(0, orders, files...)
	before := count()
	for range 20 {
		orders, files := a.pieces(text, 100)
		a.perform(0, orders, files...)
	}
	if n := count(); n > before+5 {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

func TestOrdersThatContradictTheirDescriptorsEndTheWorker(t *testing.T) {
	t.Parallel()
	a := start(t, first(op("identity")))
	a.send(worker.Message{Perform: &worker.Perform{Job: 1, Orders: []worker.Order{{Files: 2}}}}, a.open(os.DevNull))
	err := <-a.ended
	a.ended <- nil
	if err == nil || !strings.Contains(err.Error(), "2 descriptors; 1 came") {
		t.Fatal(err)
	}
}
