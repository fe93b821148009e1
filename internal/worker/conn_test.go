package worker_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/worker"
)

func TestMessagesArriveWithTheirDescriptorsInOrder(t *testing.T) {
	t.Parallel()
	a, b := socketPair(t)
	defer b.Close() //nolint:errcheck // the test is over
	dir := t.TempDir()
	counts := []int{0, 1, 2, 249, 250, 251, 0, 600, 3}
	sent := make(chan error, 1)
	go func() {
		defer a.Close() //nolint:errcheck // the test is over
		sent <- sendAll(a, dir, counts)
	}()
	n := 0
	for i, count := range counts {
		m, files, err := b.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != count || m.Perform == nil || int(m.Perform.Job) != i {
			t.Fatalf("message %d: %d descriptors, %+v", i, len(files), m.Perform)
		}
		for _, f := range files {
			text, err := io.ReadAll(f)
			if err != nil || string(text) != fmt.Sprint(n) {
				t.Fatalf("descriptor %d is of %q: %v", n, text, err)
			}
			_ = f.Close()
			n++
		}
	}
	if _, _, err := b.Receive(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// sendAll sends messages with so many descriptors, each of a file that holds
// its number.
func sendAll(c *worker.Conn, dir string, counts []int) error {
	n := 0
	for i, count := range counts {
		files := make([]*os.File, count)
		for k := range files {
			name := filepath.Join(dir, fmt.Sprint(n))
			if err := os.WriteFile(name, []byte(fmt.Sprint(n)), 0o600); err != nil {
				return err
			}
			var err error
			if files[k], err = os.Open(name); err != nil {
				return err
			}
			n++
		}
		if err := c.Send(worker.Message{Perform: &worker.Perform{Job: stint.JobID(i)}}, files); err != nil {
			return err
		}
		for _, f := range files {
			_ = f.Close()
		}
	}
	return nil
}

func TestEveryKindOfMessageSurvives(t *testing.T) {
	t.Parallel()
	a, b := socketPair(t)
	defer b.Close() //nolint:errcheck // the test is over
	defer a.Close() //nolint:errcheck // the test is over
	for _, want := range []worker.Message{
		{Setup: &worker.Setup{Spec: stint.Spec{Execution: "x-1"}, Slot: 3, Dir: "/d", Files: "/f", Memory: 1 << 40, Checkpoints: "/c"}},
		{Segment: &worker.SegmentFiles{ID: 4, Size: 1 << 33}},
		{Perform: &worker.Perform{Job: 1, Stage: 2, Attempt: 3, Orders: []worker.Order{
			{Op: 1, Subset: stint.Subset{Values: &stint.Values{First: -5, Count: 6}}},
			{Op: 2, Files: 2, Part: "p", Subset: stint.Subset{Pieces: []stint.Piece{{Object: stint.Object{URL: "file:///a", Size: 1, Version: "v"}, Offset: 2, Length: 3}}}},
			{Op: 3, Files: 1, Runs: []worker.Run{{File: 0, Op: 7, Offset: 1, Length: 2, Records: 3, Sum: 1<<64 - 1}}},
		}}},
		{Stop: &worker.Stop{Job: 9, Grace: 8}},
		{Events: &worker.Events{Records: records(), Status: []stint.StatusText{{Job: 1, Op: 2, Text: "t"}}}},
		{Events: &worker.Events{Dropped: []stint.Returned{{Job: 3, Ops: []stint.Range{{From: 1, To: 4}}}}}},
		{Events: &worker.Events{}},
		{Setup: &worker.Setup{Dir: strings.Repeat("long", 1<<20)}},
	} {
		sent := make(chan error, 1)
		go func() { sent <- a.Send(want, nil) }()
		got, files, err := b.Receive()
		if err = errors.Join(err, <-sent); err != nil || len(files) != 0 {
			t.Fatal(err, files)
		}
		if d := cmp.Diff(want, got, equal(), cmp.AllowUnexported(worker.Order{}, worker.Run{})); d != "" {
			t.Error(d)
		}
	}
}

func TestAMessageCutShortIsAnError(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"\x00", "\x00\x00\x00\x00\x05", "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff", "\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00"} {
		raw, b := rawPair(t)
		if _, err := raw.Write([]byte(bad)); err != nil {
			t.Fatal(err)
		}
		_ = raw.Close()
		if _, _, err := b.Receive(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%q: %v", bad, err)
		}
		_ = b.Close()
	}
}

func TestTheBeginningAndTheEndOfStderrAreKept(t *testing.T) {
	t.Parallel()
	const size = 64 << 10
	for _, writes := range [][]string{
		{},
		{"abc", "d"},
		{strings.Repeat("x", size)},
		{strings.Repeat("x", size), "yz"},
		{strings.Repeat("c", size-1), "de", strings.Repeat("f", size/2)},
		{strings.Repeat("x", 2*size)},
		{"a", strings.Repeat("b", 2*size)},
		{strings.Repeat("c", size+1), "de", strings.Repeat("f", size/2), strings.Repeat("g", 5*size-1), "h"},
	} {
		all := strings.Join(writes, "")
		want := all
		if lost := len(all) - 2*size; lost > 0 {
			want = fmt.Sprintf("%s\n[%d bytes are left out here]\n%s", all[:size], lost, all[len(all)-size:])
		}
		if got := worker.Tail(writes...); got != want {
			t.Errorf("%d bytes, want %d", len(got), len(want))
		}
	}
	lines := strings.Repeat("a line\n", size)
	got := worker.Tail(lines[:5], lines[5:])
	_, end, _ := strings.Cut(got, "left out here]\n")
	if !strings.HasPrefix(got, lines[:size]) || !strings.HasPrefix(end, "a line\n") || !strings.HasSuffix(lines, end) || len(end) < size-7 {
		t.Errorf("%.20q", end)
	}
	if want := fmt.Sprintf("[%d bytes are", len(lines)-size-len(end)); !strings.Contains(got, want) {
		t.Errorf("not %q", want)
	}
}
