package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"stint"
	"stint/internal/block"
	"stint/internal/link"
	"stint/internal/object"
	"stint/internal/worker"
)

// resumable is an execution that could be resumed: with input, packs, a
// checkpoint and staged parts.
type resumable struct {
	node    *peer
	storage string // its folder
	input   string // a folder
	errand  stint.Errand
}

func newResumable(t *testing.T) *resumable {
	t.Helper()
	s := newService(t)
	r := &resumable{storage: must(object.Path(s.storage))(t), input: t.TempDir()}
	for _, name := range []string{"a", "b", "c"} {
		writeText(t, filepath.Join(r.input, name), "some text\n")
	}
	r.node, _ = s.start(t, nodeA, t.TempDir(), 1)
	w := newWords(t, r.node, execX)
	w.count(t, r.node, 1, ops(0, 4))
	listed := r.node.errand(t, stint.Errand{ID: "l", Kind: stint.ErrandList, Execution: execX, Inputs: []string{r.input}})
	packs := []stint.Pack{*w.saved(t, r.node, "p", ops(0, 2)).Pack, *w.saved(t, r.node, "q", ops(2, 4)).Pack}
	w.sumLater(t, r.node, stint.Grant{Sources: []stint.Source{from(r.node, ops(0, 4))}})
	r.node.awaitDone(t, 6)
	checkpoint := stint.Checkpoint{Op: 1, Key: "saved/" + string(execX) + "/checkpoint-0-1-1-1", Bytes: 7}
	writeText(t, filepath.Join(r.storage, checkpoint.Key), "archive")
	r.errand = stint.Errand{
		ID: "v", Kind: stint.ErrandVerify, Execution: execX, Inputs: []string{r.input}, Listing: listed.Digest, Output: w.spec.Output,
		Packs: packs, Checkpoints: []stint.Checkpoint{checkpoint}, Parts: r.node.tally.parts,
	}
	return r
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsWholeHasNoFaults(t *testing.T) {
	t.Parallel()
	r := newResumable(t)
	got := r.node.errand(t, r.errand)
	if got.Error != nil || got.Changes != nil || got.Faults != nil || got.Changed != 0 {
		t.Errorf("%+v", got)
	}
}

func TestEveryFaultOfWhatAnExecutionResumesFromIsNamed(t *testing.T) {
	t.Parallel()
	r := newResumable(t)
	spoilFile(t, filepath.Join(r.storage, r.errand.Packs[0].Key), r.errand.Packs[0].Index)
	remove := []string{
		filepath.Join(r.storage, r.errand.Packs[1].Key), filepath.Join(r.input, "b"),
		filepath.Join(must(object.Path(r.errand.Output))(t), "_stint", string(execX), r.errand.Parts[0].Name),
	}
	for _, path := range remove {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	writeText(t, filepath.Join(r.storage, r.errand.Checkpoints[0].Key), "cut")
	writeText(t, filepath.Join(r.input, "c"), "other text\n")
	writeText(t, filepath.Join(r.input, "d"), "more\n")
	got := r.node.errand(t, r.errand)
	if got.Error != nil {
		t.Fatal(got.Error)
	}
	var kinds []string
	for _, c := range got.Changes {
		kinds = append(kinds, string(c.Kind)+" "+filepath.Base(c.URL))
	}
	equal(t, "changes", kinds, []string{"missing b", "changed c", "added d"})
	equal(t, "changed", got.Changed, int64(3))
	slices.Sort(got.Faults)
	want := []string{
		"checkpoint " + r.errand.Checkpoints[0].Key + " has 3 bytes", "pack " + r.errand.Packs[0].Key + " of ", "pack " + r.errand.Packs[1].Key + " is missing", "staged part ",
	}
	equal(t, "packs", len(got.Bad), 2)
	for _, b := range got.Bad {
		if b.Node != "" || b.Ops != nil || b.Pack != r.errand.Packs[0].Key && b.Pack != r.errand.Packs[1].Key {
			t.Errorf("bad: %+v", b)
		}
	}
	equal(t, "checkpoints", got.Checkpoints, []string{r.errand.Checkpoints[0].Key})
	equal(t, "parts", got.Parts, r.errand.Parts[:1])
	if len(got.Faults) != len(want) {
		t.Fatalf("faults: %q", got.Faults)
	}
	for i, f := range got.Faults {
		if !strings.HasPrefix(f, want[i]) {
			t.Errorf("fault %q, want %q", f, want[i])
		}
	}
}

func TestAPackOfOtherOperationsIsAFault(t *testing.T) {
	t.Parallel()
	r := newResumable(t)
	r.errand.Packs[1].Ops = []stint.Range{ops(3, 5)}
	got := r.node.errand(t, r.errand)
	if got.Error != nil || len(got.Faults) != 1 || !strings.Contains(got.Faults[0], "does not have operation 4") {
		t.Errorf("%+v", got)
	}
}

func TestInputThatIsGoneAltogetherIsAChange(t *testing.T) {
	t.Parallel()
	r := newResumable(t)
	if err := os.RemoveAll(r.input); err != nil {
		t.Fatal(err)
	}
	got := r.node.errand(t, r.errand)
	if got.Error != nil || got.Changed != 3 || got.Changes[0].Kind != stint.ObjectMissing {
		t.Errorf("%+v", got)
	}
}

func TestAListingThatIsMissingOrAlteredIsAFault(t *testing.T) {
	t.Parallel()
	r := newResumable(t)
	path := filepath.Join(r.storage, listings, r.errand.Listing.String())
	writeText(t, path, "\xff")
	if got := r.node.errand(t, r.errand); got.Error != nil || len(got.Faults) != 1 || !strings.Contains(got.Faults[0], r.errand.Listing.String()) {
		t.Errorf("altered: %+v", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.errand.ID = "w"
	if got := r.node.errand(t, r.errand); got.Error != nil || len(got.Faults) != 1 || !strings.Contains(got.Faults[0], r.errand.Listing.String()) {
		t.Errorf("missing: %+v", got)
	}
	r.errand.ID, r.errand.Storage = "x", "file:///nowhere/at/all"
	if got := r.node.errand(t, r.errand); got.Error == nil || got.Error.Code != stint.NotFound || !strings.Contains(got.Error.Message, "/nowhere/at/all") {
		t.Errorf("no storage: %+v", got)
	}
}

func TestChangesAreCountedBeyondThoseThatAreTold(t *testing.T) {
	t.Parallel()
	var was stint.Listing
	for i := range 2 * maxTold {
		was.Objects = append(was.Objects, stint.Object{URL: fmt.Sprintf("file:///%06d", i)})
	}
	var result stint.ErrandResult
	compareListings(was, stint.Listing{}, &result)
	if result.Changed != 2*maxTold || len(result.Changes) != maxTold {
		t.Errorf("%d changes, %d told", result.Changed, len(result.Changes))
	}
}

func TestAnExecutionWhoseClaimIsGoneIsNotCommittedAndTheOutputOfAnotherOwnerStays(t *testing.T) {
	t.Parallel()
	for _, owners := range [][]int{nil, {1}} {
		s := newService(t)
		storage := must(object.Path(s.storage))(t)
		saved := filepath.Join(storage, "saved", string(execX))
		a, _ := s.start(t, nodeA, t.TempDir(), 1)
		output := filepath.Join(t.TempDir(), "out")
		a.errand(t, stint.Errand{ID: "p", Kind: stint.ErrandProbe, Execution: execX, Output: output})
		if err := os.MkdirAll(saved, 0o700); err != nil {
			t.Fatal(err)
		}
		writeText(t, filepath.Join(saved, "owner-000002"), `{"generation":2}`)
		for _, n := range owners {
			writeText(t, filepath.Join(saved, fmt.Sprintf("owner-%06d", n)), `{}`)
		}
		e := stint.Errand{ID: "c", Kind: stint.ErrandCommit, Execution: execX, Output: output, Generation: 3}
		r := a.errand(t, e)
		_, manifest := os.Stat(filepath.Join(output, "_manifest.json"))
		if r.Error == nil || r.Error.Code != stint.Conflict || !strings.HasPrefix(r.Error.Message, "owned_elsewhere: ") || manifest == nil {
			t.Errorf("owners %v: commit: %v, manifest: %v", owners, r.Error, manifest)
		}
		writeText(t, filepath.Join(output, "_manifest.json"), `{"format":1,"execution":"`+string(execX)+`","generation":4,"stint":2,"parts":[]}`)
		r = a.errand(t, stint.Errand{ID: "r", Kind: stint.ErrandClear, Execution: execX, Output: output, Generation: 3, Stint: 2})
		_, theirs := os.Stat(filepath.Join(output, "_manifest.json"))
		_, left := os.Stat(saved)
		if r.Error != nil || theirs != nil || left == nil {
			t.Errorf("owners %v: clear: %v, their output: %v, saved state: %v", owners, r.Error, theirs, left)
		}
		if err := os.Remove(filepath.Join(output, "_manifest.json")); err != nil {
			t.Fatal(err)
		}
		a.errand(t, stint.Errand{ID: "p", Kind: stint.ErrandProbe, Execution: execX, Output: output})
		if err := os.MkdirAll(saved, 0o700); err != nil {
			t.Fatal(err)
		}
		writeText(t, filepath.Join(saved, "owner-000003"), `{}`)
		for range 2 { // the second time its own commit has deleted the claim
			if r = a.errand(t, e); r.Error != nil {
				t.Errorf("owners %v: commit by the owner: %v", owners, r.Error)
			}
		}
	}
}

func TestSavedStateGoesAlsoWhenTheOutputCannotBeCleared(t *testing.T) {
	t.Parallel()
	s := newService(t)
	saved := filepath.Join(must(object.Path(s.storage))(t), "saved", string(execX))
	if err := os.MkdirAll(saved, 0o700); err != nil {
		t.Fatal(err)
	}
	writeText(t, filepath.Join(saved, "pack-1"), "")
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	output := filepath.Join(t.TempDir(), "out")
	writeText(t, output, "a file")
	r := a.errand(t, stint.Errand{ID: "r", Kind: stint.ErrandClear, Execution: execX, Output: output})
	if _, left := os.Stat(saved); r.Error == nil || left == nil {
		t.Errorf("clear: %v, saved state: %v", r.Error, left)
	}
}

func TestOnlyTheOwnerCommitsAndClears(t *testing.T) {
	t.Parallel()
	saved := filepath.Join("saved", string(execX))
	for _, c := range []struct {
		name       string
		owners     []int
		generation uint64
		refused    bool
	}{
		{"nothing was saved", nil, 0, false},
		{"somebody has suspended what is in progress here", []int{1}, 0, true},
		{"somebody has resumed since", []int{1, 2}, 1, true},
		{"somebody has resumed what is not recorded here", []int{1, 2}, 0, true},
		{"the owner", []int{1, 2, 3}, 3, false},
		{"others have no say", []int{1, 12}, 12, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			storage := must(object.Path(s.storage))(t)
			a, _ := s.start(t, nodeA, t.TempDir(), 1)
			output := filepath.Join(t.TempDir(), "out")
			a.errand(t, stint.Errand{ID: "p", Kind: stint.ErrandProbe, Execution: execX, Output: output})
			if err := os.MkdirAll(filepath.Join(storage, saved), 0o700); err != nil {
				t.Fatal(err)
			}
			for _, n := range c.owners {
				writeText(t, filepath.Join(storage, saved, fmt.Sprintf("owner-%06d", n)), `{"generation":2,"address":"there"}`)
			}
			writeText(t, filepath.Join(storage, saved, "pack-1"), "")
			r := a.errand(t, stint.Errand{ID: "c", Kind: stint.ErrandCommit, Execution: execX, Output: output, Generation: c.generation})
			_, manifest := os.Stat(filepath.Join(output, "_manifest.json"))
			_, left := os.Stat(filepath.Join(storage, saved, "pack-1"))
			if !c.refused {
				if r.Error != nil || manifest != nil || left == nil {
					t.Errorf("commit: %v, manifest: %v, saved state: %v", r.Error, manifest, left)
				}
				return
			}
			if r.Error == nil || r.Error.Code != stint.Conflict || !strings.HasPrefix(r.Error.Message, "owned_elsewhere: ") || !strings.Contains(r.Error.Message, "there") || manifest == nil || left != nil {
				t.Errorf("commit: %v, manifest: %v, saved state: %v", r.Error, manifest, left)
			}
			r = a.errand(t, stint.Errand{ID: "r", Kind: stint.ErrandClear, Execution: execX, Output: output, Generation: c.generation})
			_, staged := os.Stat(filepath.Join(output, "_stint", string(execX)))
			_, left = os.Stat(filepath.Join(storage, saved, "pack-1"))
			if r.Error == nil || r.Error.Code != stint.Conflict || staged != nil || left != nil {
				t.Errorf("clear: %v, staged: %v, saved state: %v", r.Error, staged, left)
			}
		})
	}
}

func TestAProbeThatComesWhenItsExecutionIsOverLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newService(t)
	saved := filepath.Join(must(object.Path(s.storage))(t), "saved", string(execX))
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	output := filepath.Join(t.TempDir(), "out")
	probe := func(n int) *stint.Error {
		return a.errand(t, stint.Errand{ID: fmt.Sprint("p", n), Kind: stint.ErrandProbe, Execution: execX, Output: output, Generation: 1}).Error
	}
	if err := os.MkdirAll(saved, 0o700); err != nil {
		t.Fatal(err)
	}
	staged := filepath.Join(output, "_stint", string(execX))
	part := filepath.Join(staged, "part-00000.1")
	for n, of := range []string{"owner-000001", "record-000001"} { // a claim may be lost
		writeText(t, filepath.Join(saved, of), `{"generation":1}`)
		if err := probe(n); err != nil {
			t.Errorf("suspended, with %s: %v", of, err)
		}
		if n == 0 {
			writeText(t, part, "staged\n")
		}
		if _, err := os.Stat(part); err != nil {
			t.Errorf("suspended, with %s: %v", of, err)
		}
		if err := os.Remove(filepath.Join(saved, of)); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(n int) {
		t.Helper()
		if err := probe(n); err == nil || err.Code != stint.Conflict || !strings.Contains(err.Message, "has come to its end") {
			t.Errorf("%v", err)
		}
	}
	writeText(t, filepath.Join(saved, "pack-1"), "saved late")
	refused(2)
	if _, err := os.Stat(part); err != nil {
		t.Errorf("nothing but what is staged is left: %v", err)
	}
	if err := os.RemoveAll(output); err != nil {
		t.Fatal(err)
	}
	writeText(t, filepath.Join(saved, "ended"), `{"status":"completed"}`)
	for n := range 2 {
		refused(3 + n)
		if _, err := os.Stat(output); err == nil {
			t.Error("the probe has left something")
		}
		if err := os.RemoveAll(saved); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAHigherClaimOfTheSameServiceIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := newService(t)
	saved := filepath.Join(must(object.Path(s.storage))(t), "saved", string(execX))
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	output := filepath.Join(t.TempDir(), "out")
	if err := os.MkdirAll(saved, 0o700); err != nil {
		t.Fatal(err)
	}
	for n, service := range []string{"ours", "theirs", "ours"} {
		writeText(t, filepath.Join(saved, fmt.Sprintf("owner-%06d", n+1)), fmt.Sprintf(`{"generation":%d,"service":%q}`, n+1, service))
	}
	for _, kind := range []stint.ErrandKind{stint.ErrandCommit, stint.ErrandClear} {
		for generation, code := range map[uint64]stint.Code{0: stint.Unavailable, 1: stint.Unavailable, 2: stint.Conflict} {
			r := a.errand(t, stint.Errand{ID: fmt.Sprint(kind, generation), Kind: kind, Execution: execX, Output: output, Generation: generation})
			if r.Error == nil || r.Error.Code != code || r.Claimed != map[stint.Code]uint64{stint.Unavailable: 3}[code] {
				t.Errorf("%s in generation %d: %v", kind, generation, r.Error)
			}
		}
	}
}

func TestClearRemovesSavedStateAndCommitWithoutSomethingKeepsIt(t *testing.T) {
	t.Parallel()
	s := newService(t)
	pack := filepath.Join(must(object.Path(s.storage))(t), "saved", string(execX), "pack-1")
	if err := os.MkdirAll(filepath.Dir(pack), 0o700); err != nil {
		t.Fatal(err)
	}
	writeText(t, pack, "")
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	output := filepath.Join(t.TempDir(), "out")
	a.errand(t, stint.Errand{ID: "p", Kind: stint.ErrandProbe, Execution: execX, Output: output})
	missing := []stint.Missing{{Operation: "map-1", Error: stint.Errorf(stint.Failed, "exit status 1")}}
	if r := a.errand(t, stint.Errand{ID: "c", Kind: stint.ErrandCommit, Execution: execX, Output: output, Missing: missing}); r.Error != nil {
		t.Fatal(r.Error)
	}
	manifest := string(must(os.ReadFile(filepath.Join(output, "_manifest.json")))(t))
	if _, err := os.Stat(pack); err != nil || !strings.Contains(manifest, "map-1") {
		t.Error(err, manifest)
	}
	away := stint.Errand{ID: "g", Kind: stint.ErrandClear, Execution: execX, Output: output, Storage: "file:///nowhere/at/all", Generation: 4}
	if r := a.errand(t, away); r.Error != nil {
		t.Errorf("clear with a storage that is gone: %v", r.Error)
	}
	away.ID, away.Kind = "h", stint.ErrandCommit
	if r := a.errand(t, away); r.Error == nil || r.Error.Code != stint.Unavailable {
		t.Errorf("commit with a storage that is gone: %v", r.Error)
	}
	if r := a.errand(t, stint.Errand{ID: "r", Kind: stint.ErrandClear, Execution: execX, Output: output}); r.Error != nil {
		t.Fatal(r.Error)
	}
	if _, err := os.Stat(pack); err == nil {
		t.Error("saved state is left")
	}
}

func TestPartsOfAnEarlierOutputAreStagedIfTheyAreWhatTheyWere(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	w.sum(t, a, stint.Grant{Sources: []stint.Source{from(a, ops(0, 4))}})
	parts := partsOf(a)
	spoilFile(t, filepath.Join(must(object.Path(w.spec.Output))(t), "part-00001"), 0)
	output := filepath.Join(t.TempDir(), "out")
	a.errand(t, stint.Errand{ID: "p", Kind: stint.ErrandProbe, Execution: execY, Output: output})
	r := a.errand(t, stint.Errand{ID: "a", Kind: stint.ErrandAdopt, Execution: execY, From: w.spec.Output, Output: output, Parts: parts})
	if r.Error != nil || len(r.Parts) != 1 || r.Parts[0].Op != 0 || r.Parts[0].Sum != parts[0].Sum {
		t.Fatalf("%+v", r)
	}
	if r := a.errand(t, stint.Errand{ID: "c", Kind: stint.ErrandCommit, Execution: execY, Output: output, Parts: r.Parts}); r.Error != nil {
		t.Error(r.Error)
	}
	want := must(os.ReadFile(filepath.Join(must(object.Path(w.spec.Output))(t), "part-00000")))(t)
	if got := must(os.ReadFile(filepath.Join(output, "part-00000")))(t); !bytes.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTheCacheGivesWayOldestFirst(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1000)
	ended := map[stint.ExecutionID]kept{
		"x-old": {Until: 5000, Since: 1, bytes: 30}, "x-new": {Until: 5000, Since: 3, bytes: 30}, "x-mid": {Until: 5000, Since: 2, bytes: 30}, "x-over": {Until: 1000, Since: 9, bytes: 10},
		"x-left": {Until: 5000, left: true},
	}
	for _, c := range []struct {
		disk    room
		dropped int64
		want    []stint.ExecutionID
	}{
		{room{total: 1000, free: 900}, 0, []stint.ExecutionID{"x-over"}},
		{room{total: 1000, free: 900}, 11, []stint.ExecutionID{"x-old", "x-over"}},
		{room{total: 900, free: 800}, 0, []stint.ExecutionID{"x-over"}},
		{room{total: 890, free: 800}, 0, []stint.ExecutionID{"x-old", "x-over"}},
		{room{total: 1000, free: 60}, 0, []stint.ExecutionID{"x-old", "x-over"}},
		{room{total: 1000, free: 59}, 0, []stint.ExecutionID{"x-old", "x-mid", "x-over"}},
		{room{total: 1000, free: 0}, 0, []stint.ExecutionID{"x-old", "x-mid", "x-new", "x-over"}},
	} {
		equal(t, fmt.Sprint(c.disk), outlivedBy(ended, now, c.disk.over(ended, c.dropped)), c.want)
	}
}

func TestDroppedBlocksAreForgottenWithTheirExecution(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t)
	l.dropBlocks(link.Drop{Execution: execX, Ops: []stint.StageOps{{Stage: 1, Ops: []stint.Range{ops(0, 2)}}}})
	l.dropBlocks(link.Drop{Execution: execX, Ops: []stint.StageOps{{Stage: 1, Ops: []stint.Range{ops(2, 4)}}, {Stage: 0, Ops: []stint.Range{ops(0, 1)}}}})
	equal(t, "dropped", l.cache.dropped[execX], []stint.StageOps{{Ops: []stint.Range{ops(0, 1)}}, {Stage: 1, Ops: []stint.Range{ops(0, 4)}}})
	l.keepBlocks(execX, 0)
	if err := l.cache.settle(execX, time.Now()); err != nil || len(l.cache.dropped)+len(l.cache.ending) > 0 {
		t.Error(err, l.cache.dropped, l.cache.ending)
	}
}

func TestDroppedBlocksGoWhenTheRoomIsWantedAndAreNotAnnouncedAnyMore(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t)
	id, data, log, err := l.store.CreateSegment(execX)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = data.Close(), log.Close() })
	w := block.NewWriter(data, id, block.SegmentSize) // it is full with the first block
	if err := l.store.Add(execX, 0, 1, oneByte(t, w)); err != nil {
		t.Fatal(err)
	}
	l.store.GiveUp(execX, id)
	one := []stint.StageOps{{Ops: []stint.Range{ops(1, 2)}}}
	l.ledger.Restore(execX, one, 0, nil)
	l.dropBlocks(link.Drop{Execution: execX, Ops: one})
	l.cache.removeDropped(t.Context(), map[stint.ExecutionID][]stint.StageOps{execX: one}, func(n notice) { n.apply(l, time.Now()) })
	equal(t, "announced", len(l.ledger.Holdings()[0].Completed), 0)
	equal(t, "left to drop", len(l.cache.dropped[execX]), 0)
	if _, err := os.Stat(data.Name()); err == nil {
		t.Error("the segment is left")
	}
}

// What a worker was handed before it is told of a new segment goes on in the old one,
// though that is full.
func TestASegmentStaysUntilItsWorkerHasLeftIt(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t, grant(execX, 1, 0, 5))
	p := &process{execution: execX, orders: make(chan batch)}
	l.slots[0].process = p
	l.execution(execX).tasks++
	writers, paths := make([]*block.Writer, 3), make([]string, 3)
	for i := range writers {
		id, data, log, err := l.store.CreateSegment(execX)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = data.Close(), log.Close() })
		writers[i], paths[i], p.segments = block.NewWriter(data, id, block.SegmentSize), data.Name(), append(p.segments, id)
	}
	l.ledger.Next(execX, 5)
	done := func(op uint32, w *block.Writer) worker.Record {
		idx := oneByte(t, w)
		return worker.Record{Done: &worker.DoneRecord{Job: 1, Op: stint.OpDone{Op: op}, Block: &idx}}
	}
	left := func() (out []bool) {
		all := map[stint.ExecutionID][]stint.StageOps{execX: {{Ops: []stint.Range{ops(0, 5)}}}}
		l.cache.removeDropped(t.Context(), all, func(n notice) { n.apply(l, time.Now()) })
		for _, path := range paths {
			_, err := os.Stat(path)
			out = append(out, err == nil)
		}
		return out
	}
	tell := func(records ...worker.Record) {
		(&workerTold{process: p, events: &worker.Events{Records: records}}).apply(l, time.Now())
	}
	first := done(0, writers[0])
	tell(first)
	equal(t, "segments while the first is written to", left(), []bool{true, true, true})
	tell(done(1, writers[0]), worker.Record{Done: &worker.DoneRecord{Job: 1, Op: stint.OpDone{Op: 2}}})
	equal(t, "segments while the first is written to, though full", left(), []bool{true, true, true})
	second := done(3, writers[1])
	tell(second)
	equal(t, "segments once the second is written to", left(), []bool{false, true, true})
	tell(first, second, done(4, writers[2])) // from the logs: its worker died
	equal(t, "segments once the third was written to", left(), []bool{false, false, true})
	close(p.orders)
	p.finished = true
	(&workerEnded{process: p, err: errStopped}).apply(l, time.Now())
	equal(t, "segments once nobody writes", left(), []bool{false, false, false})
}

func TestBlocksOfLiveExecutionsDoNotOutlive(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t)
	if err := os.MkdirAll(filepath.Dir(l.cache.mark(execX)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.cache.keep(execX, kept{Until: 5000}); err != nil || len(l.cache.kept) != 1 {
		t.Fatal(err, l.cache.kept)
	}
	l.cache.release(execX)
	if _, err := os.Stat(l.cache.mark(execX)); err == nil || len(l.cache.kept) != 0 {
		t.Error("what is performed again is cache")
	}
	l.execution(execX)
	(&outlived{execution: execX}).apply(l, time.Now())
	if l.executions[execX].forgotten != nil {
		t.Error("a live execution was forgotten")
	}
	(&outlived{execution: execY}).apply(l, time.Now())
	if e := l.executions[execY]; e == nil || e.forgotten == nil {
		t.Error("an execution that has ended is not on its way out")
	}
}
