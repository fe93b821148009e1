package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stint"
	"stint/internal/block"
	"stint/internal/object"
	"stint/internal/worker"
)

// TestInputThatWasTouchedIsEqualToWhatOperationsHaveRead lets a node perform
// operations over files and compare what they say of their input with what is
// there when every file has been written again.
func TestInputThatWasTouchedIsEqualToWhatOperationsHaveRead(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	dir := t.TempDir()
	names := []string{"a", "b", "c", "d", "e", "f"}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		writeText(t, path, text)
		now := time.Now().Add(time.Hour)
		if err := os.Chtimes(path, now, now); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.Repeat("some words and others\n", 20)
	for _, name := range names {
		writeText(t, filepath.Join(dir, name), text)
	}
	was := must(new(object.Access).List(t.Context(), object.Inputs{Locations: []string{dir}}))(t).Objects
	whole := func(o stint.Object) stint.Piece { return stint.Piece{Object: o, Length: o.Size} }
	subsets := func(o []stint.Object) []stint.Subset {
		half := o[0].Size/2 + 3
		return []stint.Subset{
			{Pieces: []stint.Piece{{Object: o[0], Length: half}}},
			{Pieces: []stint.Piece{{Object: o[0], Offset: half, Length: o[0].Size - half}}},
			{Pieces: []stint.Piece{whole(o[1]), whole(o[2]), whole(o[3])}},
			{Pieces: []stint.Piece{whole(o[4]), whole(o[5])}},
		}
	}
	w := newWords(t, a, execX)
	w.subsets = subsets(was)
	w.count(t, a, 1, ops(0, 4))
	sums := make([]uint64, 4)
	for i := range sums {
		if sums[i] = a.tally.sums[uint32(i)]; sums[i] == 0 {
			t.Fatalf("operation %d does not say what it read", i)
		}
	}
	compared := func(id string, l []stint.Subset) []stint.Range {
		t.Helper()
		r := a.errand(t, stint.Errand{ID: id, Kind: stint.ErrandCompare, Execution: execX, Subsets: l, Sums: sums})
		if r.Error != nil {
			t.Fatal(r.Error)
		}
		return r.Ops
	}
	equal(t, "equal as they were", compared("1", w.subsets), []stint.Range{ops(0, 4)})
	for _, name := range names {
		write(name, text)
	}
	equal(t, "equal in the versions before", compared("2", w.subsets), []stint.Range(nil))
	now := must(new(object.Access).List(t.Context(), object.Inputs{Locations: []string{dir}}))(t).Objects
	equal(t, "equal when they were touched", compared("3", subsets(now)), []stint.Range{ops(0, 4)})
	write("a", "S"+text[1:])
	write("f", text[:len(text)-2]+"S\n")
	now = must(new(object.Access).List(t.Context(), object.Inputs{Locations: []string{dir}}))(t).Objects
	equal(t, "equal when two have changed", compared("4", subsets(now)), []stint.Range{ops(1, 3)})
	if err := os.Remove(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	write("a", "cut")
	equal(t, "equal when something happens meanwhile", compared("5", subsets(now)), []stint.Range(nil))
	if r := a.errand(t, stint.Errand{ID: "6", Kind: stint.ErrandCompare, Execution: execX, Subsets: w.subsets, Sums: sums[:3]}); r.Error == nil || r.Error.Code != stint.Invalid {
		t.Errorf("a sum is missing: %v", r.Error)
	}
}

// overwriting is somebody who writes to a file while it is read.
type overwriting struct {
	t    *testing.T
	path string
}

func (o overwriting) Write(b []byte) (int, error) {
	writeText(o.t, o.path, strings.Repeat("x", len(b)))
	return len(b), os.Chtimes(o.path, time.Unix(1, 0), time.Unix(1, 0))
}

func TestInputThatChangesWhileItIsReadIsNotEqual(t *testing.T) {
	t.Parallel()
	o := inputFile(t, "some text")
	err := addPiece(t.Context(), new(object.Access), overwriting{t, must(object.Path(o.URL))(t)}, stint.Piece{Object: o, Length: o.Size}, make([]byte, 100))
	if stint.CodeOf(err) != stint.Invalid {
		t.Errorf("%v", err)
	}
}

// An operation may have been performed twice on a node, the second time in a
// segment that was begun before that of the first.
func TestTheLaterOfTwoBlocksIsRecovered(t *testing.T) {
	t.Parallel()
	for _, laterIn := range []uint32{1, 2} {
		dir := t.TempDir()
		store := must(block.Open(dir))(t)
		for segment := uint32(1); segment <= 2; segment++ {
			id, data, log, err := store.CreateSegment(execX)
			if err != nil {
				t.Fatal(err)
			}
			idx := oneByte(t, block.NewWriter(data, id, block.SegmentSize))
			done := &worker.DoneRecord{Job: stint.JobID(segment), Op: stint.OpDone{Op: 7, End: 1000}, Block: &idx}
			if segment == laterIn {
				done.Op.End = 2000
			}
			b := must(worker.AppendRecord(nil, worker.Record{Done: done}))(t)
			if _, err := log.Write(b); err != nil {
				t.Fatal(err)
			}
			_, _ = data.Close(), log.Close()
		}
		_ = store.Close()
		store = must(block.Open(dir))(t)
		defer store.Close() //nolint:errcheck // only read
		r := must(recoverExecution(store, execX))(t)
		equal(t, "completed", r.completed, []stint.StageOps{{Ops: []stint.Range{ops(7, 8)}}})
		equal(t, "segment", must(store.Index(execX, 0, 7))(t).Segment, laterIn)
	}
}

// oneByte writes a block of one byte.
func oneByte(t *testing.T, w *block.Writer) block.Index {
	t.Helper()
	if err := w.Begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := must(w.Partition(0))(t).Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	return must(w.Commit())(t)
}
