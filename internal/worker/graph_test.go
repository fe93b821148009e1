package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stint"
	"stint/internal/shuffle"
	"stint/internal/worker"
)

// byEdge is a runner that writes before every record over which edge it came.
type byEdge struct{}

func (byEdge) Perform(_ context.Context, _ *stint.Attempt, in io.Reader, out io.Writer) error {
	records := in.(shuffle.Source)
	for {
		key, value, err := records.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			_, err = fmt.Fprintf(out, "%d %s=%s\n", in.(interface{ Edge() int }).Edge(), key, value)
		}
		if err != nil {
			return err
		}
	}
}

// joining is two stages that read the input, and one that joins them.
func joining() []stint.StageSpec {
	left, right := sorted(sh("cat"), 2, nil), sorted(sh("cat"), 2, nil)
	left.Name, right.Name = "left", "right"
	join := reduce(op("any"))
	join.Input.From = "left"
	join.Beside = []stint.Edge{{Kind: stint.Shuffle, From: "right"}}
	return []stint.StageSpec{left, right, join}
}

func (a *agent) read(stage, edge int, op, partition uint32, o *worker.Order, files []*os.File) []*os.File {
	a.t.Helper()
	r, records, sum, err := a.store.Open(execution, stage, op, partition)
	if err != nil {
		a.t.Fatal(err)
	}
	if r.Size() == 0 {
		return files
	}
	outer, offset, length := r.Outer()
	o.Runs = append(o.Runs, worker.Run{File: len(files), Edge: edge, Op: op, Offset: offset, Length: length, Records: records, Sum: sum})
	o.Files++
	return append(files, a.open(outer.(*os.File).Name()))
}

// put performs one operation of a stage over a text.
func (a *agent) put(stage int, op uint32, text string) {
	a.t.Helper()
	object, f := a.input(fmt.Sprintf("input-%d-%d", stage, op), text)
	subset := stint.Subset{Pieces: []stint.Piece{{Object: object, Length: int64(len(text))}}}
	a.done(a.perform(stage, []worker.Order{{Op: op, Files: 1, Subset: subset}}, f), op)
}

func TestAJoinGetsTheRecordsOfAKeyByEdgeAndThenByOperation(t *testing.T) {
	t.Parallel()
	w := newWorker()
	w.Native = byEdge{}
	a := startWith(t, w, func(*agent) {}, joining()...)
	a.put(0, 0, "k\tl2\na\tl1\n")
	a.put(0, 1, "k\tl3\n")
	a.put(1, 0, "k\tr1\nz\tr0\n")
	a.put(1, 1, "k\tr2\na\tr3\n")
	got := ""
	for p := range uint32(2) {
		o := worker.Order{Op: p}
		var files []*os.File
		for edge, stage := range []int{0, 1} {
			for up := range uint32(2) {
				files = a.read(stage, edge, up, p, &o, files)
			}
		}
		files = a.part(&o, files)
		a.done(a.perform(2, []worker.Order{o}, files...), p)
		got += a.partText(o.Part)
	}
	for _, want := range []string{"0 k=l2\n0 k=l3\n1 k=r1\n1 k=r2\n", "0 a=l1\n1 a=r3\n", "1 z=r0\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q, want %q in it", got, want)
		}
	}
}

func TestAOneToOneOperationReadsItsOwnOperationAsItIs(t *testing.T) {
	t.Parallel()
	second := reduce(sh("sed s/^/2:/"))
	second.Input.Kind = stint.OneToOne
	a := start(t, first(sh("sed s/^/1:/")), second)
	a.put(0, 0, "b\na\n")
	o := worker.Order{}
	files := a.part(&o, a.read(0, 0, 0, 0, &o, nil))
	d := a.done(a.perform(1, []worker.Order{o}, files...), 0)
	if got, want := a.partText(o.Part), "2:1:b\n2:1:a\n"; got != want || d.Op.RecordsIn != 2 {
		t.Errorf("%q, want %q; %+v", got, want, d.Op)
	}
}

// broadcastFile is a file as the agent makes it of the output of a stage.
func (a *agent) broadcastFile(stage, text string) worker.Broadcast {
	a.t.Helper()
	path := filepath.Join(a.dir, stage+"-broadcast")
	if err := os.WriteFile(path, []byte(text), 0o400); err != nil {
		a.t.Fatal(err)
	}
	return worker.Broadcast{Stage: stage, Path: path}
}

func TestACommandFindsWhatIsBroadcastUnderTheNameOfItsStage(t *testing.T) {
	t.Parallel()
	a := start(t, first(sh(`cat the-list "$STINT_BROADCAST_THE_LIST"; ls; [ "$STINT_OPERATION" != first/0 ] || { rm the-list; touch mine; }`)))
	b := a.broadcastFile("the-list", "x\n")
	other := b
	other.Path = filepath.Join(a.dir, "other")
	if err := os.WriteFile(other.Path, []byte("y\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	var orders []worker.Order
	for i, which := range []worker.Broadcast{b, b, other} {
		orders = append(orders, worker.Order{Op: uint32(i), Subset: stint.Subset{Values: &stint.Values{Count: 1}}, Broadcasts: []worker.Broadcast{which}})
	}
	ended := a.perform(0, orders)
	for i, want := range []string{"x\nx\nthe-list\n", "x\nx\nthe-list\n", "y\ny\nthe-list\n"} {
		a.done(ended, uint32(i))
		if got := a.blockText(0, uint32(i)); got != want {
			t.Errorf("operation %d: %q, want %q", i, got, want)
		}
	}
}

// beside is a runner that writes what the attempt reads beside its input.
type beside struct{}

func (beside) Perform(_ context.Context, a *stint.Attempt, _ io.Reader, out io.Writer) error {
	b, err := os.ReadFile(a.Beside["the-list"])
	if err == nil {
		_, err = out.Write(b)
	}
	return err
}

func TestANativeOperatorIsToldWhereABroadcastLies(t *testing.T) {
	t.Parallel()
	w := newWorker()
	w.Native = beside{}
	a := startWith(t, w, func(*agent) {}, first(op("any")))
	o := worker.Order{Subset: stint.Subset{Values: &stint.Values{Count: 1}}, Broadcasts: []worker.Broadcast{a.broadcastFile("the-list", "x\ny\n")}}
	a.done(a.perform(0, []worker.Order{o}), 0)
	if got := a.blockText(0, 0); got != "x\ny\n" {
		t.Errorf("%q", got)
	}
}

// ranged is a sorted stage that is partitioned by ranges.
func ranged() stint.StageSpec {
	s := sorted(sh("cat"), 3, nil)
	s.Partitioner = &stint.Partitioner{Kind: stint.RangePartition, From: "ranges"}
	s.Beside = []stint.Edge{{Kind: stint.Broadcast, From: "ranges"}}
	return s
}

func TestRecordsGoToThePartitionOfTheirRange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ ranges, want string }{
		{"b\nd\n", "a aa|b c|d e"},
		{"b\nd", "a aa|b c|d e"}, // the last line need not end
		{"\nb\n", "|a aa|b c d e"},
		{"c\n", "a aa b|c d e|"},
		{"", "a aa b c d e||"},
		{"b\nb\n", "a aa||b c d e"},
		{"aaaaaaaaaaaaaa\ndddddddddddddddd\n", "a aa|b c d|e"},
	} {
		t.Run(fmt.Sprintf("%q", c.ranges), func(t *testing.T) {
			a := start(t, ranged())
			text := "e\nd\naa\nc\nb\na\n"
			object, f := a.input("input", text)
			o := worker.Order{Files: 1, Subset: stint.Subset{Pieces: []stint.Piece{{Object: object, Length: int64(len(text))}}}, Broadcasts: []worker.Broadcast{a.broadcastFile("ranges", c.ranges)}}
			a.done(a.perform(0, []worker.Order{o}, f), 0)
			if got := a.partitionsOf(0, 3); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// partitionsOf returns the keys of an operation's partitions.
func (a *agent) partitionsOf(op, partitions uint32) string {
	a.t.Helper()
	var parts []string
	for p := range partitions {
		r, _, _, err := a.store.Open(execution, 0, op, p)
		if err != nil {
			a.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			a.t.Fatal(err)
		}
		var keys []string
		for len(b) > 0 {
			key, _, n, err := shuffle.ReadRecord(b)
			if err != nil {
				a.t.Fatal(err)
			}
			keys, b = append(keys, string(key)), b[n:]
		}
		parts = append(parts, strings.Join(keys, " "))
	}
	return strings.Join(parts, "|")
}

func TestEveryOperationHasTheRangesThatItIsGiven(t *testing.T) {
	t.Parallel()
	a := start(t, ranged())
	one := a.broadcastFile("ranges", "b\n")
	other := worker.Broadcast{Stage: "ranges", Path: one.Path + "-2"}
	if err := os.WriteFile(other.Path, []byte("a\nc\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	text := "a\nb\nc\n"
	for op, b := range []worker.Broadcast{one, other, one} {
		object, f := a.input("input", text)
		o := worker.Order{Op: uint32(op), Files: 1, Subset: stint.Subset{Pieces: []stint.Piece{{Object: object, Length: int64(len(text))}}}, Broadcasts: []worker.Broadcast{b}}
		a.done(a.perform(0, []worker.Order{o}, f), o.Op)
		want := map[string]string{one.Path: "a|b c|", other.Path: "|a b|c"}[b.Path]
		if got := a.partitionsOf(o.Op, 3); got != want {
			t.Errorf("operation %d: %q, want %q", op, got, want)
		}
	}
}

func TestRecordsGoToThePartitionOfTheirFields(t *testing.T) {
	t.Parallel()
	s := sorted(sh("cat"), 2, nil)
	s.Partitioner = &stint.Partitioner{Kind: stint.FieldPartition, Fields: "-k2,2", Separator: "."}
	a := start(t, s, reduce(sh("cat")))
	parts, _ := a.shuffled("x.a\ny.b\ny.a\nx.b\n", 100)
	slices.Sort(parts)
	if want := []string{"x.a\ny.a\n", "x.b\ny.b\n"}; !slices.Equal(parts, want) {
		t.Errorf("%q, want %q", parts, want)
	}
}

func TestRangesThatAreNoneAreRefusedForGood(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", shuffle.MaxKey+1)
	for name, c := range map[string]struct{ ranges, want string }{
		"too many":   {"a\nb\nc\n", "line 3: 3 partitions have at most 2 boundaries"},
		"not sorted": {"b\na\n", `line 2: "a" comes after "b"`},
		"too long":   {long, "line 1: longer than a key"},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, ranged())
			o := worker.Order{Subset: stint.Subset{Values: &stint.Values{Count: 1}}, Broadcasts: []worker.Broadcast{a.broadcastFile("ranges", c.ranges)}}
			f := a.failed(a.perform(0, []worker.Order{o}), stint.Invalid, c.want)
			if !strings.Contains(f.Error.Message, `"first" from stage "ranges"`) {
				t.Errorf("it does not say where: %s", f.Error.Message)
			}
		})
	}
	t.Run("not there", func(t *testing.T) {
		a := start(t, ranged())
		o := worker.Order{Subset: stint.Subset{Values: &stint.Values{Count: 1}}}
		a.failed(a.perform(0, []worker.Order{o}), stint.Invalid, `does not read stage "ranges"`)
	})
}

func TestWhatIsCombinedStaysInTheRangeOfItsPartition(t *testing.T) {
	t.Parallel()
	s := ranged()
	s.Combine = &stint.Action{Command: []string{"uniq"}}
	last := reduce(sh("cat"))
	a := start(t, s, last)
	text := "e\nb\nb\na\ne\n"
	object, f := a.input("input", text)
	o := worker.Order{Files: 1, Subset: stint.Subset{Pieces: []stint.Piece{{Object: object, Length: int64(len(text))}}}, Broadcasts: []worker.Broadcast{a.broadcastFile("ranges", "b\nc\n")}}
	a.done(a.perform(0, []worker.Order{o}, f), 0)
	for p, want := range []string{"a\n", "b\n", "e\n"} {
		o, files := a.reading(uint32(p), 1, uint32(p))
		files = a.part(&o, files)
		a.done(a.perform(1, []worker.Order{o}, files...), uint32(p))
		if got := a.partText(o.Part); got != want {
			t.Errorf("partition %d: %q, want %q", p, got, want)
		}
	}
}

func TestTheEnvironmentOfAStageIsAboveTheProgramsAndBelowTheRequests(t *testing.T) {
	t.Parallel()
	show := first(sh(`echo "$A $B $C $D"`))
	show.Environment = map[string]string{"B": "stage", "C": "stage"}
	plain := first(sh(`echo "$A $B $C $D"`))
	plain.Name = "plain"
	a := startWith(t, newWorker(), func(a *agent) {
		a.spec.Program.Environment = map[string]string{"A": "program", "B": "program", "C": "program"}
		a.spec.Environment = map[string]string{"C": "request", "D": "request"}
	}, show, plain)
	for stage, want := range []string{"program stage request request\n", "program program request request\n"} {
		a.done(a.perform(stage, []worker.Order{{Subset: stint.Subset{Values: &stint.Values{Count: 1}}}}), 0)
		if got := a.blockText(stage, 0); got != want {
			t.Errorf("stage %d: %q, want %q", stage, got, want)
		}
	}
}

func TestAStageFindsTheFilesThatItNamesInTheirFolders(t *testing.T) {
	t.Parallel()
	some := first(sh(`find . ! -type d | sort; [ "$STINT_OPERATION" != first/0 ] || { rm -rf lib; touch lib; }`))
	some.Files = []string{"lib/a/x.py", "run.sh"}
	all := first(sh(`find . ! -type d | sort; cat lib/a/x.py; touch lib/a/left`))
	all.Name = "all"
	a := startWith(t, newWorker(), func(a *agent) {
		for _, name := range []string{"lib/a/x.py", "lib/y.py", "run.sh"} {
			a.spec.Program.Files = append(a.spec.Program.Files, stint.ProgramFile{Name: name})
			path := filepath.Join(a.dir, "files", name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("bytes\n"), 0o400)); err != nil {
				a.t.Fatal(err)
			}
		}
	}, some, all)
	for op, stage := range []int{0, 0, 1, 1, 0} {
		o := worker.Order{Op: uint32(op), Subset: stint.Subset{Values: &stint.Values{Count: 1}}}
		a.done(a.perform(stage, []worker.Order{o}), o.Op)
		want := "./lib/a/x.py\n./run.sh\n"
		if stage == 1 {
			want = "./lib/a/x.py\n./lib/y.py\n./run.sh\nbytes\n"
		}
		if got := a.blockText(stage, o.Op); got != want {
			t.Errorf("operation %d of stage %d: %q, want %q", op, stage, got, want)
		}
	}
}

func TestNoFileIsPutOutsideOfTheWorkingDirectory(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{{"../up"}, {"/abs"}, {"."}, {"a/../b"}, {"a//b"}, {""}, {"a/"}, {"a", "a"}, {"a", "a/b"}, {"a/b", "a"}, {"first-stage"}} {
		t.Run(fmt.Sprint(names), func(t *testing.T) {
			a := startWith(t, newWorker(), func(a *agent) {
				for _, name := range names {
					a.spec.Program.Files = append(a.spec.Program.Files, stint.ProgramFile{Name: name})
				}
			}, first(sh("true")))
			o := worker.Order{Subset: stint.Subset{Values: &stint.Values{Count: 1}}, Broadcasts: []worker.Broadcast{{Stage: "first-stage", Path: "/dev/null"}}}
			a.failed(a.perform(0, []worker.Order{o}), stint.Invalid, "")
		})
	}
}

// counting is a runner that counts what it is asked, and whether it was closed.
type counting struct {
	dirs   []os.FileInfo
	closed bool
}

func (c *counting) Perform(_ context.Context, a *stint.Attempt, _ io.Reader, out io.Writer) error {
	info, err := os.Stat(a.Dir)
	if err != nil {
		return err
	}
	c.dirs = append(c.dirs, info)
	_, err = fmt.Fprintln(out, a.Action.SDK)
	return errors.Join(err, os.WriteFile(filepath.Join(a.Dir, "left"), nil, 0o600))
}

func (c *counting) Close() error {
	c.closed = true
	return nil
}

// Its process may stand in its working directory for many operations: the
// directory is emptied and stays.
func TestAnActionThatSpeaksFramesHasARunnerAndADirectoryOfItsOwn(t *testing.T) {
	t.Parallel()
	action := stint.Action{SDK: []string{"python3", "main.py"}}
	t.Run("without a runner", func(t *testing.T) {
		a := start(t, first(action))
		o := worker.Order{Subset: stint.Subset{Values: &stint.Values{Count: 1}}}
		a.failed(a.perform(0, []worker.Order{o}), stint.Invalid, `"python3" speaks frames`)
	})
	w, runner := newWorker(), &counting{}
	w.SDK = runner
	t.Run("with one", func(t *testing.T) {
		a := startWith(t, w, func(*agent) {}, first(action))
		for op := range uint32(3) {
			o := worker.Order{Op: op, Subset: stint.Subset{Values: &stint.Values{Count: 1}}}
			a.done(a.perform(0, []worker.Order{o}), op)
			if got := a.blockText(0, op); got != "[python3 main.py]\n" {
				t.Errorf("%q", got)
			}
		}
	})
	if !runner.closed || len(runner.dirs) != 3 || slices.ContainsFunc(runner.dirs, func(i os.FileInfo) bool { return !os.SameFile(i, runner.dirs[0]) }) {
		t.Errorf("%d directories, closed %v", len(runner.dirs), runner.closed)
	}
}
