package block

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/zeebo/xxh3"

	"stint"
)

func ops(from, to uint32) stint.Range { return stint.Range{From: from, To: to} }

func own(stage int) func(uint32) Ref {
	return func(op uint32) Ref { return Ref{Execution: exec1, Stage: stage, Op: op} }
}

// packAll makes one pack and returns its bytes and what it consists of.
func packAll(t *testing.T, p *Packing) (data []byte, pack stint.Pack, lost, rest []stint.Range) {
	t.Helper()
	data, err := io.ReadAll(p)
	if err != nil {
		t.Fatal(err)
	}
	pack, lost, rest = p.Result()
	pack.Key = "saved/p-0"
	if pack.Bytes != int64(len(data)) {
		t.Fatalf("%d bytes, said to be %d", len(data), pack.Bytes)
	}
	return data, pack, lost, rest
}

func openPack(t *testing.T, data []byte, pack stint.Pack) *PackIndex {
	t.Helper()
	x, err := ReadPackIndex(bytes.NewReader(data), pack)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// addEmpty adds a block that has nothing in it.
func addEmpty(t *testing.T, s *Store, stage int, op uint32) {
	t.Helper()
	if err := s.Add(exec1, stage, op, Index{Segment: 1}); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsPackedIsFoundAgain(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	fill(t, s, exec1, 1, 10, 20)
	addEmpty(t, s, 1, 12)
	data, pack, lost, rest := packAll(t, s.Pack(1, []stint.Range{ops(10, 13), ops(18, 20)}, PackSize, own(1)))
	want := []stint.Range{ops(10, 13), ops(18, 20)}
	if d := cmp.Diff(want, pack.Ops, cmpopts.IgnoreUnexported(stint.Range{})); d != "" || pack.Stage != 1 || lost != nil || len(rest) > 0 {
		t.Fatal(d, pack, lost, rest)
	}
	x := openPack(t, data, pack)
	if d := cmp.Diff(want, x.Ops(), cmpopts.IgnoreUnexported(stint.Range{})); d != "" {
		t.Error(d)
	}
	for _, c := range []struct {
		op, partition uint32
		want          string
		records       int64
	}{
		{10, 2, "stage 1 operation 10 partition 2", 1},
		{19, 9, "stage 1 operation 19 partition 9!", 2},
		{11, 3, "", 0},
		{12, 2, "", 0},
	} {
		p, ok := x.Find(c.op, c.partition)
		got := string(data[p.Offset : p.Offset+p.Length])
		if !ok || got != c.want || p.Records != c.records || p.Sum != xxh3.HashString(c.want) {
			t.Errorf("%d/%d: %v %q %+v", c.op, c.partition, ok, got, p)
		}
	}
	for _, op := range []uint32{0, 13, 17, 20} {
		if _, ok := x.Find(op, 2); ok {
			t.Errorf("operation %d is in the pack", op)
		}
		if _, ok := x.Block(op); ok {
			t.Errorf("block %d is in the pack", op)
		}
	}
	whole, ok := x.Block(18)
	if got := string(data[whole.Offset : whole.Offset+whole.Length]); !ok || got != "stage 1 operation 18 partition 2stage 1 operation 18 partition 9!" || len(whole.Parts) != 2 {
		t.Errorf("%q %+v", got, whole)
	}
}

func TestAPackIsTheSameHoweverItIsRead(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	fill(t, s, exec1, 0, 0, 30)
	addEmpty(t, s, 0, 7)
	pack := func() *Packing { return s.Pack(0, []stint.Range{ops(0, 30)}, PackSize, own(0)) }
	want, _, _, _ := packAll(t, pack())
	got, err := io.ReadAll(iotest.OneByteReader(pack()))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d: %v", len(got), len(want), err)
	}
}

func TestAPackTakesNoMoreThanItsRoomAndTheRestGoesIntoTheNext(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	fill(t, s, exec1, 0, 0, 10)
	var got []stint.Range
	packs := 0
	for rest := []stint.Range{ops(0, 10)}; len(rest) > 0; packs++ {
		var pack stint.Pack
		_, pack, _, rest = packAll(t, s.Pack(0, rest, 150, own(0))) // 63 bytes a block
		got = append(got, pack.Ops...)
	}
	want := []stint.Range{ops(0, 3), ops(3, 6), ops(6, 9), ops(9, 10)}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(stint.Range{})); d != "" || packs != 4 {
		t.Error(packs, d)
	}
}

func TestABlockThatIsNotWholeIsLeftOutOfThePack(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	data := fill(t, s, exec1, 0, 0, 4)
	idx, err := s.Index(exec1, 0, 1)
	if err == nil {
		_, err = data.WriteAt([]byte("X"), idx.Offset+idx.Length-1)
	}
	if err == nil {
		idx, err = s.Index(exec1, 0, 3)
	}
	if err == nil {
		err = data.Truncate(idx.Offset + 5)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, pack, lost, _ := packAll(t, s.Pack(0, []stint.Range{ops(0, 5)}, PackSize, own(0)))
	if d := cmp.Diff([]stint.Range{ops(1, 2), ops(3, 5)}, lost, cmpopts.IgnoreUnexported(stint.Range{})); d != "" {
		t.Error(d)
	}
	x := openPack(t, b, pack)
	if d := cmp.Diff([]stint.Range{ops(0, 1), ops(2, 3)}, x.Ops(), cmpopts.IgnoreUnexported(stint.Range{})); d != "" {
		t.Error(d)
	}
	if p, _ := x.Find(2, 9); string(b[p.Offset:p.Offset+p.Length]) != "stage 0 operation 2 partition 9!" {
		t.Error("what follows a block that was given up is not where the index says")
	}
}

func TestAPackHoldsBlocksUnderTheNamesOfWhoAsked(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	fill(t, s, exec2, 3, 100, 103)
	b, pack, _, _ := packAll(t, s.Pack(0, []stint.Range{ops(0, 3)}, PackSize, func(op uint32) Ref { return Ref{exec2, 3, op + 100} }))
	p, ok := openPack(t, b, pack).Find(1, 2)
	if got := string(b[p.Offset : p.Offset+p.Length]); !ok || got != "stage 3 operation 101 partition 2" {
		t.Error(got)
	}
}

func TestEveryChangeOfAnIndexIsFound(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	fill(t, s, exec1, 0, 0, 2)
	data, pack, _, _ := packAll(t, s.Pack(0, []stint.Range{ops(0, 2)}, PackSize, own(0)))
	for i := pack.Index; i < pack.Bytes; i++ {
		b := bytes.Clone(data)
		b[i] ^= 1
		if _, err := ReadPackIndex(bytes.NewReader(b), pack); stint.CodeOf(err) != stint.Lost {
			t.Fatalf("byte %d of %d: %v", i, pack.Bytes, err)
		}
	}
	for n := range data {
		if _, err := ReadPackIndex(bytes.NewReader(data[:n]), pack); stint.CodeOf(err) != stint.Lost {
			t.Fatalf("%d bytes of %d: %v", n, pack.Bytes, err)
		}
	}
	for _, change := range []func(*stint.Pack){
		func(p *stint.Pack) { p.Index++ }, func(p *stint.Pack) { p.Index = -1 }, func(p *stint.Pack) { p.Index = p.Bytes },
		func(p *stint.Pack) { p.Sum++ }, func(p *stint.Pack) { p.Stage++ }, func(p *stint.Pack) { p.Bytes++ }, func(p *stint.Pack) { p.Bytes-- },
		func(p *stint.Pack) { p.Ops = []stint.Range{ops(0, 1)} },
	} {
		p := pack
		change(&p)
		if _, err := ReadPackIndex(bytes.NewReader(data), p); err == nil {
			t.Errorf("%+v is taken for %+v", pack, p)
		}
	}
	if _, err := ReadPackIndex(failingReaderAt{}, pack); err == nil || stint.CodeOf(err) == stint.Lost {
		t.Errorf("storage that cannot be read: %v", err)
	}
}

type failingReaderAt struct{}

func (failingReaderAt) ReadAt([]byte, int64) (int, error) { return 0, errors.New("no connection") }

func FuzzPackIndex(f *testing.F) {
	x := Index{Segment: 3, Offset: 5, Length: 30, Parts: []PartIndex{{Partition: 1, Length: 10, Records: 1, Sum: 7}, {Partition: 9, Offset: 10, Length: 20, Records: 2, Sum: 8}}}
	b := appendPacked(nil, x)
	f.Add(b, int64(35))
	x.Segment = 4
	f.Add(appendPacked(b, x), int64(100))
	f.Add(appendPacked(appendPacked(nil, x), Index{Segment: 3}), int64(100)) // out of order
	f.Add(b, int64(34))                                                      // beyond the end
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, b []byte, end int64) {
		x, err := decodePackIndex(b, end)
		if err != nil {
			return
		}
		var again []byte
		for _, r := range x.Ops() {
			for op := r.From; op < r.To; op++ {
				idx, ok := x.Block(op)
				if !ok || idx.Offset+idx.Length > end {
					t.Fatalf("operation %d: %+v", op, idx)
				}
				for _, p := range idx.Parts {
					found, ok := x.Find(op, p.Partition)
					p.Offset += idx.Offset
					if !ok || found != p {
						t.Fatalf("%+v is found as %+v", p, found)
					}
				}
				idx.Segment = op
				again = appendPacked(again, idx)
			}
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x becomes %x", b, again)
		}
	})
}

// copyAll copies all blocks of one stage from one store to another.
func copyAll(t *testing.T, from, to *Store, stage int) {
	t.Helper()
	c, err := to.CreateCopies(exec1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for _, r := range from.Completed(exec1, stage) {
		for op := r.From; op < r.To; op++ {
			section, idx, err := from.OpenWhole(exec1, stage, op)
			if err == nil {
				err = c.Add(stage, op, idx.Parts, section)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestCopiesAreReadLikeWhatWasWrittenHereAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	from, dir := openStore(t, t.TempDir()), t.TempDir()
	fill(t, from, exec1, 1, 5, 9)
	addEmpty(t, from, 1, 9)
	to := openStore(t, dir)
	copyAll(t, from, to, 1)
	again := openStore(t, dir)
	if err := again.ReadCopies(exec1, func(c Copied) error { return again.Add(exec1, c.Stage, c.Op, c.Block) }); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Store{"at once": to, "opened again": again} {
		if d := cmp.Diff([]stint.Range{ops(5, 10)}, s.Completed(exec1, 1), cmpopts.IgnoreUnexported(stint.Range{})); d != "" {
			t.Error(name, d)
		}
		r, records, _, err := s.Open(exec1, 1, 8, 9)
		if err != nil {
			t.Fatal(name, err)
		}
		if b, _ := io.ReadAll(r); string(b) != "stage 1 operation 8 partition 9!" || records != 2 {
			t.Errorf("%s: %q %d", name, b, records)
		}
		if bad, err := s.Verify(t.Context(), exec1, true); err != nil || bad != nil {
			t.Error(name, bad, err)
		}
	}
	if logs, err := again.Logs(exec1); err != nil || len(logs) > 0 {
		t.Errorf("the log of copies is taken for a worker's: %v %v", logs, err)
	}
}

func TestATornLogOfCopiesCountsAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	from, dir := openStore(t, t.TempDir()), t.TempDir()
	fill(t, from, exec1, 0, 0, 3)
	copyAll(t, from, openStore(t, dir), 0)
	path := filepath.Join(dir, string(exec1), "1.copies")
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, b[:len(b)-3], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []uint32
	err = openStore(t, dir).ReadCopies(exec1, func(c Copied) error {
		got = append(got, c.Op)
		return nil
	})
	if err != nil || !slices.Equal(got, []uint32{0, 1}) {
		t.Error(got, err)
	}
}

func TestACopyOfAlteredOrMissingBytesIsRefusedAndTheNextFollowsTheLast(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	c, err := s.CreateCopies(exec1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	parts := []PartIndex{{Partition: 1, Length: 4, Records: 1, Sum: xxh3.HashString("good")}, {Partition: 2, Length: 3, Records: 1, Sum: xxh3.HashString("end")}}
	add := func(op uint32, data string) error { return c.Add(0, op, parts, bytes.NewReader([]byte(data))) }
	if err := add(0, "goodend"); err != nil {
		t.Fatal(err)
	}
	if err := add(1, "goodEnd"); stint.CodeOf(err) != stint.Lost {
		t.Error(err)
	}
	if err := add(2, "good"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if err := add(3, "goodend"); err != nil {
		t.Fatal(err)
	}
	if idx, err := s.Index(exec1, 0, 3); err != nil || idx.Offset != 7 {
		t.Error(idx, err)
	}
	for op := range uint32(2) {
		if _, err := s.Index(exec1, 0, op+1); stint.CodeOf(err) != stint.NotFound {
			t.Errorf("operation %d: %v", op+1, err)
		}
	}
	if bad, err := s.Verify(context.WithoutCancel(t.Context()), exec1, true); err != nil || bad != nil {
		t.Error(bad, err)
	}
}

func TestOnlyFullSegmentsOfWhichNothingIsNeededAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	s.full = 63 * 4              // four of fill's blocks
	fill(t, s, exec1, 0, 0, 4)   // segment 1: nothing is needed
	fill(t, s, exec1, 0, 4, 8)   // segment 2: one block is
	fill(t, s, exec1, 0, 8, 10)  // segment 3: not full
	fill(t, s, exec1, 1, 10, 14) // segment 4: of a stage that is needed
	unneeded := []stint.StageOps{{Stage: 0, Ops: []stint.Range{ops(0, 5), ops(6, 10)}}}
	if got := s.BytesOf(exec1, unneeded); got != 9*63 {
		t.Errorf("%d bytes are not needed", got)
	}
	if _, _, _, err := s.Open(exec1, 0, 0, 2); err != nil { // the segment is open
		t.Fatal(err)
	}
	if early, err := s.RemoveSegments(exec1, unneeded); early != nil || err != nil {
		t.Error("removed while they are written to:", early, err)
	}
	s.GiveUp(exec1, 1, 2, 3, 4)
	s.GiveUp(exec2, 1) // which is not here
	removed, err := s.RemoveSegments(exec1, unneeded)
	if d := cmp.Diff([]stint.StageOps{{Stage: 0, Ops: []stint.Range{ops(0, 4)}}}, removed, cmpopts.IgnoreUnexported(stint.Range{})); d != "" || err != nil {
		t.Error(d, err)
	}
	for id, want := range map[string]bool{"1": false, "2": true, "3": true, "4": true} {
		if _, err := os.Stat(filepath.Join(dir, string(exec1), id+".seg")); (err == nil) != want {
			t.Errorf("segment %s: %v", id, err)
		}
	}
	if _, err := s.Index(exec1, 0, 3); stint.CodeOf(err) != stint.NotFound {
		t.Error(err)
	}
	if _, err := s.Index(exec1, 0, 4); err != nil {
		t.Error(err)
	}
	before, err := s.BytesOn(exec1)
	if err != nil || before < 63*10 {
		t.Error(before, err)
	}
	if again, err := s.RemoveSegments(exec1, unneeded); again != nil || err != nil {
		t.Error(again, err)
	}
}

func TestCopiesAreNotRemovedWhileBlocksAreAddedToThem(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	s.full = 4
	c, err := s.CreateCopies(exec1)
	check(t, err)
	parts := []PartIndex{{Length: 4, Records: 1, Sum: xxh3.HashString("copy")}}
	for op := range uint32(2) {
		check(t, c.Add(0, op, parts, strings.NewReader("copy")))
		if removed, err := s.RemoveSegments(exec1, []stint.StageOps{{Ops: []stint.Range{ops(0, 2)}}}); removed != nil || err != nil {
			t.Error(removed, err)
		}
	}
	if bad, err := s.Verify(t.Context(), exec1, true); bad != nil || err != nil {
		t.Error(bad, err)
	}
	check(t, c.Close())
	if removed, err := s.RemoveSegments(exec1, []stint.StageOps{{Ops: []stint.Range{ops(0, 2)}}}); len(removed) != 1 || err != nil {
		t.Error(removed, err)
	}
}
