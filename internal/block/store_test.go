package block

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/wire"
)

const (
	exec1 = stint.ExecutionID("x-aaaaaaaaaaaaaaaa")
	exec2 = stint.ExecutionID("x-bbbbbbbbbbbbbbbb")
)

func openStore(tb testing.TB, dir string) *Store {
	tb.Helper()
	s, err := Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// fill writes blocks of n operations into a new segment, each with its number
// as text in partitions 2 and 9, and adds them to the store.
func fill(tb testing.TB, s *Store, x stint.ExecutionID, stage int, from, to uint32) *os.File {
	tb.Helper()
	id, data, log, err := s.CreateSegment(x)
	if err != nil {
		tb.Fatal(err)
	}
	w := NewWriter(data, id, 0)
	for op := from; op < to; op++ {
		idx, err := writeBlock(w, []pieces{{2, [][]byte{textOf(stage, op, 2)}}, {9, [][]byte{textOf(stage, op, 9), []byte("!")}}})
		if err == nil {
			err = s.Add(x, stage, op, idx)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := data.Close(); err != nil {
			tb.Error(err)
		}
	})
	return data
}

func textOf(stage int, op, partition uint32) []byte {
	return fmt.Appendf(nil, "stage %d operation %d partition %d", stage, op, partition)
}

func TestPartitionsAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	fill(t, s, exec1, 0, 10, 20)
	fill(t, s, exec1, 0, 0, 5)
	fill(t, s, exec1, 1, 10, 12)
	for _, c := range []struct {
		stage   int
		op      uint32
		part    uint32
		want    string
		records int64
	}{
		{0, 10, 2, string(textOf(0, 10, 2)), 1},
		{0, 19, 9, string(textOf(0, 19, 9)) + "!", 2},
		{0, 0, 9, string(textOf(0, 0, 9)) + "!", 2},
		{1, 11, 2, string(textOf(1, 11, 2)), 1},
		{0, 10, 0, "", 0}, // in no part of the block
		{0, 10, 3, "", 0},
		{0, 10, 10, "", 0},
	} {
		r, records, sum, err := s.Open(exec1, c.stage, c.op, c.part)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if string(got) != c.want || err != nil || records != c.records || sum != xxh3.Hash(got) {
			t.Fatalf("%+v: %q, %d records, %x, %v", c, got, records, sum, err)
		}
		if f, _, _ := r.Outer(); filepath.Ext(f.(*os.File).Name()) != ".seg" {
			t.Fatal("not a segment")
		}
	}
	for _, c := range []struct {
		x     stint.ExecutionID
		stage int
		op    uint32
	}{{exec1, 0, 5}, {exec1, 2, 0}, {exec2, 0, 0}, {"../x", 0, 0}} {
		if _, _, _, err := s.Open(c.x, c.stage, c.op, 2); stint.CodeOf(err) != stint.NotFound {
			t.Fatal(c, err)
		}
		if _, err := s.Index(c.x, c.stage, c.op); stint.CodeOf(err) != stint.NotFound {
			t.Fatal(c, err)
		}
	}
}

// The segment of a block without bytes may never have been made, since a process died
// before that, or have been removed.
func TestABlockWithoutBytesIsWholeWhateverBecomesOfTheSegments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	s.full = 63
	data := fill(t, s, exec1, 0, 0, 1)
	for op, idx := range []Index{{}, {Segment: 1}, {Segment: 1, Offset: 63}} {
		if err := s.Add(exec1, 1, uint32(op), idx); err != nil {
			t.Fatal(err)
		}
	}
	s.GiveUp(exec1, 1)
	removed, err := s.RemoveSegments(exec1, []stint.StageOps{{Stage: 0, Ops: []stint.Range{ops(0, 1)}}, {Stage: 1, Ops: []stint.Range{ops(0, 1)}}})
	if len(removed) != 1 || removed[0].Stage != 0 || err != nil {
		t.Error(removed, err)
	}
	if _, err := os.Stat(data.Name()); err == nil {
		t.Fatal("the segment is left")
	}
	if bad, err := s.Verify(t.Context(), exec1, true); bad != nil || err != nil {
		t.Error(bad, err)
	}
	if bad, absent, _, err := s.Check(t.Context(), exec1, 1, []stint.Range{ops(0, 3)}); bad != nil || absent != nil || err != nil {
		t.Error(bad, absent, err)
	}
	for op := range uint32(3) {
		if r, records, sum, err := s.Open(exec1, 1, op, 4); err != nil || r.Size() != 0 || records != 0 || sum != sumOfNothing {
			t.Errorf("operation %d: %d records, %x, %v", op, records, sum, err)
		}
		if r, idx, err := s.OpenWhole(exec1, 1, op); err != nil || r.Size() != 0 || idx.Length != 0 {
			t.Errorf("operation %d: %+v, %v", op, idx, err)
		}
	}
	if err := s.Add(exec2, 1, 0, Index{}); stint.CodeOf(err) != stint.NotFound {
		t.Error(err)
	}
}

func TestCompletedOperationsAreRanges(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	fill(t, s, exec1, 3, 10, 20)
	fill(t, s, exec1, 3, 0, 5)
	fill(t, s, exec1, 3, 18, 25) // some again
	want := []stint.Range{{From: 0, To: 5}, {From: 10, To: 25}}
	if d := cmp.Diff(want, s.Completed(exec1, 3), cmpopts.IgnoreUnexported(stint.Range{})); d != "" {
		t.Fatal(d)
	}
	before := s.Bytes()
	condemn(t, s, exec1, 3, stint.Range{From: 3, To: 11}, stint.Range{From: 24, To: 100})
	want = []stint.Range{{From: 0, To: 3}, {From: 11, To: 24}}
	if d := cmp.Diff(want, s.Completed(exec1, 3), cmpopts.IgnoreUnexported(stint.Range{})); d != "" {
		t.Fatal(d)
	}
	if s.Bytes() >= before || s.Bytes() <= 0 {
		t.Fatal(before, s.Bytes())
	}
	if s.Completed(exec1, 2) != nil || s.Completed(exec2, 3) != nil || !cmp.Equal(s.Stages(exec1), []int{3}) {
		t.Fatal("operations of nothing")
	}
	condemn(t, s, exec2, 0, want...)
}

func condemn(tb testing.TB, s *Store, x stint.ExecutionID, stage int, ops ...stint.Range) {
	tb.Helper()
	if err := s.Condemn(x, []stint.StageOps{{Stage: stage, Ops: ops}}); err != nil {
		tb.Error(err)
	}
}

func TestBlocksMatchAModelThroughReplacementAndRemoval(t *testing.T) {
	t.Parallel()
	b := &blocks{at: map[uint32]place{}}
	want := map[uint32]Index{}
	r := rand.New(rand.NewPCG(3, 4))
	for range 30000 {
		op := r.Uint32N(500)
		if r.IntN(3) == 0 {
			b.remove(op)
			delete(want, op)
			continue
		}
		x := randomIndex(r)
		b.add(op, x)
		want[op] = x
	}
	var total int64
	n := 0
	for op, x := range want {
		got, ok := b.get(op)
		if d := cmp.Diff(x, got.index(), ignoreMarks); !ok || d != "" {
			t.Fatal(op, ok, d)
		}
		total += x.Length
		n += got.size()
	}
	if total != b.bytes || len(b.at) != len(want) || b.alive != n {
		t.Fatal(total, b.bytes, len(b.at), b.alive, n)
	}
	held := 0
	for _, slab := range b.slabs {
		held += cap(slab)
	}
	if held > 2*n+4*slabSize {
		t.Fatalf("%d bytes held for %d", held, n)
	}
}

func randomIndex(r *rand.Rand) Index {
	x := Index{Segment: r.Uint32(), Offset: r.Int64N(1 << 39)}
	p := r.Uint32N(5)
	for range r.IntN(8) {
		length := 1 + r.Int64N(1<<20)
		x.Parts = append(x.Parts, PartIndex{Partition: p, Offset: x.Length, Length: length, Records: r.Int64N(1 << 40), Sum: r.Uint64()})
		x.Length += length
		p += 1 + r.Uint32N(100000)
	}
	return x
}

func TestIndexThatContradictsItselfIsRefused(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	fill(t, s, exec1, 0, 0, 1)
	good := func() Index {
		return Index{Segment: 1, Offset: 5, Length: 30, Parts: []PartIndex{{Partition: 1, Length: 10, Records: 1}, {Partition: 4, Offset: 10, Length: 20}}}
	}
	if err := s.Add(exec1, 0, 0, good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Index){
		"negative offset":    func(x *Index) { x.Offset = -1 },
		"huge offset":        func(x *Index) { x.Offset = 1<<63 - 1 },
		"negative length":    func(x *Index) { x.Length = -1 },
		"longer than parts":  func(x *Index) { x.Length++ },
		"shorter than parts": func(x *Index) { x.Length-- },
		"gap":                func(x *Index) { x.Parts[1].Offset++ },
		"overlap":            func(x *Index) { x.Parts[1].Offset-- },
		"same partition":     func(x *Index) { x.Parts[1].Partition = 1 },
		"huge partition":     func(x *Index) { x.Parts[1].Partition = 1 << 24 },
		"empty part":         func(x *Index) { x.Parts[1].Length = 0 },
		"huge part":          func(x *Index) { x.Parts[1].Length = 1<<63 - 1 },
		"negative records":   func(x *Index) { x.Parts[0].Records = -1 },
	} {
		x := good()
		spoil(&x)
		if err := s.Add(exec1, 0, 0, x); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, segment := range []uint32{0, 2} {
		x := good()
		x.Segment = segment
		if err := s.Add(exec1, 0, 0, x); stint.CodeOf(err) != stint.NotFound {
			t.Error(segment, err)
		}
	}
	if err := s.Add(exec2, 0, 0, good()); stint.CodeOf(err) != stint.NotFound {
		t.Error(err)
	}
}

func TestStoreComesBackFromItsFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	fill(t, s, exec1, 0, 0, 3)
	fill(t, s, exec1, 0, 3, 4)
	fill(t, s, exec2, 0, 0, 1)
	idx, err := s.Index(exec1, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, foreign := range []string{"lost+found", "x-short", string(exec1) + "/7.seg.tmp", string(exec1) + "/0.log", string(exec1) + "/a.log"} {
		if err := os.MkdirAll(filepath.Join(dir, foreign), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "x-cccccccccccccccc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	if d := cmp.Diff([]stint.ExecutionID{exec1, exec2}, s.Executions()); d != "" {
		t.Fatal(d)
	}
	logs, err := s.Logs(exec1)
	want := []LogFile{{1, filepath.Join(dir, string(exec1), "1.log")}, {2, filepath.Join(dir, string(exec1), "2.log")}}
	if d := cmp.Diff(want, logs); d != "" || err != nil {
		t.Fatal(d, err)
	}
	if s.Completed(exec1, 0) != nil {
		t.Fatal("blocks that nobody added")
	}
	if err := s.Add(exec1, 0, 2, idx); err != nil {
		t.Fatal(err)
	}
	r, _, _, err := s.Open(exec1, 0, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != string(textOf(0, 2, 2)) || err != nil {
		t.Fatal(string(b), err)
	}
	id, data, log, err := s.CreateSegment(exec1)
	if err != nil || id != 3 {
		t.Fatal(id, err)
	}
	if err := errors.Join(data.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestSegmentAndLogArePrivateAndTheLogIsAppendedTo(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	_, data, log, err := s.CreateSegment(exec1)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{data, log} {
		if fi, err := f.Stat(); err != nil || fi.Mode().Perm() != 0o600 {
			t.Fatal(fi.Mode(), err)
		}
	}
	if _, err := log.WriteAt([]byte("x"), 0); err == nil {
		t.Fatal("the log can be overwritten")
	}
	if err := errors.Join(data.Close(), log.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := s.CreateSegment("../up"); stint.CodeOf(err) != stint.Invalid {
		t.Fatal(err)
	}
	if _, err := s.Logs("../up"); stint.CodeOf(err) != stint.Invalid {
		t.Fatal(err)
	}
}

func TestVerifyNamesExactlyWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	first := fill(t, s, exec1, 0, 0, 10)
	fill(t, s, exec1, 0, 10, 13)
	fill(t, s, exec1, 1, 0, 4)
	verify := func(deep bool, want ...stint.StageOps) {
		t.Helper()
		bad, err := s.Verify(t.Context(), exec1, deep)
		if d := cmp.Diff(want, bad, cmpopts.IgnoreUnexported(stint.Range{})); d != "" || err != nil {
			t.Fatal(d, err)
		}
	}
	verify(true)
	x, err := s.Index(exec1, 0, 4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.WriteAt([]byte{'S'}, x.Offset+x.Length-1); err != nil { // one byte altered
		t.Fatal(err)
	}
	if x, err = s.Index(exec1, 0, 8); err != nil {
		t.Fatal(err)
	}
	if err := first.Truncate(x.Offset + x.Length - 1); err != nil {
		t.Fatal(err)
	}
	verify(false, stint.StageOps{Stage: 0, Ops: []stint.Range{{From: 8, To: 10}}})
	verify(true, stint.StageOps{Stage: 0, Ops: []stint.Range{{From: 4, To: 5}, {From: 8, To: 10}}})
	if err := os.Remove(filepath.Join(dir, string(exec1), "3.seg")); err != nil {
		t.Fatal(err)
	}
	verify(false, stint.StageOps{Stage: 0, Ops: []stint.Range{{From: 8, To: 10}}}, stint.StageOps{Stage: 1, Ops: []stint.Range{{From: 0, To: 4}}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Verify(ctx, exec1, true); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if bad, err := s.Verify(t.Context(), exec2, true); bad != nil || err != nil {
		t.Fatal(bad, err)
	}
}

func TestRemoveLeavesNothingOfAnExecutionAndAllOfOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	fill(t, s, exec1, 0, 0, 3)
	fill(t, s, exec2, 0, 0, 3)
	r, _, _, err := s.Open(exec1, 0, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Remove(exec1), s.Remove(exec1)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(r); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	if _, _, _, err := s.Open(exec1, 0, 1, 2); stint.CodeOf(err) != stint.NotFound {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, string(exec1))); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if _, _, _, err := s.Open(exec2, 0, 1, 2); err != nil || len(s.Executions()) != 1 {
		t.Fatal(err)
	}
	if err := s.Remove("."); stint.CodeOf(err) != stint.Invalid {
		t.Fatal(err)
	}
}

func TestStoreIsUsedByManyAtOnce(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	var wg sync.WaitGroup
	for slot := range uint32(4) {
		wg.Go(func() {
			fill(t, s, exec1, 0, slot*100, slot*100+100)
		})
		wg.Go(func() {
			for op := slot * 100; op < slot*100+100; op++ {
				r, _, sum, err := s.Open(exec1, 0, op, 9)
				if stint.CodeOf(err) == stint.NotFound {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := io.ReadAll(r); xxh3.Hash(b) != sum || err != nil {
					t.Error(string(b), err)
				}
			}
			condemn(t, s, exec1, 1, s.Completed(exec1, 0)...)
			if _, err := s.Verify(t.Context(), exec1, true); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := stint.CountRanges(s.Completed(exec1, 0)); n != 400 {
		t.Fatal(n)
	}
}

func TestBlockInMemoryTakesFewBytes(t *testing.T) {
	// Not parallel: it measures the heap.
	b := &blocks{at: map[uint32]place{}}
	const n = 200000
	before := heap()
	for op := range uint32(n) {
		b.add(op, Index{Segment: 1, Offset: int64(op) * 100, Length: 100, Parts: []PartIndex{{Length: 100, Records: 1, Sum: 7}}})
	}
	per := float64(heap()-before) / n
	runtime.KeepAlive(b)
	if per > 96 {
		t.Fatalf("%.1f bytes per block", per)
	}
	t.Logf("%.1f bytes per block", per)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func FuzzIndex(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 5 {
		b, err := wire.Marshal(randomIndex(r))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var x Index
		if wire.Unmarshal(b, &x) != nil || x.check() != nil {
			return
		}
		p := packed(append(appendPacked(nil, x), "what follows"...))
		if d := cmp.Diff(x, p.index(), ignoreMarks, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
		for _, part := range x.Parts {
			got, ok := p.find(part.Partition)
			if d := cmp.Diff(part, got, ignoreMarks); d != "" || !ok {
				t.Fatal(d)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	for _, parts := range []int{1, 1000} {
		b.Run("parts="+strconv.Itoa(parts), func(b *testing.B) {
			s := openStore(b, b.TempDir())
			fill(b, s, exec1, 0, 0, 1)
			x := Index{Segment: 1}
			for p := range parts {
				x.Parts = append(x.Parts, PartIndex{Partition: uint32(p), Offset: x.Length, Length: 10})
				x.Length += 10
			}
			for op := range uint32(1000) {
				if err := s.Add(exec1, 0, op, x); err != nil {
					b.Fatal(err)
				}
			}
			op := uint32(0)
			for b.Loop() {
				if _, _, _, err := s.Open(exec1, 0, op%1000, op%uint32(parts)); err != nil {
					b.Fatal(err)
				}
				op++
			}
		})
	}
}
