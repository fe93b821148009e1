package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"stint"
	"stint/internal/split"
)

// bucket is an object that is read by ranges, and counts what is asked of it.
type bucket struct {
	content string
	mu      sync.Mutex
	asked   int
	sent    int64
	err     error // of the next request
	short   bool  // answers end before their time
}

func (b *bucket) open(_ context.Context, _ stint.Object, offset, length int64) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	b.sent += length
	if b.err != nil {
		return nil, b.err
	}
	end := offset + length
	if b.short {
		end = offset + length/2
	}
	return io.NopCloser(strings.NewReader(b.content[offset:end])), nil
}

// copyOf copies a piece and returns the file.
func copyOf(t *testing.T, b *bucket, p stint.Piece, f split.Format) (*os.File, error) {
	t.Helper()
	to, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { to.Close() }) //nolint:errcheck // only read
	return to, newCourier(b.open, 1, 0).copyTo(t.Context(), to, p, f)
}

func TestACopyReadsAsTheObjectItself(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]split.Format{
		"lines": {}, "Hadoop": {Hadoop: true}, "delimiter": {Delimiter: "ab"}, "overlapping": {Delimiter: "aa"}, "offsets": {Offsets: "\t"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(3, 9))
			for _, alphabet := range []string{"ab\n\r", "a", "0123456789abcdefghijklmnopqrstuvwxyz0123456789\n"} {
				b := make([]byte, 400_000)
				for i := range b {
					b[i] = alphabet[rng.IntN(len(alphabet))]
				}
				from, to := int64(rng.IntN(len(b))), int64(rng.IntN(len(b)))
				checkCopy(t, string(b), min(from, to), max(from, to), f)
			}
		})
	}
}

// checkCopy compares what a piece and a copy of it deliver, in small reads.
func checkCopy(t *testing.T, content string, from, to int64, f split.Format) {
	t.Helper()
	o := stint.Object{URL: "s3://b/k", Size: int64(len(content))}
	p := stint.Piece{Object: o, Offset: from, Length: to - from}
	file, err := copyOf(t, &bucket{content: content}, p, f)
	if err != nil {
		t.Fatal(err)
	}
	read := func(r io.ReaderAt) string {
		var b bytes.Buffer
		_, err := io.CopyBuffer(&b, struct{ io.Reader }{split.NewReader([]split.Input{{Piece: p, File: r}}, f, nil)}, make([]byte, 1000))
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got, want := read(file), read(strings.NewReader(content)); got != want {
		t.Errorf("bytes %d to %d: the copy delivers %d bytes, the object %d", from, to, len(got), len(want))
	}
}

func TestACopyTakesLittleMoreThanThePiece(t *testing.T) {
	t.Parallel()
	b := &bucket{content: strings.Repeat("0123456789\n", 1_000_000)}
	o := stint.Object{URL: "s3://b/k", Size: int64(len(b.content))}
	file, err := copyOf(t, b, stint.Piece{Object: o, Offset: 5_000_000, Length: 100_000}, split.Format{})
	if err != nil || b.asked != 1 || b.sent > 100_000+1+tailRequest {
		t.Errorf("%d requests for %d bytes, %v", b.asked, b.sent, err)
	}
	if info, err := file.Stat(); err != nil || info.Size() != o.Size {
		t.Errorf("the copy has another size: %v, %v", info, err)
	}
}

func TestALongRecordIsFollowedBehindThePiece(t *testing.T) {
	t.Parallel()
	content := "short\n" + strings.Repeat("x", 3_000_000) + "\nend\n" + strings.Repeat("y", 10_000_000)
	b := &bucket{content: content}
	o := stint.Object{URL: "s3://b/k", Size: int64(len(content))}
	file, err := copyOf(t, b, stint.Piece{Object: o, Length: 10}, split.Format{})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3_000_007)
	if _, err := file.ReadAt(got, 0); err != nil || string(got) != content[:len(got)] {
		t.Errorf("the copy is another, %v", err)
	}
	if b.asked > 12 || b.sent > 9_000_000 {
		t.Errorf("%d requests for %d bytes", b.asked, b.sent)
	}
}

func TestWholeObjectsAreCopiedWhole(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		format split.Format
	}{{"s3://b/k.gz", split.Format{}}, {"s3://b/k", split.Format{Split: stint.SplitFiles}}} {
		b := &bucket{content: "whatever it is, without an end of line"}
		o := stint.Object{URL: tc.name, Size: int64(len(b.content))}
		file, err := copyOf(t, b, stint.Piece{Object: o, Length: o.Size}, tc.format)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(file); err != nil || string(got) != b.content {
			t.Errorf("%s: the copy is %q, %v", tc.name, got, err)
		}
	}
}

func TestWhatKeepsACopyFromBeingMade(t *testing.T) {
	t.Parallel()
	o := stint.Object{URL: "s3://b/k", Size: 5}
	p := stint.Piece{Object: o, Length: 5}
	changed := &bucket{content: "a\nb\nc", err: stint.Errorf(stint.Invalid, "input changed: s3://b/k")}
	if _, err := copyOf(t, changed, p, split.Format{}); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "input changed") {
		t.Errorf("of a changed object: %v", err)
	}
	if _, err := copyOf(t, &bucket{content: "a\nb\nc", short: true}, p, split.Format{}); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("of an answer that ends: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := newCourier(changed.open, 1, 0)
	if !c.room.TryAcquire(1) {
		t.Fatal("a new courier has no room")
	}
	if _, err := c.begin(ctx, []stint.Piece{{Object: o, Length: minScratch}}); err == nil {
		t.Error("there is leave without room, and without anybody who waits for it")
	}
}

func TestACourierBoundsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	c := newCourier(nil, 2, 8*minScratch)
	piece := func(n int64) []stint.Piece { return []stint.Piece{{Object: stint.Object{URL: "s3://b/k"}, Length: n}} }
	var leaves []leave
	for i := range 2 * fetchesPerSlot {
		l, err := c.begin(t.Context(), piece(int64(i)))
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, l)
	}
	if c.fetches.TryAcquire(1) {
		t.Error("there is leave for more fetches than slots allow")
	}
	for _, l := range leaves {
		l.fetched()
		l.dropped()
		l.dropped() // does nothing
	}
	all, err := c.begin(t.Context(), piece(1<<60)) // more than there is room for
	if err != nil {
		t.Fatal(err)
	}
	if c.room.TryAcquire(1) {
		t.Error("there is room beside what takes all")
	}
	all.dropped()
	if !c.room.TryAcquire(2 * minScratch) {
		t.Error("a quarter of what is free is not free again")
	}
}

func TestOperationsWhoseInputIsFetchedAreMadeReadyAlone(t *testing.T) {
	t.Parallel()
	g := &stint.Grant{Ops: stint.Range{From: 10, To: 17}}
	for _, url := range []string{"file:///a", "file:///b", "s3://b/c", "https://h/d", "file:///e", "file:///f", "file:///g"} {
		g.Subsets = append(g.Subsets, stint.Subset{Pieces: []stint.Piece{{Object: stint.Object{URL: url}}}})
	}
	var got []string
	for r := range portions(Run{Grant: g, Ops: stint.Range{From: 10, To: 16}}) {
		got = append(got, fmt.Sprint(r.Ops.From, "-", r.Ops.To))
	}
	if want := "[10-12 12-13 13-14 14-16]"; fmt.Sprint(got) != want {
		t.Errorf("made ready as %v, want %s", got, want)
	}
}
