package shuffle

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/zeebo/xxh3"

	"stint"
)

// makeRuns makes sorted runs in one file and returns them with what the merge must give.
func makeRuns(k, n int, key func(*rand.Rand) []byte) (runs []Run, want []rec, file []byte) {
	r := rand.New(rand.NewPCG(uint64(k), uint64(n)))
	file = []byte("something before")
	for i := range k {
		var list []rec
		for j := range r.IntN(2*n + 1) {
			list = append(list, rec{0, string(key(r)), "=" + strconv.Itoa(i) + "." + strconv.Itoa(j)})
		}
		list = model(list)
		start := len(file)
		for _, rc := range list {
			file = AppendRecord(file, []byte(rc.Key), []byte(rc.Value[1:]))
		}
		runs = append(runs, Run{Offset: int64(start), Length: int64(len(file) - start), Order: uint32(i), Sum: xxh3.Hash(file[start:])})
		want = append(want, list...)
	}
	for i := range runs {
		runs[i].R = bytes.NewReader(file)
	}
	return runs, model(want), file
}

func TestMergeIsAsTheModelSorts(t *testing.T) {
	t.Parallel()
	for name, key := range keySets() {
		for _, c := range []struct{ k, n int }{{0, 0}, {1, 50}, {2, 5000}, {3, 0}, {17, 300}, {40, 2000}, {300, 20}, {300, 200}} {
			t.Run(name+"/"+strconv.Itoa(c.k)+"x"+strconv.Itoa(c.n), func(t *testing.T) {
				t.Parallel()
				runs, want, _ := makeRuns(c.k, c.n, key)
				rand.New(rand.NewPCG(1, 2)).Shuffle(len(runs), func(i, j int) { runs[i], runs[j] = runs[j], runs[i] })
				before := slices.Clone(runs)
				m, err := NewMerge(runs, MergeConfig{Dir: t.TempDir()})
				if err != nil {
					t.Fatal(err)
				}
				got, err := drain(m)
				if err != nil {
					t.Fatal(err)
				}
				if d := diff(want, got); d != "" {
					t.Fatal(d)
				}
				if _, _, err := m.Next(); !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				if err := errors.Join(m.Close(), m.Close()); err != nil {
					t.Fatal(err)
				}
				if _, _, err := m.Next(); err == nil || errors.Is(err, io.EOF) {
					t.Fatal("read after Close:", err)
				}
				if !slices.Equal(before, runs) {
					t.Fatal("the caller's runs were changed")
				}
			})
		}
	}
}

func TestRunsThatFitAreReadAtOnceAndOthersInSteps(t *testing.T) {
	t.Parallel()
	small, _, _ := makeRuns(1000, 5, keySets()["words"])
	m, err := NewMerge(small, MergeConfig{Budget: 8 << 20, Dir: t.TempDir()})
	if err != nil || m.scratch.file != nil {
		t.Fatal("small runs were written to disk", err)
	}
	large, want, _ := makeRuns(40, 4000, keySets()["words"])
	m, err = NewMerge(large, MergeConfig{Dir: t.TempDir()})
	if err != nil || m.scratch.file == nil || len(m.cursors) != m.fan() {
		t.Fatal("too many runs at once", err)
	}
	if int64(cap(m.buffers)) > minBudget {
		t.Fatalf("%d bytes of buffers", cap(m.buffers))
	}
	got, err := drain(m)
	if d := diff(want, got); d != "" || err != nil {
		t.Fatal(err, d)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAsFewAndAsShortRunsAsPossibleAreMergedFirst(t *testing.T) {
	t.Parallel()
	const short = 7
	runs := make([]Run, 20) // four more than go at once: five of them must become one
	for i := range runs {
		b := AppendRecord(nil, []byte{byte(i)}, make([]byte, 100<<10))
		if i >= short && i < short+5 {
			b = AppendRecord(nil, []byte{byte(i)}, nil)
		}
		runs[i] = Run{R: bytes.NewReader(b), Length: int64(len(b)), Order: uint32(i), Sum: xxh3.Hash(b)}
	}
	m, err := NewMerge(runs, MergeConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.cursors) != 16 || m.scratch.size != 5*3 || m.cursors[short].order != short || m.cursors[short+1].order != short+5 {
		t.Fatalf("%d runs at once, %d bytes spilled", len(m.cursors), m.scratch.size)
	}
	if got, err := drain(m); err != nil || len(got) != 20 {
		t.Fatal(err, len(got))
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// joinModel is what a join gives: by key, and for one key by edge, operation and
// place, each record with its edge as its partition.
func joinModel(t *testing.T, runs []Run) []rec {
	t.Helper()
	runs = slices.Clone(runs)
	slices.SortStableFunc(runs, func(a, b Run) int {
		return cmp.Or(cmp.Compare(a.Edge, b.Edge), cmp.Compare(a.Order, b.Order))
	})
	var all []rec
	for _, r := range runs {
		b := make([]byte, r.Length)
		if _, err := r.R.ReadAt(b, r.Offset); err != nil {
			t.Fatal(err)
		}
		all = append(all, decodeAll(t, uint32(r.Edge), b)...)
	}
	slices.SortStableFunc(all, func(a, b rec) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// Runs of several edges, in any order, so many that they are merged in steps: what
// comes of one edge stays apart from what comes of another.
func TestRecordsOfAKeyComeByEdgeAndThenByOperation(t *testing.T) {
	t.Parallel()
	for name, key := range keySets() {
		for _, edges := range [][]int{{1}, {3, 4}, {0, 5}, {300, 40}, {20, 300, 1}, {1, 1, 700}} {
			t.Run(fmt.Sprint(name, edges), func(t *testing.T) {
				t.Parallel()
				total := 0
				for _, n := range edges {
					total += n
				}
				runs, _, _ := makeRuns(total, 60, key)
				i := 0
				for edge, n := range edges {
					for op := range n {
						runs[i].Edge, runs[i].Order = edge, uint32(op)
						i++
					}
				}
				r := rand.New(rand.NewPCG(4, uint64(total)))
				r.Shuffle(len(runs), func(i, j int) { runs[i], runs[j] = runs[j], runs[i] })
				want := joinModel(t, runs)
				m, err := NewMerge(runs, MergeConfig{Dir: t.TempDir()})
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close() //nolint:errcheck // its spill files have no name
				got := drainEdges(t, m)
				if d := diff(want, got); d != "" {
					t.Fatal(d)
				}
			})
		}
	}
}

func drainEdges(t *testing.T, m *Merge) []rec {
	t.Helper()
	var out []rec
	for {
		k, v, err := m.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rec{uint32(m.Edge()), string(k), val(v)})
	}
}

// One run of each edge is as few as there can be, whatever the budget.
func TestMoreEdgesThanBuffersAreMergedAtOnce(t *testing.T) {
	t.Parallel()
	runs, _, _ := makeRuns(40, 4000, keySets()["words"])
	for i := range runs {
		runs[i].Edge = i / 2
	}
	want := joinModel(t, runs)
	m, err := NewMerge(runs, MergeConfig{Dir: t.TempDir()})
	if err != nil || len(m.cursors) != 20 {
		t.Fatalf("%d runs at once: %v", len(m.cursors), err)
	}
	if d := diff(want, drainEdges(t, m)); d != "" {
		t.Fatal(d)
	}
	if err := m.Close(); err != nil || m.Edge() != 0 {
		t.Fatal(err, m.Edge())
	}
}

func TestADamagedRunIsNamedWithItsEdge(t *testing.T) {
	t.Parallel()
	runs, _, _ := makeRuns(4, 50, keySets()["words"])
	runs[3].Edge, runs[3].Order, runs[3].Sum = 1, 0, runs[3].Sum+1
	_, err := NewMerge(runs, MergeConfig{})
	e, ok := errors.AsType[*RunError](err)
	if !ok || e.Edge != 1 || e.Order != 0 || !strings.Contains(err.Error(), "operation 0 over edge 1") || stint.CodeOf(err) != stint.Lost {
		t.Fatal(err)
	}
}

func TestRecordLongerThanBuffersIsMerged(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("v"), 3<<20)
	var runs []Run
	for i := range 4 {
		b := AppendRecord(nil, []byte("a"), []byte(strconv.Itoa(i)))
		b = AppendRecord(b, []byte("b"), long)
		b = AppendRecord(b, []byte("c"), nil)
		runs = append(runs, Run{R: bytes.NewReader(b), Length: int64(len(b)), Order: uint32(i), Sum: xxh3.Hash(b)})
	}
	m, err := NewMerge(runs, MergeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := drain(m)
	if err != nil || len(got) != 12 || got[3].Value != "=3" || len(got[7].Value) != len(long)+1 || got[8] != (rec{0, "c", "-"}) {
		t.Fatal(err, len(got))
	}
}

func TestEveryFlippedBitOfARunIsFound(t *testing.T) {
	t.Parallel()
	runs, _, file := makeRuns(3, 10, keySets()["urls"])
	start := int(runs[0].Offset)
	for bit := start * 8; bit < len(file)*8; bit += 5 {
		file[bit/8] ^= 1 << (bit % 8)
		err := readMerge(runs, MergeConfig{})
		var run *RunError
		if !errors.As(err, &run) || stint.CodeOf(err) != stint.Lost {
			t.Fatalf("bit %d: %v", bit, err)
		}
		if r := runs[run.Order]; int64(bit/8) < r.Offset || int64(bit/8) >= r.Offset+r.Length {
			t.Fatalf("bit %d: blamed on %d", bit, run.Order)
		}
		file[bit/8] ^= 1 << (bit % 8)
	}
	if err := readMerge(runs, MergeConfig{}); err != nil {
		t.Fatal(err)
	}
}

func readMerge(runs []Run, cfg MergeConfig) error {
	m, err := NewMerge(runs, cfg)
	if err != nil {
		return err
	}
	_, err = drain(m)
	return errors.Join(err, m.Close())
}

func TestDamageIsFoundInRunsReadPieceByPiece(t *testing.T) {
	t.Parallel()
	runs, _, file := makeRuns(3, 30000, keySets()["random"])
	for _, at := range []int64{runs[0].Offset + 3, runs[1].Offset + runs[1].Length/2, runs[2].Offset + runs[2].Length - 1} {
		file[at] ^= 1
		if err := readMerge(runs, MergeConfig{}); stint.CodeOf(err) != stint.Lost {
			t.Fatalf("byte %d: %v", at, err)
		}
		file[at] ^= 1
	}
	if err := readMerge(runs, MergeConfig{}); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutChecksumDamageIsNoPanic(t *testing.T) {
	t.Parallel()
	sorted := AppendRecord(AppendRecord(nil, []byte("a"), nil), []byte("b"), nil)
	for name, b := range map[string][]byte{
		"cut short":    sorted[:len(sorted)-1],
		"out of order": AppendRecord(AppendRecord(nil, []byte("b"), nil), []byte("a"), nil),
		"key length":   {0xff, 0xff, 0xff, 0xff, 0x7f, 0},
		"over 60 MiB":  {0, 0x80, 0x80, 0x80, 0x1f},
	} {
		err := readMerge([]Run{{R: bytes.NewReader(b), Length: int64(len(b)), Order: 7}}, MergeConfig{})
		var run *RunError
		if !errors.As(err, &run) || run.Order != 7 || stint.CodeOf(err) != stint.Lost {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, r := range []Run{{Offset: -1, Length: 1}, {Length: -1}, {Offset: 1 << 62, Length: 1 << 62}} {
		r.R = bytes.NewReader(sorted)
		if err := readMerge([]Run{r}, MergeConfig{}); stint.CodeOf(err) != stint.Lost {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// failing reads nothing at all, or less than it was asked for without saying so.
type failing struct{ err error }

func (f failing) ReadAt(b []byte, _ int64) (int, error) { return len(b) / 2, f.err }

func TestErrorsOfReadersAreTheRuns(t *testing.T) {
	t.Parallel()
	for _, want := range []error{syscall.EIO, os.ErrClosed} {
		err := readMerge([]Run{{R: failing{want}, Length: 100, Order: 3}}, MergeConfig{})
		if !errors.Is(err, want) || stint.CodeOf(err) == stint.Lost || !strings.Contains(err.Error(), "operation 3") {
			t.Fatal(err)
		}
	}
	for _, short := range []error{nil, io.EOF} {
		if err := readMerge([]Run{{R: failing{short}, Length: 100}}, MergeConfig{}); stint.CodeOf(err) != stint.Lost {
			t.Fatal(err)
		}
	}
}

func TestMergeWithoutRoomForItsSpillsFails(t *testing.T) {
	t.Parallel()
	runs, _, _ := makeRuns(40, 2500, keySets()["random"])
	if err := readMerge(runs, MergeConfig{Dir: t.TempDir() + "/missing"}); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	m := &Merge{budget: minBudget, scratch: scratch{file: &fullDisk{room: 100000}}}
	if err := m.start(runs); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func FuzzMerge(f *testing.F) {
	_, _, file := makeRuns(3, 4, keySets()["words"])
	f.Add(file, uint16(20), uint16(40))
	f.Add([]byte("\x01\x00a\x01\x00b\x01\x00a"), uint16(3), uint16(6))
	f.Fuzz(func(t *testing.T, b []byte, x, y uint16) {
		i, j := min(int(x), int(y), len(b)), min(max(int(x), int(y)), len(b))
		var runs []Run
		for n, r := range [][2]int{{0, i}, {i, j}, {j, len(b)}} {
			runs = append(runs, Run{R: bytes.NewReader(b), Offset: int64(r[0]), Length: int64(r[1] - r[0]), Order: uint32(n)})
		}
		m, err := NewMerge(runs, MergeConfig{Dir: t.TempDir()})
		if err != nil {
			return
		}
		got, err := drain(m)
		var run *RunError
		if err != nil && (!errors.As(err, &run) || stint.CodeOf(err) != stint.Lost) {
			t.Fatal(err)
		}
		if err == nil && !slices.IsSortedFunc(got, func(a, b rec) int { return strings.Compare(a.Key[:min(7, len(a.Key))], b.Key[:min(7, len(b.Key))]) }) {
			t.Fatal("not sorted")
		}
	})
}
