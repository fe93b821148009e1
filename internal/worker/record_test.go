package worker_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/block"
	"stint/internal/worker"
)

// equal compares records; arrays of package wire have an unexported field.
func equal() cmp.Option {
	return cmp.AllowUnexported(stint.Range{}, stint.OpDone{}, block.Index{}, block.PartIndex{})
}

func records() []worker.Record {
	return []worker.Record{
		{Begun: &stint.Begun{Job: 7, Ops: stint.Range{From: 1<<32 - 2, To: 1<<32 - 1}}},
		{Done: &worker.DoneRecord{}},
		{Done: &worker.DoneRecord{
			Job: 7, Stage: 2, Op: stint.OpDone{Op: 9, Start: 1790000000000, End: 1790000000001, BytesIn: 1, BytesOut: 2, RecordsIn: 3, RecordsOut: 4, InputSum: 1<<64 - 1},
			Counters: []stint.CounterDelta{{Op: 9, Group: "g\xff", Name: "", Value: -5}, {Op: 9, Group: "h", Name: "n", Value: 1 << 62}},
			Part:     &stint.Part{Op: 9, Name: "part-9", Bytes: 100, Sum: 1<<64 - 1}, Stderr: "x\x00\n",
		}},
		{Done: &worker.DoneRecord{Job: 1, Block: &block.Index{Segment: 3, Offset: 1 << 40, Length: 77, Parts: []block.PartIndex{
			{Partition: 0, Length: 7, Records: 1, Sum: 5}, {Partition: 1 << 19, Offset: 7, Length: 70, Records: 2},
		}}}},
		{Done: &worker.DoneRecord{Block: &block.Index{Segment: 1}}},
		{Done: &worker.DoneRecord{Op: stint.OpDone{BadRecords: 1 << 40, InputSum: 3}}},
		{Done: &worker.DoneRecord{Op: stint.OpDone{BadRecords: 2}, Bad: []stint.BadRecord{{Number: -1, Text: "a\tb", Error: "no number"}, {Number: 1 << 40}}}},
		{Failed: &stint.Failure{Job: 7, Op: 1, Error: stint.Errorf(stint.Failed, "exit 3"), Exit: 3, Stderr: "\xff"}},
		{Interrupted: &stint.Interrupted{Job: 7, Op: 1<<32 - 1, Start: 1790000000000, End: 1790000000001}},
	}
}

func encode(tb testing.TB, list []worker.Record) (log []byte, ends []int) {
	tb.Helper()
	for _, r := range list {
		var err error
		if log, err = worker.AppendRecord(log, r); err != nil {
			tb.Fatal(err)
		}
		ends = append(ends, len(log))
	}
	return log, ends
}

func readLog(log []byte) (out []worker.Record, err error) {
	err = worker.ReadLog(bytes.NewReader(log), func(r worker.Record) error { out = append(out, r); return nil })
	return out, err
}

func TestALogCutAnywhereHasItsWholeRecords(t *testing.T) {
	t.Parallel()
	log, ends := encode(t, records())
	for cut := range len(log) + 1 {
		got, err := readLog(log[:cut])
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		whole, exact := slices.BinarySearch(ends, cut)
		if exact {
			whole++
		}
		if d := cmp.Diff(records()[:whole:whole], got, equal(), cmp.Transformer("empty", func(r []worker.Record) int { return len(r) })); d != "" {
			t.Fatalf("cut at %d: %s", cut, d)
		}
	}
	got, err := readLog(log)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(records(), got, equal()); d != "" {
		t.Fatal(d)
	}
}

func TestAnAlteredRecordEndsTheLog(t *testing.T) {
	t.Parallel()
	log, ends := encode(t, records())
	for bit := range len(log) * 8 {
		bad := bytes.Clone(log)
		bad[bit/8] ^= 1 << (bit % 8)
		got, err := readLog(bad)
		whole, exact := slices.BinarySearch(ends, bit/8)
		if exact {
			whole++
		}
		if err != nil || len(got) != whole {
			t.Fatalf("bit %d: %d records, %v; want %d", bit, len(got), err, whole)
		}
	}
}

func TestErrorsOfTheReaderAndOfTheCallerAreReturned(t *testing.T) {
	t.Parallel()
	log, _ := encode(t, records())
	cause := errors.New("stop")
	if err := worker.ReadLog(bytes.NewReader(log), func(worker.Record) error { return cause }); !errors.Is(err, cause) {
		t.Error(err)
	}
	r := io.MultiReader(bytes.NewReader(log[:20]), errorReader{cause})
	if err := worker.ReadLog(r, func(worker.Record) error { return nil }); !errors.Is(err, cause) {
		t.Error(err)
	}
}

type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }

func FuzzReadLog(f *testing.F) {
	log, ends := encode(f, records())
	f.Add(log)
	for i, end := range ends {
		start := 0
		if i > 0 {
			start = ends[i-1]
		}
		f.Add(log[start:end])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := readLog(b)
		if err != nil {
			return
		}
		again, _ := encode(t, list)
		back, err := readLog(again)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(list, back, equal()); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	log, ends := encode(f, records())
	start := 0
	for _, end := range ends {
		f.Add(log[start+8 : end])
		start = end
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := worker.DecodeRecord(value)
		if err != nil {
			return
		}
		again, err := worker.AppendRecord(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := worker.DecodeRecord(again[8:])
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, back, equal()); d != "" {
			t.Fatal(d)
		}
	})
}
