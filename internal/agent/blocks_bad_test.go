package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stint"
	"stint/internal/wire"
)

// afterReboot has the next start of an agent take the machine for started anew.
func afterReboot(t *testing.T, dir string) {
	t.Helper()
	record := filepath.Join(dir, "node.json")
	writeText(t, record, strings.Replace(string(must(os.ReadFile(record))(t)), must(readBootID())(t), "another", 1))
}

func TestABlockThatWasFoundBadIsNeverBelievedAgain(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, stop := s.start(t, nodeA, dir, 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	stop()
	spoilBlock(t, dir, 1)
	afterReboot(t, dir)
	for range 3 { // the first verifies checksums, the others do not
		a, stop = s.start(t, nodeA, dir, 1)
		equal(t, "completed", a.hello.Holdings[0].Completed, []stint.StageOps{{Ops: []stint.Range{ops(0, 1), ops(2, 4)}}})
		a.await(t, "what was lost", func(s *tally) bool { return len(s.lost) > 0 })
		equal(t, "lost", a.tally.lost, []stint.StageOps{{Ops: []stint.Range{ops(1, 2)}}})
		stop()
	}
	a, stop = s.start(t, nodeA, dir, 1)
	w.count(t, a, 2, ops(1, 2)) // its new output is believed
	stop()
	a, _ = s.start(t, nodeA, dir, 1)
	equal(t, "completed", a.hello.Holdings[0].Completed, []stint.StageOps{{Ops: []stint.Range{ops(0, 4)}}})
	equal(t, "words", w.sum(t, a, stint.Grant{Sources: []stint.Source{from(a, ops(0, 4))}}), counted(500))
}

func TestABlockThatAReaderFoundBadIsNotBelievedAfterARestart(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, stop := s.start(t, nodeA, dir, 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	spoilBlock(t, dir, 2)
	w.sumLater(t, a, stint.Grant{Sources: []stint.Source{from(a, ops(0, 4))}, Attempt: 2})
	a.await(t, "the damage to be named", func(s *tally) bool { return len(s.lost) > 0 })
	stop()
	a, _ = s.start(t, nodeA, dir, 1)
	equal(t, "completed", a.hello.Holdings[0].Completed, []stint.StageOps{{Ops: []stint.Range{ops(0, 2), ops(3, 4)}}})
}

func TestWhatIsLeftOfARemovalGoesAtTheNextStart(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	left := filepath.Join(dir, "blocks", string(execX)+".removed")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	writeText(t, filepath.Join(left, "1.seg"), "rest")
	a, _ := s.start(t, nodeA, dir, 1)
	equal(t, "held", len(a.hello.Holdings), 0)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Error("it takes room for ever", err)
	}
}

func TestBlocksUnderTheNameOfAnotherExecutionAreNotBelieved(t *testing.T) {
	t.Parallel()
	s := newService(t)
	dir := t.TempDir()
	a, stop := s.start(t, nodeA, dir, 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	stop()
	if err := os.CopyFS(filepath.Join(dir, "blocks", string(execY)), os.DirFS(filepath.Join(dir, "blocks", string(execX)))); err != nil {
		t.Fatal(err)
	}
	a, _ = s.start(t, nodeA, dir, 1)
	for _, h := range a.hello.Holdings {
		if h.Execution == execY && len(h.Completed)+len(h.Copies) > 0 {
			t.Errorf("announced under another name: %+v", h)
		}
	}
	r := a.errand(t, stint.Errand{ID: "i", Kind: stint.ErrandInventory, Execution: execY})
	if r.Error != nil || len(r.Held) > 0 {
		t.Errorf("held under another name: %+v", r)
	}
	r = a.errand(t, stint.Errand{ID: "s", Kind: stint.ErrandSave, Execution: execY, Ops: []stint.Range{ops(0, 4)}, Prefix: "saved/y/p"})
	if r.Error != nil || len(r.Packs) > 0 {
		t.Errorf("saved under another name: %+v", r)
	}
}

func TestAPackOfAnotherExecutionUnderOurKeyIsAFault(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	w, other := newWords(t, a, execX), newWords(t, a, execY)
	w.count(t, a, 1, ops(0, 4))
	text := inputFile(t, strings.Repeat("another brown fox xyz\nJumps over the lazy dog\n", 500))
	other.subsets = cut(text, 4)
	other.count(t, a, 2, ops(0, 4))
	ours, theirs := w.saved(t, a, "p", ops(0, 4)), other.saved(t, a, "q", ops(0, 4))
	storage := strings.TrimPrefix(s.storage, "file://")
	if err := os.Rename(filepath.Join(storage, theirs.Pack.Key), filepath.Join(storage, ours.Pack.Key)); err != nil {
		t.Fatal(err)
	}
	r := a.errand(t, stint.Errand{ID: "v", Kind: stint.ErrandVerify, Execution: execX, Packs: []stint.Pack{*ours.Pack}})
	if r.Error != nil || len(r.Bad) != 1 || len(r.Faults) != 1 || !strings.Contains(r.Faults[0], ours.Pack.Key) {
		t.Errorf("verified: %+v", r)
	}
	equal(t, "words", w.sum(t, a, stint.Grant{Sources: []stint.Source{ours, from(a, ops(0, 4))}}), counted(500)) // the pack is passed over
}

func TestAListingThatIsWholeButAnotherIsAFault(t *testing.T) {
	t.Parallel()
	r := newResumable(t)
	key := filepath.Join(r.storage, listings, r.errand.Listing.String())
	var l stint.Listing
	if err := wire.Unmarshal(must(os.ReadFile(key))(t), &l); err != nil {
		t.Fatal(err)
	}
	l.Objects[0].Size++
	writeText(t, key, string(must(wire.Marshal(l))(t)))
	if got := r.node.errand(t, r.errand); got.Error != nil || got.Changed != 0 || len(got.Faults) != 1 || !strings.Contains(got.Faults[0], "altered") {
		t.Errorf("%+v", got)
	}
}

func TestSavedStateThatIsNoFileIsAFault(t *testing.T) {
	t.Parallel()
	r := newResumable(t)
	pack := filepath.Join(r.storage, r.errand.Packs[0].Key)
	checkpoint := filepath.Join(r.storage, r.errand.Checkpoints[0].Key)
	if err := errors.Join(os.Remove(pack), syscall.Mkfifo(pack, 0o600), os.Remove(checkpoint), os.Symlink("/etc/passwd", checkpoint)); err != nil {
		t.Fatal(err)
	}
	if got := r.node.errand(t, r.errand); got.Error != nil || len(got.Faults) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestAStorageThatVanishedSaysNothingOfWhatWasSaved(t *testing.T) {
	t.Parallel()
	r := newResumable(t)
	if err := errors.Join(os.Rename(r.storage, r.storage+".away"), os.Mkdir(r.storage, 0o700)); err != nil { // the mount point
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(r.storage + ".away") })
	for i, e := range []stint.Errand{
		r.errand,
		{Kind: stint.ErrandSave, Execution: execX, Ops: []stint.Range{ops(0, 4)}, Prefix: "saved/x/p"},
		{Kind: stint.ErrandCommit, Execution: execX, Output: r.errand.Output, Parts: r.errand.Parts, Generation: 1},
		{Kind: stint.ErrandCommit, Execution: execX, Output: r.errand.Output, Parts: r.errand.Parts, Generation: 1, Storage: "file://" + r.storage},
		{Kind: stint.ErrandList, Execution: execX, Inputs: []string{r.input}},
	} {
		e.ID = string(rune('a' + i))
		if got := r.node.errand(t, e); got.Error == nil || got.Error.Code != stint.Unavailable || !strings.Contains(got.Error.Message, r.storage) || len(got.Faults)+len(got.Bad)+len(got.Lost) > 0 {
			t.Errorf("%s: %+v", e.Kind, got)
		}
	}
	if left := must(os.ReadDir(r.storage))(t); len(left) > 0 {
		t.Errorf("written into the mount point: %v", left)
	}
	if err := errors.Join(os.Remove(r.storage), os.Rename(r.storage+".away", r.storage)); err != nil {
		t.Fatal(err)
	}
	r.errand.ID = "again"
	if got := r.node.errand(t, r.errand); got.Error != nil || len(got.Faults) > 0 {
		t.Errorf("back again: %+v", got)
	}
}

func TestADataFolderThatCannotBeReliedOnIsRefused(t *testing.T) {
	t.Parallel()
	elsewhere, err := os.MkdirTemp("/dev/shm", "stint-test-") //nolint:usetesting // another file system is wanted
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(elsewhere) })
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"blocks on another file system": {func(dir string) error { return os.Symlink(elsewhere, filepath.Join(dir, "blocks")) }, "another file system"},
		"work on another file system":   {func(dir string) error { return os.Symlink(elsewhere, filepath.Join(dir, "work")) }, "another file system"},
		"a file cannot take its name":   {func(dir string) error { return os.MkdirAll(filepath.Join(dir, "probe", "x"), 0o700) }, "probe"},
		"a file is in its place":        {func(dir string) error { return os.WriteFile(filepath.Join(dir, "work"), nil, 0o600) }, "work"},
	} {
		dir := t.TempDir()
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		f, err := openFolder(dir)
		if err == nil {
			t.Errorf("%s: accepted %v", name, f.close())
		} else if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	f := must(openFolder(dir))(t)
	if _, err := os.Stat(f.at("probe")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the test left something: %v", err)
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
}
