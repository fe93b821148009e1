package block

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/zeebo/xxh3"

	"stint/internal/wire"
)

var ignoreMarks = cmpopts.IgnoreUnexported(Index{}, PartIndex{})

// pieces are what is written to one partition, call by call.
type pieces struct {
	partition uint32
	writes    [][]byte
}

func (p pieces) all() []byte { return bytes.Join(p.writes, nil) }

func writeBlock(w *Writer, parts []pieces) (Index, error) {
	if err := w.Begin(); err != nil {
		return Index{}, err
	}
	for _, p := range parts {
		out, err := w.Partition(p.partition)
		if err != nil {
			return Index{}, err
		}
		for _, b := range p.writes {
			if _, err := out.Write(b); err != nil {
				return Index{}, err
			}
			w.AddRecords(1)
		}
	}
	return w.Commit()
}

// expect is the index that a block must get, made the simplest way.
func expect(segment uint32, offset int64, parts []pieces) Index {
	x := Index{Segment: segment, Offset: offset}
	for _, p := range parts {
		if b := p.all(); len(b) > 0 {
			x.Parts = append(x.Parts, PartIndex{Partition: p.partition, Offset: x.Length, Length: int64(len(b)), Records: int64(len(p.writes)), Sum: xxh3.Hash(b)})
			x.Length += int64(len(b))
		}
	}
	return x
}

func randomParts(r *rand.Rand) []pieces {
	var parts []pieces
	p := uint32(0)
	for range r.IntN(6) {
		p += 1 + r.Uint32N(1000)
		part := pieces{partition: p}
		for range r.IntN(5) {
			b := make([]byte, []int{0, 1, 100, bufferSize - 1, bufferSize, bufferSize + 1}[r.IntN(6)])
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			part.writes = append(part.writes, b)
		}
		parts = append(parts, part)
	}
	return parts
}

func createSegment(tb testing.TB) *os.File {
	tb.Helper()
	f, err := os.Create(filepath.Join(tb.TempDir(), "1.seg"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	})
	return f
}

func TestBlocksFollowEachOtherAndIndexSaysWhatIsInThem(t *testing.T) {
	t.Parallel()
	f := createSegment(t)
	w := NewWriter(f, 7, 0)
	r := rand.New(rand.NewPCG(1, 2))
	var want []byte
	for i := range 40 {
		parts := randomParts(r)
		got, err := writeBlock(w, parts)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(expect(7, int64(len(want)), parts), got, ignoreMarks); d != "" {
			t.Fatal(i, d)
		}
		if err := got.check(); err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			want = append(want, p.all()...)
		}
		if w.Size() != int64(len(want)) {
			t.Fatal(w.Size(), len(want))
		}
		if i%3 == 0 { // a block that is given up, in two ways, leaves nothing
			if _, err := w.Partition(1); err == nil {
				t.Fatal("partition of no block")
			}
			giveUp(t, w, randomParts(r))
			if i%2 == 0 {
				if err := w.Discard(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := w.Discard(); err != nil {
		t.Fatal(err)
	}
	checkFile(t, f, want)
}

func giveUp(t *testing.T, w *Writer, parts []pieces) {
	t.Helper()
	if err := w.Begin(); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		out, err := w.Partition(p.partition)
		if err == nil {
			_, err = out.Write(p.all())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkFile(t *testing.T, f *os.File, want []byte) {
	t.Helper()
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("segment has %d bytes, want %d; %v", len(got), len(want), err)
	}
}

func TestWriterGoesOnBehindTheSizeItIsGiven(t *testing.T) {
	t.Parallel()
	f := createSegment(t)
	if _, err := f.WriteString("committed, and a torn rest of what was not"); err != nil {
		t.Fatal(err)
	}
	parts := []pieces{{0, [][]byte{[]byte("a block that is longer than the torn rest was")}}}
	x, err := writeBlock(NewWriter(f, 1, 9), parts)
	if err != nil || x.Offset != 9 {
		t.Fatal(x, err)
	}
	checkFile(t, f, append([]byte("committed"), parts[0].all()...))
}

func TestEmptyBlockHasAnIndexAndNoBytes(t *testing.T) {
	t.Parallel()
	w := NewWriter(createSegment(t), 1, 0)
	for _, parts := range [][]pieces{nil, {{0, nil}}, {{3, [][]byte{{}}}}} {
		x, err := writeBlock(w, parts)
		if d := cmp.Diff(Index{Segment: 1}, x, ignoreMarks); d != "" || err != nil {
			t.Fatal(d, err)
		}
	}
}

func TestPartitionsOutOfOrderCannotBeCommitted(t *testing.T) {
	t.Parallel()
	for _, second := range []uint32{0, 4, 5} {
		w := NewWriter(createSegment(t), 1, 0)
		_, err := writeBlock(w, []pieces{{5, [][]byte{[]byte("a")}}, {second, [][]byte{[]byte("b")}}})
		if err == nil {
			t.Fatal("partition", second, "after 5")
		}
		if _, err := w.Commit(); err == nil {
			t.Fatal("committed")
		}
		if x, err := writeBlock(w, []pieces{{second, [][]byte{[]byte("b")}}}); err != nil || x.Offset != 0 {
			t.Fatal("the next block suffers:", x, err)
		}
	}
}

// fullDisk is a segment on a disk with so much room.
type fullDisk struct {
	data  []byte
	room  int
	short bool // it does not say so
}

func (d *fullDisk) WriteAt(b []byte, off int64) (int, error) {
	n := max(min(len(b), d.room-int(off)), 0)
	d.data = append(d.data[:min(int(off), len(d.data))], b[:n]...)
	if n < len(b) && !d.short {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (d *fullDisk) Truncate(n int64) error {
	d.data = d.data[:n]
	return nil
}

func (*fullDisk) Name() string { return "/data/1.seg" }

func TestBlockThatDoesNotFitLeavesTheOthersWhole(t *testing.T) {
	t.Parallel()
	first := []pieces{{0, [][]byte{[]byte("first")}}}
	second := []pieces{{1, [][]byte{make([]byte, 100), make([]byte, bufferSize)}}, {2, [][]byte{make([]byte, 2*bufferSize), make([]byte, 7)}}}
	total := 5 + 100 + 3*bufferSize + 7
	for room := 5; room < total; room += 12345 {
		disk := &fullDisk{room: room, short: room%2 == 0}
		w := newWriter(disk, 1, 0)
		if _, err := writeBlock(w, first); err != nil {
			t.Fatal(err)
		}
		if _, err := writeBlock(w, second); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, io.ErrShortWrite) {
			t.Fatal(room, err)
		}
		if err := w.Discard(); err != nil || string(disk.data) != "first" {
			t.Fatal(room, err, len(disk.data))
		}
		disk.room = total
		x, err := writeBlock(w, second)
		if d := cmp.Diff(expect(1, 5, second), x, ignoreMarks); d != "" || err != nil || len(disk.data) != total {
			t.Fatal(room, d, err)
		}
	}
}

func TestErrorsNameTheSegment(t *testing.T) {
	t.Parallel()
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = writeBlock(NewWriter(f, 1, 0), []pieces{{0, [][]byte{[]byte("x")}}})
	if !errors.Is(err, syscall.ENOSPC) || !bytes.Contains([]byte(err.Error()), []byte("/dev/full")) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestIndexOfOnePartTakesFewBytesInALog(t *testing.T) {
	t.Parallel()
	x := expect(3, 1<<27, []pieces{{4, [][]byte{make([]byte, 1000)}}})
	b, err := wire.Marshal(x)
	if err != nil || len(b) > 32 {
		t.Fatal(len(b), err)
	}
	var back Index
	if err := wire.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(x, back, ignoreMarks); d != "" {
		t.Fatal(d)
	}
}

func BenchmarkSmallBlocks(b *testing.B) {
	w := NewWriter(createSegment(b), 1, 0)
	parts := []pieces{{0, [][]byte{make([]byte, 100)}}}
	for b.Loop() {
		if _, err := writeBlock(w, parts); err != nil {
			b.Fatal(err)
		}
		w.size, w.end = 0, 0
	}
}

func BenchmarkLargeBlocks(b *testing.B) {
	w := NewWriter(createSegment(b), 1, 0)
	part := pieces{writes: make([][]byte, 256)}
	for i := range part.writes {
		part.writes[i] = make([]byte, 64<<10)
	}
	b.SetBytes(16 << 20)
	for b.Loop() {
		if _, err := writeBlock(w, []pieces{part}); err != nil {
			b.Fatal(err)
		}
		w.size, w.end = 0, 0
	}
}
