package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stint"
	"stint/internal/block"
	"stint/internal/link"
	"stint/internal/object"
)

const execY = stint.ExecutionID("x-dddddddddddddddd")

// words counts words with four operations, whose output two others read.
type words struct {
	spec    *stint.Spec
	subsets []stint.Subset
}

// newWords prepares an execution; its output folder is probed.
func newWords(t *testing.T, p *peer, x stint.ExecutionID) *words {
	t.Helper()
	input := inputFile(t, strings.Repeat("the quick brown fox\njumps over the lazy dog\n", 500))
	output := "file://" + filepath.Join(t.TempDir(), "out")
	mapping := stint.Stage{Name: "map", Action: stint.Action{Native: "wordcount"}, Combine: &stint.Action{Native: "sum"}, Input: stint.Edge{Kind: stint.FromInput, Split: stint.SplitLines}}
	reducing := stint.Stage{Name: "reduce", Action: stint.Action{Native: "sum"}, Input: stint.Edge{Kind: stint.Shuffle, From: "map"}}
	if r := p.errand(t, stint.Errand{ID: "probe" + string(x), Kind: stint.ErrandProbe, Execution: x, Output: output}); r.Error != nil {
		t.Fatalf("probe: %v", r.Error)
	}
	return &words{subsets: cut(input, 4), spec: &stint.Spec{
		Execution: x, Program: stint.Program{Name: "words", Stages: []stint.Stage{mapping, reducing}}, Output: output,
		Stages: []stint.StageSpec{{Stage: mapping, Operations: 4, Partitions: 2, Sorted: true}, {Stage: reducing, Operations: 2, Partitions: 1, Part: true}},
	}}
}

// count has a node perform operations of the first stage.
func (w *words) count(t *testing.T, p *peer, job stint.JobID, r stint.Range) {
	t.Helper()
	p.send(t, link.ServerMessage{Spec: w.spec})
	p.grant(t, stint.Grant{Execution: w.spec.Execution, Job: job, Ops: r, Subsets: w.subsets[r.From:r.To]})
	p.awaitDone(t, len(p.tally.done)+r.Len())
}

// sum has a node perform the second stage from these sources and returns what it
// put out, sorted.
func (w *words) sum(t *testing.T, p *peer, g stint.Grant) []string {
	t.Helper()
	w.sumLater(t, p, g)
	p.awaitDone(t, len(p.tally.done)+2)
	var parts []stint.Part
	for _, part := range p.tally.parts {
		parts = append(parts[:min(len(parts), 1)], part)
	}
	if r := p.errand(t, stint.Errand{ID: "commit", Kind: stint.ErrandCommit, Execution: w.spec.Execution, Output: w.spec.Output, Program: "words", Parts: parts}); r.Error != nil {
		t.Fatalf("commit: %v", r.Error)
	}
	lines := strings.Split(strings.TrimSuffix(readOutput(t, w.spec.Output, 2), "\n"), "\n")
	slices.Sort(lines)
	return lines
}

func (w *words) sumLater(t *testing.T, p *peer, g stint.Grant) {
	t.Helper()
	p.send(t, link.ServerMessage{Spec: w.spec})
	g.Execution, g.Stage, g.Ops = w.spec.Execution, 1, ops(0, 2)
	if g.Job == 0 {
		g.Job = 100
	}
	p.grant(t, g)
}

func counted(n int) []string {
	number := map[int]string{250: "250\t500", 500: "500\t1000"}[n]
	one, two, _ := strings.Cut(number, "\t")
	var out []string
	for _, word := range []string{"brown", "dog", "fox", "jumps", "lazy", "over", "quick"} {
		out = append(out, word+"\t"+one)
	}
	return append(out, "the\t"+two)
}

// saved has a node save the output of the first stage and returns it as a source.
func (w *words) saved(t *testing.T, p *peer, prefix string, r ...stint.Range) stint.Source {
	t.Helper()
	result := p.errand(t, stint.Errand{ID: "save" + prefix, Kind: stint.ErrandSave, Execution: w.spec.Execution, Ops: r, Prefix: "saved/" + string(w.spec.Execution) + "/" + prefix})
	if result.Error != nil || len(result.Packs) != 1 || len(result.Lost) > 0 {
		t.Fatalf("save: %v, %d packs, lost %v", result.Error, len(result.Packs), result.Lost)
	}
	return stint.Source{Pack: &result.Packs[0], Ops: result.Packs[0].Ops}
}

func from(p *peer, r ...stint.Range) stint.Source {
	return stint.Source{Node: p.hello.Node, Address: p.hello.Address, Ops: r}
}

// spoilBlock alters the output of an operation on a node's disk.
func spoilBlock(t *testing.T, dir string, op uint32) {
	t.Helper()
	store := must(block.Open(filepath.Join(dir, "blocks")))(t)
	defer store.Close() //nolint:errcheck // only read
	must(recoverExecution(store, execX))(t)
	idx := must(store.Index(execX, 0, op))(t)
	logs := must(store.Logs(execX))(t)
	i := slices.IndexFunc(logs, func(l block.LogFile) bool { return l.Segment == idx.Segment })
	spoilFile(t, strings.TrimSuffix(logs[i].Path, ".log")+".seg", idx.Offset+idx.Parts[0].Length-1, idx.Offset+idx.Length-1)
}

func spoilFile(t *testing.T, path string, at ...int64) {
	t.Helper()
	b := must(os.ReadFile(path))(t)
	for _, i := range at {
		b[i] ^= 1
	}
	f := must(os.OpenFile(path, os.O_WRONLY, 0))(t) // in place: it may be open
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// spoilPack alters the first block of a pack.
func (s *service) spoilPack(t *testing.T, pack *stint.Pack) {
	t.Helper()
	path := filepath.Join(must(object.Path(s.storage))(t), pack.Key)
	f := must(os.Open(path))(t)
	defer f.Close() //nolint:errcheck // only read
	idx, _ := must(block.ReadPackIndex(f, *pack))(t).Block(pack.Ops[0].From)
	spoilFile(t, path, idx.Offset+idx.Parts[0].Length-1, idx.Offset+idx.Length-1)
}

func TestSavedOutputIsReadFromPacksWithoutTheNodeThatMadeIt(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, stop := s.start(t, nodeA, t.TempDir(), 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	first, second := w.saved(t, a, "p", ops(0, 1), ops(2, 3)), w.saved(t, a, "q", ops(1, 2), ops(3, 4))
	stop()
	b, _ := s.start(t, nodeB, t.TempDir(), 1)
	equal(t, "words", w.sum(t, b, stint.Grant{Sources: []stint.Source{first, second}}), counted(500))
	equal(t, "bad", len(b.tally.bad), 0)
}

func TestOutputThatIsDamagedInOnePlaceIsReadFromTheNext(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, _ := s.start(t, nodeA, dir, 1)
	b, _ := s.start(t, nodeB, t.TempDir(), 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	early, late := w.saved(t, a, "early", ops(0, 2)), w.saved(t, a, "late", ops(2, 4))
	s.spoilPack(t, early.Pack)
	spoilBlock(t, dir, 3)
	all := from(a, ops(0, 4))
	equal(t, "words", w.sum(t, b, stint.Grant{Sources: []stint.Source{early, all, late}}), counted(500))
	b.await(t, "both to be named", func(s *tally) bool { return len(s.bad) >= 4 }) // by both operations
	for _, bad := range b.tally.bad {
		if !slices.ContainsFunc([]stint.BadCopy{{Pack: early.Pack.Key, Ops: []stint.Range{ops(0, 1)}}, {Node: nodeA, Ops: []stint.Range{ops(3, 4)}}}, func(want stint.BadCopy) bool {
			return bad.Node == want.Node && bad.Pack == want.Pack && slices.Equal(bad.Ops, want.Ops) && bad.Job > 0
		}) {
			t.Errorf("named as bad: %+v", bad)
		}
	}
}

func TestOutputThatIsNowhereFailsAsLostAndSaysWhereItShouldBe(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	b, _ := s.start(t, nodeB, t.TempDir(), 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 3))
	pack := w.saved(t, a, "p", ops(0, 1))
	pack.Ops = []stint.Range{ops(3, 4)}
	w.sumLater(t, b, stint.Grant{Sources: []stint.Source{from(a, ops(0, 4)), pack}})
	b.await(t, "failures", func(s *tally) bool { return len(s.failures) == 2 && len(s.bad) == 4 })
	for _, f := range b.tally.failures {
		if f.Error.Code != stint.Lost || !slices.Equal(f.Sources, []stint.NodeID{nodeA}) || !strings.Contains(f.Error.Message, pack.Pack.Key) {
			t.Errorf("%+v", f)
		}
	}
}

func TestStorageThatIsAwaySaysNothingOfWhatIsInIt(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	pack := w.saved(t, a, "p", ops(0, 4))
	pack.Storage = "file://" + filepath.Join(t.TempDir(), "unmounted")
	w.sumLater(t, a, stint.Grant{Sources: []stint.Source{pack}})
	a.await(t, "failures", func(s *tally) bool { return len(s.failures) == 2 })
	for _, f := range a.tally.failures {
		if f.Error.Code != stint.Unavailable || !strings.Contains(f.Error.Message, "unmounted") {
			t.Errorf("%+v", f.Error)
		}
	}
	equal(t, "bad", len(a.tally.bad), 0)
}

func TestWhatFailedForGoodIsDoneWithout(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 2))
	equal(t, "words", w.sum(t, a, stint.Grant{Sources: []stint.Source{from(a, ops(0, 2))}, Missing: []stint.Range{ops(2, 4)}}), counted(250))
}

func TestOutputIsReadUnderTheNameOfTheExecutionThatMadeIt(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	b, _ := s.start(t, nodeB, t.TempDir(), 1)
	old := newWords(t, a, execX)
	old.count(t, a, 1, ops(0, 2))
	old.count(t, b, 2, ops(2, 4))
	pack := old.saved(t, b, "p", ops(3, 4))
	w := newWords(t, a, execY)
	sources := []stint.Source{
		{Node: nodeA, Address: a.hello.Address, Ops: []stint.Range{ops(2, 4)}, Origin: &stint.Origin{Execution: execX, First: 0}},
		{Node: nodeB, Address: b.hello.Address, Ops: []stint.Range{ops(0, 1)}, Origin: &stint.Origin{Execution: execX, First: 2}},
		{Pack: pack.Pack, Ops: []stint.Range{ops(1, 2)}, Origin: &stint.Origin{Execution: execX, First: 3}},
	}
	a.tally.parts = nil
	equal(t, "words", w.sum(t, a, stint.Grant{Sources: sources}), counted(500))

	// What was taken over can be saved under its new name.
	r := a.errand(t, stint.Errand{ID: "s", Kind: stint.ErrandSave, Execution: execY, Ops: []stint.Range{ops(1, 4)}, Prefix: "saved/y", Sources: sources})
	if r.Error != nil || len(r.Packs) != 1 || !slices.Equal(r.Packs[0].Ops, []stint.Range{ops(2, 4)}) || !slices.Equal(r.Lost, []stint.Range{ops(1, 2)}) {
		t.Errorf("%v %+v %v", r.Error, r.Packs, r.Lost)
	}
}

func TestDamageOnThisNodeIsFoundByTheSecondAttempt(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, _ := s.start(t, nodeA, dir, 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	pack := w.saved(t, a, "p", ops(0, 4))
	spoilBlock(t, dir, 2)
	sources := []stint.Source{from(a, ops(0, 4)), pack}
	w.sumLater(t, a, stint.Grant{Sources: sources})
	a.await(t, "failures", func(s *tally) bool { return len(s.failures) == 2 })
	equal(t, "words", w.sum(t, a, stint.Grant{Sources: sources, Attempt: 2, Job: 101}), counted(500))
	a.await(t, "the damage to be named", func(s *tally) bool { return len(s.lost) > 0 })
	equal(t, "lost", a.tally.lost[0], stint.StageOps{Ops: []stint.Range{ops(2, 3)}})
}

func TestABlockThatIsNotWholeIsNotSaved(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, stop := s.start(t, nodeA, dir, 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 3))
	spoilBlock(t, dir, 1)
	r := a.errand(t, stint.Errand{ID: "s", Kind: stint.ErrandSave, Execution: execX, Ops: []stint.Range{ops(0, 4)}, Prefix: "saved/x/p"})
	if r.Error != nil || len(r.Packs) != 1 || !strings.HasPrefix(r.Packs[0].Key, "saved/x/p-") {
		t.Fatalf("%+v", r)
	}
	equal(t, "lost", r.Lost, []stint.Range{ops(1, 2), ops(3, 4)})
	close(a.hangUp)
	a = s.next(t)
	equal(t, "in the next session", a.hello.Holdings[0].Completed, []stint.StageOps{{Ops: []stint.Range{ops(0, 1), ops(2, 3)}}})
	stop()
	a, _ = s.start(t, nodeA, dir, 1)
	equal(t, "after a restart", a.hello.Holdings[0].Completed, []stint.StageOps{{Ops: []stint.Range{ops(0, 1), ops(2, 3)}}})
	packs := r.Packs
	r = a.errand(t, stint.Errand{ID: "t", Kind: stint.ErrandSave, Execution: execX, Ops: []stint.Range{ops(1, 2)}, Prefix: "saved/x/q"})
	if r.Error != nil || len(r.Packs) != 0 || len(r.Lost) != 1 {
		t.Errorf("%+v", r)
	}
	saved := filepath.Join(must(object.Path(s.storage))(t), "saved", "x")
	if left := must(filepath.Glob(filepath.Join(saved, "q-*")))(t); len(left) > 0 {
		t.Errorf("a pack of nothing is left: %v", left)
	}
	first := must(os.ReadFile(filepath.Join(saved, filepath.Base(packs[0].Key))))(t)
	spoilBlock(t, dir, 0)
	r = a.errand(t, stint.Errand{ID: "s", Kind: stint.ErrandSave, Execution: execX, Ops: []stint.Range{ops(0, 4)}, Prefix: "saved/x/p"})
	equal(t, "saved when it is done again", r.Packs[0].Ops, []stint.Range{ops(2, 3)})
	if now := must(os.ReadFile(filepath.Join(saved, filepath.Base(packs[0].Key))))(t); !bytes.Equal(first, now) {
		t.Error("the pack of the first time was written over")
	}
	if r := a.errand(t, stint.Errand{ID: "u", Kind: stint.ErrandSave, Execution: execX, Ops: []stint.Range{ops(0, 1)}}); r.Error == nil || r.Error.Code != stint.Invalid {
		t.Errorf("%+v", r)
	}
}

func TestCopiesServeWhenTheFirstIsGoneAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dirA, dirB := t.TempDir(), t.TempDir()
	a, stopA := s.start(t, nodeA, dirA, 1)
	b, stopB := s.start(t, nodeB, dirB, 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	pack := w.saved(t, a, "p", ops(1, 2))
	spoilBlock(t, dirA, 1)
	spoilBlock(t, dirA, 2)
	e := stint.Errand{ID: "1", Kind: stint.ErrandCopy, Execution: execX, Ops: []stint.Range{ops(0, 4)}, Sources: []stint.Source{from(a, ops(0, 4)), pack}}
	for range 2 {
		r := b.errand(t, e)
		if r.Error != nil {
			t.Fatal(r.Error)
		}
		equal(t, "here", r.Ops, []stint.Range{ops(0, 2), ops(3, 4)})
		equal(t, "lost", r.Lost, []stint.Range{ops(2, 3)})
		for _, bad := range r.Bad {
			if bad.Node != nodeA || stint.RangesContain(bad.Ops, 0) || stint.RangesContain(bad.Ops, 3) {
				t.Errorf("bad: %+v", bad)
			}
		}
		e.ID = "2"
	}
	r := a.errand(t, stint.Errand{ID: "own", Kind: stint.ErrandCopy, Execution: execX, Ops: []stint.Range{ops(0, 1)}, Sources: []stint.Source{from(b, ops(0, 1))}})
	equal(t, "what is here stays", r.Ops, []stint.Range{ops(0, 1)})
	stopA()
	close(b.hangUp)
	copies := []stint.StageOps{{Ops: []stint.Range{ops(0, 2), ops(3, 4)}}}
	equal(t, "copies in the next session", s.next(t).hello.Holdings[0].Copies, copies)
	stopB()
	b, _ = s.start(t, nodeB, dirB, 1)
	equal(t, "copies after a restart", b.hello.Holdings[0].Copies, copies)
	w.count(t, b, 5, ops(2, 3))
	equal(t, "words", w.sum(t, b, stint.Grant{Sources: []stint.Source{from(b, ops(0, 4))}}), counted(500))
}

func TestWhatWasTakenOverIsCopiedUnderItsNewName(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	newWords(t, a, execX).count(t, a, 1, ops(0, 4))
	source := from(a, ops(0, 2))
	source.Origin = &stint.Origin{Execution: execX, First: 2}
	r := a.errand(t, stint.Errand{ID: "1", Kind: stint.ErrandCopy, Execution: execY, Ops: []stint.Range{ops(0, 2)}, Sources: []stint.Source{source}})
	equal(t, "here", r.Ops, []stint.Range{ops(0, 2)})
	saved := a.errand(t, stint.Errand{ID: "2", Kind: stint.ErrandSave, Execution: execY, Ops: []stint.Range{ops(0, 2)}, Prefix: "saved/y"})
	if len(saved.Packs) != 1 || len(saved.Lost) > 0 {
		t.Errorf("%+v", saved)
	}
}

func TestACopyOfWhatNobodyHasIsLost(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	b, _ := s.start(t, nodeB, t.TempDir(), 1)
	r := b.errand(t, stint.Errand{ID: "1", Kind: stint.ErrandCopy, Execution: execX, Ops: []stint.Range{ops(0, 4)}, Sources: []stint.Source{from(a, ops(0, 2))}})
	if r.Error != nil {
		t.Fatal(r.Error)
	}
	equal(t, "lost", r.Lost, []stint.Range{ops(0, 4)})
	equal(t, "bad", r.Bad, []stint.BadCopy{{Node: nodeA, Ops: []stint.Range{ops(0, 2)}}})
}

func TestBlocksOfAnExecutionThatEndedAreKeptServedAndNotAnnounced(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, stop := s.start(t, nodeA, dir, 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	a.send(t, link.ServerMessage{Forget: &link.Forget{Execution: execX, Keep: 1 << 50}})
	held := []stint.StageOps{{Ops: []stint.Range{ops(0, 4)}}}
	inventory := func() []stint.StageOps {
		r := a.errand(t, stint.Errand{ID: "i", Kind: stint.ErrandInventory, Execution: execX})
		return r.Held
	}
	eventually(t, "the work folder to go", func() bool { _, err := os.Stat(filepath.Join(dir, "work", string(execX))); return err != nil })
	equal(t, "held", inventory(), held)
	stop()
	a, stop = s.start(t, nodeA, dir, 1)
	equal(t, "holdings", len(a.hello.Holdings), 0)
	equal(t, "held after a restart", inventory(), held)
	again := newWords(t, a, execY)
	origin := stint.Source{Node: nodeA, Address: a.hello.Address, Ops: []stint.Range{ops(0, 4)}, Origin: &stint.Origin{Execution: execX}}
	equal(t, "words", again.sum(t, a, stint.Grant{Sources: []stint.Source{origin}}), counted(500))

	// It is performed again: what was here is of before, and what is here then no cache.
	w.count(t, a, 2, ops(0, 1))
	if _, err := os.Stat(filepath.Join(dir, "blocks", string(execX), keepMark)); err == nil {
		t.Error("the blocks of a live execution are marked as cache")
	}
	stop()
	a, _ = s.start(t, nodeA, dir, 1)
	equal(t, "holdings after that", a.hello.Holdings[0], stint.Holding{Execution: execX, Completed: []stint.StageOps{{Ops: []stint.Range{ops(0, 1)}}}, Latest: 2})
	a.send(t, link.ServerMessage{Forget: &link.Forget{Execution: execX}})
	eventually(t, "the blocks to go", func() bool { _, err := os.Stat(filepath.Join(dir, "blocks", string(execX))); return err != nil })
	equal(t, "held at last", len(inventory()), 0)
}

func TestWhatIsPastItsTimeIsRemovedAtTheNextStart(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, stop := s.start(t, nodeA, dir, 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	a.send(t, link.ServerMessage{Forget: &link.Forget{Execution: execX, Keep: 1 << 50}})
	mark := filepath.Join(dir, "blocks", string(execX), keepMark)
	eventually(t, "the mark", func() bool { _, err := os.Stat(mark); return err == nil })
	stop()
	if err := os.WriteFile(mark, []byte(`{"until":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, nodeA, dir, 1)
	eventually(t, "the blocks to go", func() bool { _, err := os.Stat(filepath.Dir(mark)); return err != nil })
}
