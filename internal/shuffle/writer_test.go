package shuffle

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func newWriter(tb testing.TB, cfg Config) *Writer {
	tb.Helper()
	if cfg.Dir == "" {
		cfg.Dir = tb.TempDir()
	}
	w, err := NewWriter(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.Close(); err != nil {
			tb.Error(err)
		}
	})
	return w
}

// emitRandom emits n records and returns them as the model has them.
func emitRandom(t *testing.T, w *Writer, n int, key func(*rand.Rand) []byte) []rec {
	t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(n)))
	list := make([]rec, n)
	for i := range list {
		k := key(r)
		v := []byte(strconv.Itoa(i)) // unlike all others: shows the order among equal keys
		switch r.IntN(50) {
		case 0:
			v = nil
		case 1:
			v = []byte{}
		case 2:
			v = append(v, make([]byte, r.IntN(3000))...)
		}
		list[i] = rec{w.cfg.Partition(k, w.cfg.Partitions), string(k), val(v)}
		if err := w.Emit(k, v); err != nil {
			t.Fatal(err)
		}
		clear(k) // the writer has its own copy
		clear(v)
	}
	if w.Records() != int64(n) {
		t.Fatalf("%d records, want %d", w.Records(), n)
	}
	return list
}

func TestRecordsComeOutAsTheModelSortsThem(t *testing.T) {
	t.Parallel()
	for name, key := range keySets() {
		for _, n := range []int{0, 1, 2, 23, 24, 95, 96, 1000, 20000} {
			for _, partitions := range []uint32{1, 7, 1000} {
				t.Run(name+"/"+strconv.Itoa(n)+"/"+strconv.Itoa(int(partitions)), func(t *testing.T) {
					t.Parallel()
					w := newWriter(t, Config{Partitions: partitions, Budget: 64 << 20})
					want := model(emitRandom(t, w, n, key))
					out := newOutput()
					if err := w.Finish(out); err != nil {
						t.Fatal(err)
					}
					if len(w.spills) > 0 {
						t.Fatal("it spilled")
					}
					if d := diff(want, out.records(t)); d != "" {
						t.Fatal(d)
					}
				})
			}
		}
	}
}

func TestSpillsChangeNothing(t *testing.T) {
	t.Parallel()
	for name, key := range keySets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWriter(t, Config{Partitions: 5, Budget: 1})
			want := model(emitRandom(t, w, 60000, key))
			if len(w.spills) < 2 {
				t.Fatalf("%d spills", len(w.spills))
			}
			out := newOutput()
			if err := w.Finish(out); err != nil {
				t.Fatal(err)
			}
			if d := diff(want, out.records(t)); d != "" {
				t.Fatal(d)
			}
		})
	}
}

func TestManySpillsAreMergedInSteps(t *testing.T) {
	t.Parallel()
	w := newWriter(t, Config{Partitions: 2, Budget: 1})
	value := bytes.Repeat([]byte("v"), 100<<10)
	const n = 240
	for i := range n {
		if err := w.Emit([]byte(strconv.Itoa(i*7%n)), value); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.spills) <= w.merge.fan() {
		t.Fatalf("%d spills, %d are merged at once", len(w.spills), w.merge.fan())
	}
	out := newOutput()
	if err := w.Finish(out); err != nil {
		t.Fatal(err)
	}
	list := out.records(t)
	if d := diff(model(list), list); d != "" || len(list) != n {
		t.Fatal(len(list), d)
	}
}

func TestCombinedValuesDoNotDependOnMemory(t *testing.T) {
	t.Parallel()
	for _, budget := range []int64{1, 64 << 20} {
		w := newWriter(t, Config{Partitions: 3, Budget: budget, Combine: sum})
		r := rand.New(rand.NewPCG(5, 5))
		var list []rec
		for i := range 60000 {
			k := strconv.Itoa(r.IntN(15000)) + "-of-many-keys"
			v := "00" + strconv.Itoa(i%10) // combined even if it is alone
			list = append(list, rec{HashPartition([]byte(k), 3), k, "=" + v})
			if err := w.Emit([]byte(k), []byte(v)); err != nil {
				t.Fatal(err)
			}
		}
		if spilled := len(w.spills) > 0; spilled != (budget == 1) {
			t.Fatal("spilled:", spilled)
		}
		out := newOutput()
		if err := w.Finish(out); err != nil {
			t.Fatal(err)
		}
		if d := diff(sumModel(list), out.records(t)); d != "" {
			t.Fatal(d)
		}
	}
}

func TestErrorOfCombinerEndsFinish(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 100000} {
		w := newWriter(t, Config{Partitions: 1, Combine: sum})
		err := w.Emit([]byte("k"), []byte("not a number"))
		for range n {
			err = errors.Join(err, w.Emit([]byte("k"), []byte("1")))
		}
		if err := errors.Join(err, w.Finish(newOutput())); !errors.Is(err, strconv.ErrSyntax) {
			t.Fatal(err)
		}
	}
}

func TestVisitedSourcesNeedNotBeReadToTheEnd(t *testing.T) {
	t.Parallel()
	for _, n := range []int{100, 50000} {
		w := newWriter(t, Config{Partitions: 4})
		want := model(emitRandom(t, w, n, keySets()["urls"]))
		var firsts []rec
		for i, r := range want {
			if i == 0 || want[i-1].Partition != r.Partition {
				firsts = append(firsts, r)
			}
		}
		var got []rec
		err := w.Visit(func(p uint32, src Source) error {
			k, v, err := src.Next()
			got = append(got, rec{p, string(k), val(v)})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(firsts, got); d != "" {
			t.Fatal(d)
		}
	}
}

func TestWriterIsUsedAgainAfterReset(t *testing.T) {
	t.Parallel()
	w := newWriter(t, Config{Partitions: 3})
	for i, n := range []int{10, 40000, 0, 500, 40000, 1} {
		want := model(emitRandom(t, w, n, keySets()["random"]))
		if i%2 == 0 { // an operation that is given up leaves nothing
			out := newOutput()
			if err := w.Finish(out); err != nil {
				t.Fatal(err)
			}
			if d := diff(want, out.records(t)); d != "" {
				t.Fatal(i, d)
			}
		}
		if err := w.Reset(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMemoryStaysWithinTheBudget(t *testing.T) {
	t.Parallel()
	const budget = 4 << 20
	for _, size := range []int{0, 1, 100, 5000, 300 << 10} {
		w := newWriter(t, Config{Partitions: 1, Budget: budget})
		value := make([]byte, size)
		for range min(200000, 40<<20/(size+1)) {
			if err := w.Emit([]byte("k"), value); err != nil {
				t.Fatal(err)
			}
			if held := w.arena.held + int64(cap(w.entries))*bytesOfEntry; held > budget {
				t.Fatalf("values of %d bytes: %d held", size, held)
			}
		}
	}
}

func TestSpillFilesHaveNoName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWriter(t, Config{Partitions: 1, Dir: dir})
	emitRandom(t, w, 60000, keySets()["random"])
	entries, err := os.ReadDir(dir)
	if len(w.spills) == 0 || len(entries) > 0 || err != nil {
		t.Fatal(len(w.spills), entries, err)
	}
}

func TestLongestRecordsPassAndLongerOnesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWriter(t, Config{Partitions: 1, Budget: 1})
	long := bytes.Repeat([]byte("x"), MaxValue+1)
	if err := w.Emit(long[:MaxKey], long[:MaxValue]); err != nil {
		t.Fatal(err)
	}
	if err := w.Emit([]byte("a"), []byte("small")); err != nil {
		t.Fatal(err)
	}
	if err := w.Emit(long[:MaxKey+1], nil); stint.CodeOf(err) != stint.Failed || !strings.Contains(err.Error(), "record 3 ") {
		t.Fatal(err)
	}
	if err := w.Emit([]byte("k"), long); stint.CodeOf(err) != stint.Failed || len(err.Error()) > 200 {
		t.Fatal(err)
	}
	out := newOutput()
	if err := w.Finish(out); err != nil {
		t.Fatal(err)
	}
	list := out.records(t)
	if len(list) != 2 || list[0].Key != "a" || len(list[1].Value) != MaxValue+1 {
		t.Fatal("records changed")
	}
}

func TestPartitionsOutOfRangeAreRefused(t *testing.T) {
	t.Parallel()
	for _, n := range []uint32{0, MaxPartitions + 1} {
		if _, err := NewWriter(Config{Partitions: n}); stint.CodeOf(err) != stint.Invalid {
			t.Fatal(n, err)
		}
	}
	w := newWriter(t, Config{Partitions: 2, Partition: func([]byte, uint32) uint32 { return 2 }})
	if err := w.Emit(nil, nil); stint.CodeOf(err) != stint.Internal {
		t.Fatal(err)
	}
	w = newWriter(t, Config{Partitions: MaxPartitions, Partition: func(k []byte, n uint32) uint32 { return n - 1 - uint32(k[0]) }})
	if err := errors.Join(w.Emit([]byte{0}, nil), w.Emit([]byte{1}, nil)); err != nil {
		t.Fatal(err)
	}
	out := newOutput()
	if err := w.Finish(out); err != nil || !cmp.Equal(out.parts, []uint32{MaxPartitions - 2, MaxPartitions - 1}) {
		t.Fatal(err, out.parts)
	}
}

// fullDisk is a file that takes so many bytes and no more.
type fullDisk struct {
	bytes.Buffer
	room  int
	short bool // it does not say so
}

func (d *fullDisk) Write(b []byte) (int, error) {
	n := min(len(b), d.room)
	d.room -= n
	d.Buffer.Write(b[:n])
	if n < len(b) && !d.short {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (d *fullDisk) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(d.Bytes()).ReadAt(b, off)
}
func (*fullDisk) Close() error { return nil }

type fullOutput struct {
	memoryOutput
	disk *fullDisk
}

func (o *fullOutput) Partition(p uint32) (io.Writer, error) {
	o.parts = append(o.parts, p)
	return o.disk, nil
}

func TestFullDiskEndsFinishWhereverItIsFull(t *testing.T) {
	t.Parallel()
	finish := func(disk *fullDisk) error {
		w := newWriter(t, Config{Partitions: 3})
		emitRandom(t, w, 2000, keySets()["urls"])
		return w.Finish(&fullOutput{memoryOutput: *newOutput(), disk: disk})
	}
	enough := &fullDisk{room: 1 << 30}
	if err := finish(enough); err != nil {
		t.Fatal(err)
	}
	for room := 0; room < enough.Len(); room += 9777 {
		if err := finish(&fullDisk{room: room}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(room, err)
		}
		if err := finish(&fullDisk{room: room, short: true}); !errors.Is(err, io.ErrShortWrite) {
			t.Fatal(room, err)
		}
	}
	if err := finish(&fullDisk{room: enough.Len()}); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsOfManyChunksStayApart(t *testing.T) {
	t.Parallel()
	w := newWriter(t, Config{Partitions: 2, Budget: 64 << 20})
	var want []rec
	for i := range 1500 {
		k := strconv.Itoa(i * 7919 % 1500)
		v := strconv.Itoa(i) + strings.Repeat("v", i*13%8000)
		if i%500 == 499 {
			v += strings.Repeat("w", 3<<20) // has a chunk of its own
		}
		want = append(want, rec{HashPartition([]byte(k), 2), k, "=" + v})
		if err := w.Emit([]byte(k), []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	out := newOutput()
	if err := w.Finish(out); err != nil || len(w.spills) > 0 {
		t.Fatal(err, len(w.spills))
	}
	if d := diff(model(want), out.records(t)); d != "" {
		t.Fatal(d)
	}
}

func TestFullScratchDiskIsReportedWithItsPlace(t *testing.T) {
	t.Parallel()
	for room := range 5 {
		w := newWriter(t, Config{Partitions: 1})
		w.scratch.file = &fullDisk{room: room << 18}
		var err error
		for i := 0; i < 100000 && err == nil; i++ {
			err = w.Emit([]byte(strconv.Itoa(i)), []byte("some value of some length"))
		}
		if err == nil {
			err = w.Finish(newOutput())
		}
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), w.cfg.Dir) {
			t.Fatal(err)
		}
	}
	w := newWriter(t, Config{Partitions: 1, Dir: t.TempDir() + "/missing"})
	var err error
	for i := 0; i < 100000 && err == nil; i++ {
		err = w.Emit([]byte("k"), []byte("some value of some length"))
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestDamagedSpillIsFound(t *testing.T) {
	t.Parallel()
	w := newWriter(t, Config{Partitions: 2})
	disk := &fullDisk{room: 1 << 30}
	w.scratch.file = disk
	emitRandom(t, w, 60000, keySets()["random"])
	disk.Bytes()[disk.Len()/3] ^= 4
	err := w.Finish(newOutput())
	var run *RunError
	if stint.CodeOf(err) != stint.Lost || errors.As(err, &run) {
		t.Fatal(err)
	}
}

func FuzzWriterAgainstModel(f *testing.F) {
	f.Add([]byte("a\tb\na\nb\t\n\n\t\n"), uint32(3))
	f.Add(bytes.Repeat([]byte("same key\t1\nsame kez\t2\n"), 100), uint32(1))
	f.Fuzz(func(t *testing.T, text []byte, partitions uint32) {
		w := newWriter(t, Config{Partitions: partitions%100 + 1})
		var list []rec
		for line := range bytes.SplitSeq(text, []byte("\n")) {
			k, v := ParseLine(line)
			list = append(list, rec{HashPartition(k, partitions%100+1), string(k), val(v)})
			if err := w.Emit(k, v); err != nil {
				t.Fatal(err)
			}
		}
		out := newOutput()
		if err := w.Finish(out); err != nil {
			t.Fatal(err)
		}
		if d := diff(model(list), out.records(t)); d != "" {
			t.Fatal(d)
		}
	})
}
