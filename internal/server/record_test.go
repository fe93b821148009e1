package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
)

func aRecord() savedRecord {
	return savedRecord{
		summary: summary{
			Execution: "x-aaaaaaaaaaaaaaaa", Name: "a run", Program: "count@blake3:00", Generation: 3, Written: 1234,
			Operations: stint.OperationCounts{Total: 9, Completed: 4}, Storage: "file:///storage",
		},
		body: recordBody{
			Created: 1000, Request: stint.Request{Name: "a run", Output: "file:///storage/output/x", Inputs: []string{"range:1..9"}},
			Choice: plan.Choice{SubsetSize: 3}, Listing: stint.Digest{7},
			Snapshot: coord.Snapshot{
				Version: 55, Core: coord.Core{Base: 1000, Output: stint.OutputReport{Location: "file:///storage/output/x"}},
				Chunks: []coord.Chunk{{Stage: 1, Index: 2, Data: bytes.Repeat([]byte{8}, 1000)}},
			},
		},
	}
}

func encoded(tb testing.TB, r savedRecord) []byte {
	tb.Helper()
	b, err := r.encode()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func equal(a, b savedRecord) string {
	return cmp.Diff(a, b, cmp.AllowUnexported(savedRecord{}), cmpopts.IgnoreUnexported(stint.Range{}), cmpopts.EquateEmpty())
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	want := aRecord()
	b := encoded(t, want)
	got, err := decodeRecord(b)
	if d := equal(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	short := b[:len(b)-1000] // a list reads no more than it needs
	if s, err := readSummary(bytes.NewReader(short)); err != nil || s != want.summary {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestARecordThatIsNotWholeIsRefused(t *testing.T) {
	t.Parallel()
	whole := encoded(t, aRecord())
	for n := range whole {
		if _, err := decodeRecord(whole[:n]); err == nil {
			t.Fatalf("cut to %d of %d bytes it is taken", n, len(whole))
		}
		altered := bytes.Clone(whole)
		altered[n] ^= 0x10
		if _, err := decodeRecord(altered); err == nil {
			t.Fatalf("altered at byte %d it is taken", n)
		}
	}
	newer := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(newer[len(recordMagic):], recordFormat+6)
	for _, c := range []struct {
		b    []byte
		says string
	}{
		{nil, "truncated"},
		{whole[:20], "truncated"},
		{whole[:len(whole)-1], "truncated: 1 bytes of"},
		{append(bytes.Clone(whole), 1), "altered: 1 bytes follow"},
		{append(bytes.Clone(whole[:len(whole)-1]), 1), "altered: its digest"},
		{[]byte("something else entirely"), "altered: it does not begin"},
		{newer, "format 7, this version of Stint knows format 1"},
	} {
		if _, err := decodeRecord(c.b); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("want %q: %s %v", c.says, stint.CodeOf(err), err)
		}
	}
}

func TestARecordThatCannotBeReadIsNotCalledAltered(t *testing.T) {
	t.Parallel()
	whole := encoded(t, aRecord())
	const head = len(recordMagic) + 4
	for _, read := range []int{0, head, head + 4, head + 20} {
		if _, err := readSummary(io.MultiReader(bytes.NewReader(whole[:read]), iotest.ErrReader(syscall.EIO))); !errors.Is(err, syscall.EIO) || stint.CodeOf(err) == stint.Invalid {
			t.Errorf("after %d bytes: %v", read, err)
		}
	}
}

func TestARecordIsMovedWithItsStorage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ output, to, want string }{
		{"file:///storage/output/x", "file:///mnt/copy", "file:///mnt/copy/output/x"},
		{"file:///storage/output/x", "file:///storage", "file:///storage/output/x"},
		{"file:///storage-2/x", "file:///mnt/copy", "file:///storage-2/x"},
	} {
		r := aRecord()
		r.body.Request.Output, r.body.Snapshot.Core.Output.Location = c.output, c.output
		r.body.Snapshot.Core.Checkpoints = []coord.CheckpointCore{{Checkpoint: stint.Checkpoint{Key: "k"}}}
		r.move(c.to, "file:///here")
		if got := r.body.Snapshot.Core.Checkpoints[0].Checkpoint.Storage; got != "file:///here" {
			t.Errorf("a checkpoint lies in storage %q", got)
		}
		if r.body.Request.Output != c.want || r.body.Snapshot.Core.Output.Location != c.want {
			t.Errorf("%s in %s: %s, %s", c.output, c.to, r.body.Request.Output, r.body.Snapshot.Core.Output.Location)
		}
	}
}

// FuzzRecord: whatever is taken for a record is one, byte for byte.
func FuzzRecord(f *testing.F) {
	f.Add(encoded(f, aRecord()))
	f.Add([]byte(recordMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, err := decodeRecord(encoded(t, r))
		if d := equal(r, again); d != "" || err != nil {
			t.Fatalf("%v (-first +second)\n%s", err, d)
		}
	})
}
