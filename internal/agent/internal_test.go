package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/block"
	"stint/internal/link"
	"stint/internal/worker"
)

func TestWhatThisNodeLacksIsUnavailableAndNamesThePath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want stint.Code
	}{
		{&os.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, stint.Unavailable},
		{fmt.Errorf("open: %w", syscall.EMFILE), stint.Unavailable},
		{&stint.Error{Code: stint.Internal, Err: syscall.EIO}, stint.Unavailable},
		{stint.Errorf(stint.Invalid, "input changed"), stint.Invalid},
		{errors.New("anything"), stint.Unavailable},
		{context.Canceled, stint.Canceled},
	} {
		got := nodeFault(c.err, "/data/work")
		if got.Code != c.want {
			t.Errorf("%v: %s, want %s", c.err, got.Code, c.want)
		}
		if c.want == stint.Unavailable && errors.Is(c.err, syscall.ENOSPC) && !strings.Contains(got.Message, "/data/work") {
			t.Errorf("%v does not name the path", got)
		}
	}
}

func TestAnInputThatIsGoneFailsForGoodAndOneThatIsForbiddenDoesNot(t *testing.T) {
	t.Parallel()
	for code, want := range map[stint.Code]stint.Code{
		stint.NotFound: stint.Invalid, stint.Conflict: stint.Invalid, stint.Invalid: stint.Invalid,
		stint.Denied: stint.Denied, stint.Unavailable: stint.Unavailable,
	} {
		if got := inputError(stint.Errorf(code, "x"), "file:///x").Code; got != want {
			t.Errorf("%s becomes %s, want %s", code, got, want)
		}
	}
}

func TestEveryEdgeReadsItsOwnOperationsAndPartition(t *testing.T) {
	t.Parallel()
	stage := func(name string, operations uint32, gather stint.GatherMap, edges ...stint.Edge) stint.StageSpec {
		s := stint.StageSpec{Stage: stint.Stage{Name: name}, Operations: operations, Gather: gather}
		if len(edges) > 0 {
			s.Input, s.Beside = edges[0], edges[1:]
		}
		return s
	}
	spec := &stint.Spec{Execution: execX, Stages: []stint.StageSpec{
		stage("left", 10, nil),
		stage("right", 7, nil),
		stage("join", 4, nil, stint.Edge{Kind: stint.Shuffle, From: "left"}, stint.Edge{Kind: stint.Shuffle, From: "right"}, stint.Edge{Kind: stint.Broadcast, From: "left"}),
		stage("some", 2, stint.GatherMap{0, 4, 10}, stint.Edge{Kind: stint.Gather, From: "left"}),
		stage("all", 1, nil, stint.Edge{Kind: stint.Gather, From: "right"}),
		stage("each", 7, nil, stint.Edge{Kind: stint.OneToOne, From: "right"}),
	}}
	for _, c := range []struct {
		stage, edge int
		op          uint32
		from        int
		partition   uint32
		ops         stint.Range
	}{
		{2, 0, 3, 0, 3, ops(0, 10)},
		{2, 1, 3, 1, 3, ops(0, 7)},
		{2, 2, 3, 0, 0, ops(0, 10)},
		{3, 0, 0, 0, 0, ops(0, 4)},
		{3, 0, 1, 0, 0, ops(4, 10)},
		{4, 0, 0, 1, 0, ops(0, 7)},
		{5, 0, 6, 1, 0, ops(6, 7)},
	} {
		r, err := readingOf(spec, &spec.Stages[c.stage], c.edge, c.op)
		if err != nil || r.stage != c.from || r.edge != c.edge || r.partition != c.partition || r.ops != c.ops {
			t.Errorf("operation %d of stage %d over edge %d: %+v %v", c.op, c.stage, c.edge, r, err)
		}
	}
	if _, err := readingOf(spec, &spec.Stages[3], 0, 2); err == nil {
		t.Error("an operation that the map of the gather does not have")
	}
}

// After the lease without a server nothing is performed any more, and everything
// is given back.
func TestAfterTheLeaseEverythingIsGivenBack(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t, grant(execX, 1, 0, 5))
	start := time.Now()
	l.session.away = start
	e := l.execution(execX)
	run, _ := l.ledger.Next(execX, 1)
	e.ready = append(e.ready, &order{grant: run.Grant})
	l.work(start.Add(lease - time.Second))
	if l.session.lapsed || l.ledger.Waiting(execX) != 4 {
		t.Fatal("given back within the lease")
	}
	l.work(start.Add(lease))
	r, ok := l.ledger.Report(execX)
	if !ok {
		t.Fatal("nothing to report")
	}
	var back []stint.Range
	for _, b := range r.Returned {
		for _, ops := range b.Ops {
			back = stint.UnionRange(back, ops)
		}
	}
	equal(t, "given back", back, []stint.Range{ops(0, 5)})
}

func TestAGrantWithoutItsSpecIsGivenBack(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t)
	g := grant(execX, 1, 0, 5)
	(&arrived{message: link.ServerMessage{Grant: &g}}).apply(l, time.Now())
	r, ok := l.ledger.Report(execX)
	if !ok || len(r.Returned) != 1 {
		t.Fatalf("report: %+v", r)
	}
	equal(t, "given back", r.Returned[0].Ops, []stint.Range{ops(0, 5)})
}

func TestNothingBeginsWhileTheDiskIsFull(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t, grant(execX, 1, 0, 5))
	e := l.execution(execX)
	e.spec = overRange(execX, 5, stint.Action{Native: "noop"})
	e.files = provided
	now := time.Now()
	l.full, l.beat = true, now
	l.work(now)
	if l.slots[0].execution != "" {
		t.Error("a slot was given to it")
	}
	r, ok := l.ledger.Report(execX)
	if !ok || len(r.Failures) != 1 || r.Failures[0].Error.Code != stint.Unavailable || !strings.Contains(r.Failures[0].Error.Message, l.folder.dir) {
		t.Fatalf("report: %+v", r)
	}
	if len(r.Returned) != 1 || stint.CountRanges(r.Returned[0].Ops) != 4 {
		t.Errorf("given back: %+v, want the other four", r.Returned)
	}
	l.full = false
	if accepted, why := l.ledger.Accept(grant(execX, 2, 0, 5)); !accepted {
		t.Fatal(why)
	}
	l.work(now)
	if l.slots[0].execution != execX {
		t.Error("no slot was given to it once there was room")
	}
}

// newTestLoop returns a loop whose tasks never run.
func newTestLoop(t *testing.T, grants ...stint.Grant) *loop {
	t.Helper()
	f := must(openFolder(t.TempDir()))(t)
	t.Cleanup(func() { _ = f.close() })
	idle := func() scope {
		return scope{start: func(func(context.Context)) {}, cancel: func(error) {}}
	}
	store := must(block.Open(f.at("blocks")))(t)
	t.Cleanup(func() { _ = store.Close() })
	logger := slog.New(slog.DiscardHandler)
	s := &site{agent: &Agent{Slots: 1}, folder: f, store: store, cache: newCache(store, f, logger), storages: &storages{}, post: func(notice) {}, open: idle, logger: logger}
	return newLoop(s, newLedger(t, 100, grants...))
}

func TestANodeThatBeginsToCopySaysSoWhenItAttaches(t *testing.T) {
	t.Parallel()
	for kind, want := range map[stint.ErrandKind]int{stint.ErrandCopy: 1, stint.ErrandSave: 0} {
		l := newTestLoop(t)
		l.errands.add(stint.Errand{ID: "e", Kind: kind, Execution: execX, Ops: []stint.Range{ops(0, 1)}})
		l.errands.next(l)
		if got := l.ledger.Holdings(); len(got) != want {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

func TestBlocksThatAreNotWholeAreReportedAtTheNextStart(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, stop := s.start(t, nodeA, dir, 1)
	a.send(t, link.ServerMessage{Spec: overRange(execX, 3, shell(`echo "$STINT_OPERATION"`))})
	a.grant(t, stint.Grant{Execution: execX, Job: 1, Ops: ops(0, 3)})
	a.awaitDone(t, 3)
	stop()

	segments := must(filepath.Glob(filepath.Join(dir, "blocks", string(execX), "*.seg")))(t)
	b := must(os.ReadFile(segments[0]))(t)
	b[strings.Index(string(b), "map/1")] ^= 1
	if err := os.WriteFile(segments[0], b[:len(b)-1], 0o600); err != nil { // and the last block is cut short
		t.Fatal(err)
	}
	a, stop = s.start(t, nodeA, dir, 1)
	equal(t, "without a restart of the machine, lengths are checked", a.hello.Holdings[0].Completed, []stint.StageOps{{Ops: []stint.Range{ops(0, 2)}}})
	stop()

	record := filepath.Join(dir, "node.json")
	text := strings.Replace(string(must(os.ReadFile(record))(t)), must(readBootID())(t), "another", 1)
	if err := os.WriteFile(record, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, _ = s.start(t, nodeA, dir, 1)
	equal(t, "after a restart of the machine, checksums too", a.hello.Holdings[0].Completed, []stint.StageOps{{Ops: []stint.Range{ops(0, 1)}}})
	a.await(t, "what was lost", func(s *tally) bool { return len(s.lost) > 0 })
	equal(t, "lost", a.tally.lost, []stint.StageOps{{Ops: []stint.Range{ops(1, 3)}}})
}

func TestRecoveryReadsWhatCompletedAndWhatHadBegun(t *testing.T) {
	t.Parallel()
	f := must(openFolder(t.TempDir()))(t)
	t.Cleanup(func() { _ = f.close() })
	store := must(block.Open(f.at("blocks")))(t)
	t.Cleanup(func() { _ = store.Close() })
	_, data, log, err := store.CreateSegment(execX)
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, r := range []worker.Record{
		{Begun: &stint.Begun{Job: 4, Ops: ops(0, 1)}},
		{Done: &worker.DoneRecord{Job: 4, Stage: 2, Op: stint.OpDone{Op: 0}}},
		{Begun: &stint.Begun{Job: 4, Ops: ops(1, 2)}},
		{Failed: &stint.Failure{Job: 4, Stage: 2, Op: 1, Error: stint.Errorf(stint.Failed, "exit 1")}},
		{Begun: &stint.Begun{Job: 4, Ops: ops(2, 3)}},
		{Interrupted: &stint.Interrupted{Job: 4, Op: 2}},
		{Begun: &stint.Begun{Job: 5, Ops: ops(0, 1)}},
	} {
		b = must(worker.AppendRecord(b, r))(t)
	}
	b = append(b, b[:7]...) // the last record is torn
	_, err = log.Write(b)
	if err = errors.Join(err, log.Close(), data.Close()); err != nil {
		t.Fatal(err)
	}
	r := must(recoverExecution(store, execX))(t)
	equal(t, "completed", r.completed, []stint.StageOps{{Stage: 2, Ops: []stint.Range{ops(0, 1)}}})
	equal(t, "begun", r.begun, []stint.Begun{{Job: 4, Ops: ops(1, 2)}, {Job: 4, Ops: ops(2, 3)}, {Job: 5, Ops: ops(0, 1)}})
	if err := os.Remove(data.Name()); err != nil { // as if a process had died between log and segment
		t.Fatal(err)
	}
	r, bad, err := recoverWhole(t.Context(), store, execX, true, slog.New(slog.DiscardHandler))
	equal(t, "completed without the segment", r.completed, []stint.StageOps{{Stage: 2, Ops: []stint.Range{ops(0, 1)}}})
	if _, _, _, openErr := store.Open(execX, 2, 0, 7); len(bad) > 0 || err != nil || openErr != nil {
		t.Errorf("an operation that wrote nothing has an empty block: %v, %v, %v", bad, err, openErr)
	}
}

// strays runs in a process of its own: a worker that leaves a process of another
// session behind, which must be gone once the worker was waited for.
func strays() error {
	s := newSpawner(true)
	go s.run()
	defer s.close()
	c := exec.Command("sh", "-c", "setsid sh -c 'sleep 300 & wait' & sleep 0.2; kill -9 $$")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.start(c); err != nil {
		return err
	}
	if err := s.wait(c); err == nil {
		return errors.New("the worker ended well")
	}
	if left := children(os.Getpid()); len(left) > 0 {
		return fmt.Errorf("processes %v are left", left)
	}
	return nil
}

func TestWhatAWorkerLeavesBehindIsKilled(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), os.Args[0], "strays").CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A block that was condemned does not stand in the way of another of the same
// operation, whichever of the logs is read first.
func TestAWholeBlockIsFoundAgainBesideOneThatIsCondemned(t *testing.T) {
	t.Parallel()
	for name, fill := range map[string]func(perform func(end int64), copied, copiedElse func()){
		"a copy, then performed":                      func(perform func(int64), copied, _ func()) { copied(); perform(7) },
		"performed, then a copy":                      func(perform func(int64), copied, _ func()) { perform(7); copied() },
		"performed twice":                             func(perform func(int64), _, _ func()) { perform(7); perform(9) },
		"performed twice, later in the older segment": func(perform func(int64), _, _ func()) { perform(9); perform(7) },
		"two copies, the newer in the older segment": func(_ func(int64), copied, copiedElse func()) {
			copiedElse()
			copied()
		},
	} {
		dir := filepath.Join(t.TempDir(), "blocks")
		store := must(block.Open(dir))(t)
		first := must(store.CreateCopies(execX))(t)
		second := must(store.CreateCopies(execX))(t)
		n := 0
		condemnFirst := func() {
			if n++; n == 1 {
				if err := store.Condemn(execX, []stint.StageOps{{Ops: []stint.Range{ops(0, 1)}}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		copyTo := func(to *block.Copies) func() {
			return func() {
				parts := []block.PartIndex{{Length: 4, Records: 1, Sum: xxh3.HashString("copy")}}
				if err := to.Add(0, 0, parts, strings.NewReader("copy")); err != nil {
					t.Fatal(err)
				}
				condemnFirst()
			}
		}
		perform := func(end int64) {
			id, data, log, err := store.CreateSegment(execX)
			if err != nil {
				t.Fatal(err)
			}
			idx := must(block.NewWriter(data, id, 0).Copy([]block.PartIndex{{Length: 4, Records: 1, Sum: xxh3.HashString("done")}}, strings.NewReader("done")))(t)
			b := must(worker.AppendRecord(nil, worker.Record{Done: &worker.DoneRecord{Job: 1, Op: stint.OpDone{End: end}, Block: &idx}}))(t)
			_, err = log.Write(b)
			if err = errors.Join(err, log.Close(), data.Close(), store.Add(execX, 0, 0, idx)); err != nil {
				t.Fatal(err)
			}
			condemnFirst()
		}
		fill(perform, copyTo(first), copyTo(second))
		want := must(store.Index(execX, 0, 0))(t)
		if err := errors.Join(first.Close(), second.Close(), store.Close()); err != nil {
			t.Fatal(err)
		}
		store = must(block.Open(dir))(t)
		_, bad, err := recoverWhole(t.Context(), store, execX, true, slog.New(slog.DiscardHandler))
		if err != nil || len(bad) > 0 {
			t.Fatalf("%s: bad %v %v", name, bad, err)
		}
		equal(t, name, must(store.Index(execX, 0, 0))(t).Segment, want.Segment)
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatALogHasThatCannotBeOpenedIsLookedForAgain(t *testing.T) {
	t.Parallel()
	for name, until := range map[string]int{"until it can be": 5, "for some minutes": math.MaxInt} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { looksAgain(t, until) })
		})
	}
}

// looksAgain has a server miss the operations of two logs, one of which can be opened
// after so many looks.
func looksAgain(t *testing.T, until int) {
	t.Helper()
	l := newTestLoop(t)
	var paths []string
	for op := range uint32(2) {
		_, data, log, err := l.store.CreateSegment(execX)
		if err != nil {
			t.Fatal(err)
		}
		b := must(worker.AppendRecord(nil, worker.Record{Done: &worker.DoneRecord{Job: 1, Op: stint.OpDone{Op: op}}}))(t)
		_, err = log.Write(b)
		if err = errors.Join(err, log.Close(), data.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, log := range must(l.store.Logs(execX))(t) {
		paths = append(paths, log.Path)
	}
	if err := errors.Join(os.Rename(paths[1], paths[1]+".away"), os.Symlink(unreadable, paths[1])); err != nil {
		t.Fatal(err)
	}
	var tasks []func(context.Context)
	var told notice
	l.post = func(n notice) { told = n }
	e := l.execution(execX)
	e.scope = scope{start: func(task func(context.Context)) { tasks = append(tasks, task) }, cancel: func(error) {}}
	start := time.Now()
	(&arrived{message: link.ServerMessage{Resend: &link.Resend{Execution: execX, Ops: []stint.StageOps{{Ops: []stint.Range{ops(0, 2)}}}}}}).apply(l, start)
	looks := 0
	for ; len(tasks) > 0; looks++ {
		task := tasks[0]
		tasks = tasks[1:]
		if looks == until {
			if err := os.Rename(paths[1]+".away", paths[1]); err != nil {
				t.Fatal(err)
			}
		}
		task(t.Context())
		told.apply(l, time.Now())
	}
	r, ok := l.ledger.Report(execX)
	if !ok || e.tasks != 0 {
		t.Fatalf("%+v, %d tasks", r, e.tasks)
	}
	if until < mostLooks {
		if len(r.Done) != 1 || len(r.Done[0].Ops) != 2 || r.Verified != nil || looks != until+1 {
			t.Errorf("after %d looks: %+v", looks, r)
		}
		return
	}
	if took := time.Since(start); looks != mostLooks || took < time.Minute || took > 10*time.Minute {
		t.Errorf("%d looks in %s", looks, took)
	}
	equal(t, "found", r.Done[0].Ops, []stint.OpDone{{Op: 0}})
	equal(t, "lost", r.Verified.Lost, []stint.StageOps{{Ops: []stint.Range{ops(1, 2)}}})
}

func TestWhatAnAlteredLogHasIsLostAtOnce(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t)
	e := l.execution(execX)
	e.tasks++
	altered := errors.Join(stint.Errorf(stint.Invalid, "log is not what its name says"))
	(&foundAgain{execution: execX, missed: []stint.StageOps{{Ops: []stint.Range{ops(0, 2)}}}, looks: 1, err: altered}).apply(l, time.Now())
	if r, ok := l.ledger.Report(execX); !ok || e.tasks != 0 || stint.CountRanges(r.Verified.Lost[0].Ops) != 2 {
		t.Errorf("%+v", r)
	}
}

// What waits to copy or save for an execution that is forgotten goes by numbers
// that may mean other operations when the execution comes again.
func TestErrandsThatWaitEndWithTheirExecution(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t)
	for i := range maxErrands {
		l.errands.running = append(l.errands.running, fmt.Sprint(i))
	}
	for _, e := range []stint.Errand{
		{ID: "copy", Kind: stint.ErrandCopy, Execution: execX},
		{ID: "save", Kind: stint.ErrandSave, Execution: execX},
		{ID: "clear", Kind: stint.ErrandClear, Execution: execX},
		{ID: "other", Kind: stint.ErrandCopy, Execution: execY},
	} {
		l.errands.add(e)
	}
	(&outlived{execution: execX}).apply(l, time.Now())
	if l.executions[execX] != nil {
		t.Error("blocks are removed that an errand is about to use")
	}
	(&arrived{message: link.ServerMessage{Forget: &link.Forget{Execution: execX}}}).apply(l, time.Now())
	if left := l.errands.waiting; len(left) != 2 || left[0].ID != "clear" || left[1].ID != "other" {
		t.Errorf("left: %+v", left)
	}
}

func TestBlocksThatCannotBeMarkedAsCacheAreRemoved(t *testing.T) {
	t.Parallel()
	f := must(openFolder(t.TempDir()))(t)
	t.Cleanup(func() { _ = f.close() })
	store := must(block.Open(f.at("blocks")))(t)
	t.Cleanup(func() { _ = store.Close() })
	_, data, log, err := store.CreateSegment(execX)
	if err = errors.Join(err, data.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}
	c := newCache(store, f, slog.New(slog.DiscardHandler))
	if err := os.MkdirAll(c.mark(execX)+".new", 0o700); err != nil { // in the way of the mark
		t.Fatal(err)
	}
	c.ending[execX] = 1 << 50
	if err := c.settle(execX, time.Now()); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(filepath.Dir(c.mark(execX))); err == nil || len(store.Executions()) > 0 {
		t.Error("the blocks are neither cache nor gone")
	}
}

// blockLoop returns a loop that removes what an execution left, and blocks of one.
func blockLoop(t *testing.T) *loop {
	t.Helper()
	l := newTestLoop(t)
	l.copier, l.preparer = &copier{}, &preparer{packs: newPacks(nil), broadcasts: newBroadcasts()}
	_, data, log, err := l.store.CreateSegment(execX)
	if err = errors.Join(err, data.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}
	return l
}

// obstruct puts a file in the place of a folder, so that nothing in it can be removed,
// and returns what puts it back.
func obstruct(t *testing.T, dir string) (undo func()) {
	t.Helper()
	if err := errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBlocksStayCacheThoughAWorkFolderCannotBeRemoved(t *testing.T) {
	t.Parallel()
	l := blockLoop(t)
	defer obstruct(t, l.folder.at("work"))()
	l.keepBlocks(execX, 1<<60)
	l.forget(execX, true)
	r := &removed{execution: execX}
	if r.blocks, r.work = l.removeAll(execX); r.blocks != nil || r.work == nil {
		t.Fatalf("blocks %v, work %v", r.blocks, r.work)
	}
	r.apply(l, time.Now())
	if _, err := os.Stat(l.cache.mark(execX)); err != nil || !l.cache.has(execX) {
		t.Errorf("the blocks are counted by nobody: %v", err)
	}
}

func TestBlocksThatCouldNotBeRemovedAreRemovedLater(t *testing.T) {
	t.Parallel()
	for name, until := range map[string]int64{"cache": 1 << 60, "never cache": 0} {
		l := blockLoop(t)
		dir := filepath.Dir(l.cache.mark(execX))
		if until > 0 {
			if err := l.cache.keep(execX, kept{Until: until}); err != nil {
				t.Fatal(err)
			}
		}
		remove := func() *removed {
			r := &removed{execution: execX}
			r.blocks, r.work = l.removeAll(execX)
			return r
		}
		undo := obstruct(t, l.folder.at("blocks"))
		(&outlived{execution: execX}).apply(l, time.Now())
		r := remove()
		undo()
		if r.apply(l, time.Now()); r.blocks == nil {
			t.Fatal("they could be removed")
		}
		if _, err := os.Stat(l.cache.mark(execX)); until > 0 && err != nil {
			t.Errorf("%s: the next start does not find them: %v", name, err)
		}
		l.cache.sweep(t.Context(), time.Now().Add(removeAgain), func(n notice) { n.apply(l, time.Now()) })
		if e := l.executions[execX]; e == nil || e.forgotten == nil || !e.forgotten.discard {
			t.Fatalf("%s: they are not removed again, or their logs are stored again", name)
		}
		if r := remove(); r.blocks != nil || l.cache.has(execX) {
			t.Errorf("%s: %v", name, r.blocks)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsPerformedAgainIsNoCacheThoughBlocksCouldNotBeRemoved(t *testing.T) {
	t.Parallel()
	l := blockLoop(t)
	if err := l.cache.keep(execX, kept{Until: 1 << 60}); err != nil {
		t.Fatal(err)
	}
	(&arrived{message: link.ServerMessage{Spec: overRange(execX, 1, shell("true"))}}).apply(l, time.Now())
	undo := obstruct(t, l.folder.at("blocks"))
	r := &removed{execution: execX}
	r.blocks, r.work = l.removeAll(execX)
	undo()
	r.apply(l, time.Now())
	if e := l.executions[execX]; r.blocks == nil || e == nil || e.spec == nil {
		t.Fatalf("it is not performed again: %v", r.blocks)
	}
	if _, err := os.Stat(l.cache.mark(execX)); err == nil || l.cache.has(execX) {
		t.Error("what it completes is cache")
	}
}

func TestForgettingWaitsForARemovalThatKeepsMore(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t, grant(execX, 1, 0, 5))
	again := &arrived{message: link.ServerMessage{Forget: &link.Forget{Execution: execX}}}
	e := l.execution(execX)
	l.keepBlocks(execX, 1<<60)
	e.forgotten = &forgetting{}
	again.apply(l, time.Now()) // its removal has not begun
	if until := l.cache.ending[execX]; until != 0 || len(e.forgotten.later) > 0 {
		t.Errorf("blocks are kept until %d; put off: %v", until, e.forgotten.later)
	}
	e.forgotten.removing = true
	again.apply(l, time.Now())
	if len(e.forgotten.later) != 1 {
		t.Errorf("put off: %v, want one message", e.forgotten.later)
	}
	(&removed{execution: execX}).apply(l, time.Now())
	if e := l.execution(execX); e.forgotten == nil {
		t.Error("it is not forgotten once more")
	}
}
