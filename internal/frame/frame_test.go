package frame_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint/internal/frame"
)

var update = flag.Bool("update", false, "write golden files")

type record struct {
	Key, Value string
	Absent     bool
	Edge       int
}

func (r record) value() []byte {
	if r.Absent {
		return nil
	}
	return []byte(r.Value)
}

func recordsOf(t *testing.T, payload []byte) (out []record) {
	t.Helper()
	r, err := frame.ParseRecords(payload, 0)
	if err != nil {
		t.Fatal(err)
	}
	for key, value, edge, ok := r.Next(); ok; key, value, edge, ok = r.Next() {
		out = append(out, record{Key: string(key), Value: string(value), Absent: value == nil, Edge: edge})
	}
	return out
}

func TestRecordsAreWhatWasAdded(t *testing.T) {
	t.Parallel()
	for _, want := range [][]record{
		nil,
		{{}},
		{{Absent: true}, {Key: "a"}, {Key: "a", Value: "\x00\n"}, {Value: strings.Repeat("v", 300)}},
		{{Key: "a", Edge: 1}, {Key: "b", Edge: 255}, {Key: "c"}},
	} {
		var b frame.Batch
		for i, r := range want {
			var err error
			if want[0].Edge > 0 {
				err = b.AddOf(r.Edge, int64(i), []byte(r.Key), r.value())
			} else {
				err = b.Add(int64(i), []byte(r.Key), r.value())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the batch is empty in the end, and can be used again
			kind, payload, err := frame.NewReader(bytes.NewReader(b.AppendFrame(nil))).Next()
			if err != nil || kind != frame.RecordBatch {
				t.Fatal(kind, err)
			}
			if d := cmp.Diff(want, recordsOf(t, payload)); d != "" {
				t.Error(d)
			}
			want = nil
		}
	}
}

func TestABatchReturnsToItsMark(t *testing.T) {
	t.Parallel()
	var b frame.Batch
	add := func(key string) {
		if err := b.Add(0, []byte(key), nil); err != nil {
			t.Fatal(err)
		}
	}
	add("a")
	m := b.Mark()
	add("b")
	if !b.Return(m) || b.Len() != 1 {
		t.Errorf("%d records", b.Len())
	}
	add("c")
	_, payload, _ := frame.NewReader(bytes.NewReader(b.AppendFrame(nil))).Next()
	if d := cmp.Diff([]record{{Key: "a", Absent: true}, {Key: "c", Absent: true}}, recordsOf(t, payload)); d != "" {
		t.Error(d)
	}
	if b.Return(m) {
		t.Error("it returned to a mark of another batch")
	}
}

func TestWhatIsTooLongIsRefused(t *testing.T) {
	t.Parallel()
	var b frame.Batch
	long := make([]byte, frame.MaxValue+1)
	for _, c := range []struct {
		key, value []byte
		want       string
	}{
		{long[:frame.MaxKey], nil, ""},
		{nil, long[:frame.MaxValue], ""},
		{long[:frame.MaxKey+1], nil, "key_too_long: record 9: a key of 16777217 bytes: limit 16 MiB"},
		{nil, long, "record_too_long: record 9: a value of 67108865 bytes: limit 64 MiB"},
	} {
		if err := b.Add(8, c.key, c.value); err == nil && c.want != "" || err != nil && err.Error() != c.want {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// conversation is frames of all types, as a worker and as a program write them.
func conversation(t *testing.T) (worker, program []byte) {
	t.Helper()
	worker, err := frame.AppendBegin(nil, &frame.Begin{
		Number: 7, Execution: "x-abc", Stage: "count", Operation: "count/3", Attempt: 2, Role: frame.Map,
		Params: map[string]string{"a": "ä<>"}, Input: frame.Input{URL: "file:///in", Offset: 1 << 40, Length: 5}, Partitions: 4,
		Broadcast: map[string]string{"b": "/b"}, Checkpoint: "/c",
	})
	if err != nil {
		t.Fatal(err)
	}
	var b frame.Batch
	for i, line := range []string{"a rose is", "", "bad", "a r\xffse \u00fc"} {
		if err := b.Add(int64(i), nil, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	worker = frame.AppendEnd(b.AppendFrame(worker), 4)
	program = frame.AppendFrame(program, frame.StatusText, []byte("at work \u00fc"))
	program = frame.AppendBad(program, frame.Bad{Number: 2, Count: 1, Reason: "ValueError: it is bad", Record: []byte("bad")})
	for i, key := range []string{"a", "rose", "is", "a", "r\xffse", "\u00fc"} {
		if err := b.Add(int64(i), []byte(key), []byte{byte('0' + i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Add(6, []byte("end"), nil); err != nil {
		t.Fatal(err)
	}
	program = b.AppendFrame(program)
	program, err = frame.AppendCounter(program, frame.Counter{Group: "g", Name: "lines", Add: -3})
	if err != nil {
		t.Fatal(err)
	}
	program = frame.AppendDone(program, frame.Completion{Number: 7, Records: 7})
	return worker, program
}

// gathering is an operation whose output is combined before it is written.
func gathering(t *testing.T) (worker, program []byte) {
	t.Helper()
	worker, err := frame.AppendBegin(nil, &frame.Begin{Number: 1, Stage: "sum", Role: frame.Map, Partitions: 1, Gather: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var b frame.Batch
	for i, line := range []string{"b a b", "z bad b", "x\xff \u00fc", "a z b \u00fc"} {
		if err := b.Add(int64(i), nil, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	worker = frame.AppendEnd(b.AppendFrame(worker), 4)
	program = frame.AppendBad(nil, frame.Bad{Number: 1, Count: 1, Reason: "ValueError: it is bad", Record: []byte("z bad b")})
	for _, r := range [][2]string{{"b", "3"}, {"a", "2"}, {"x\xff", "1"}, {"\u00fc", "2"}, {"z", "1"}} {
		if err := b.Add(0, []byte(r[0]), []byte(r[1])); err != nil {
			t.Fatal(err)
		}
	}
	return worker, frame.AppendDone(b.AppendFrame(program), frame.Completion{Number: 1, Records: 5, Once: true})
}

// The files are what other languages' SDKs are tested with.
func TestFramesAreTheGoldenBytes(t *testing.T) {
	t.Parallel()
	worker, program := conversation(t)
	asked, gathered := gathering(t)
	for name, got := range map[string][]byte{
		"worker.frames": worker, "program.frames": program, "gather-worker.frames": asked, "gather-program.frames": gathered,
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

type seen struct {
	Type    frame.Type
	Payload string
}

func readAll(stream []byte) (out []seen, err error) {
	r := frame.NewReader(bytes.NewReader(stream))
	for {
		kind, payload, err := r.Next()
		if err != nil {
			return out, err
		}
		out = append(out, seen{kind, string(payload)})
	}
}

// decodeAll hands a stream to a decoder in pieces of size bytes.
func decodeAll(stream []byte, size int) (out []seen, err error) {
	d := frame.Decoder{Each: func(kind frame.Type, payload []byte) error {
		out = append(out, seen{kind, string(payload)})
		return nil
	}}
	for len(stream) > 0 {
		n := min(size, len(stream))
		if _, err := d.Write(stream[:n]); err != nil {
			return out, err
		}
		stream = stream[n:]
	}
	return out, d.End()
}

func TestAStreamIsTheSameInWhateverPiecesItComes(t *testing.T) {
	t.Parallel()
	worker, program := conversation(t)
	stream := slices.Concat(worker, program)
	want, err := readAll(stream)
	if !errors.Is(err, io.EOF) || len(want) != 8 {
		t.Fatalf("%d frames, %v", len(want), err)
	}
	for size := 1; size <= len(stream); size++ {
		got, err := decodeAll(stream, size)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Fatalf("in pieces of %d: %v\n%s", size, err, d)
		}
	}
}

func TestAStreamCutAnywhereIsTruncated(t *testing.T) {
	t.Parallel()
	stream, _ := conversation(t)
	boundary := map[int]bool{0: true}
	at := 0
	for at < len(stream) {
		h, err := frame.ParseHeader(stream[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += frame.HeaderSize + h.Length
		boundary[at] = true
	}
	for cut := range stream {
		_, rerr := readAll(stream[:cut])
		_, derr := decodeAll(stream[:cut], 5)
		if boundary[cut] {
			if !errors.Is(rerr, io.EOF) || derr != nil {
				t.Errorf("cut between frames: %v, %v", rerr, derr)
			}
			continue
		}
		if !errors.Is(rerr, frame.ErrTruncated) || !errors.Is(derr, frame.ErrTruncated) {
			t.Errorf("cut at %d: %v, %v", cut, rerr, derr)
		}
	}
}

func TestTheEndOfAnOperationIsWhatWasSaid(t *testing.T) {
	t.Parallel()
	for _, want := range []frame.Completion{{}, {Number: 1, Records: 1 << 40}, {Number: 1 << 31, Records: 2, Once: true}} {
		_, payload, _ := frame.NewReader(bytes.NewReader(frame.AppendDone(nil, want))).Next()
		if got, err := frame.ParseDone(payload); got != want || err != nil {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	for _, payload := range []string{"", strings.Repeat("\x00", 11), strings.Repeat("\x00", 13), strings.Repeat("\x01", 14)} {
		if _, err := frame.ParseDone([]byte(payload)); err == nil {
			t.Errorf("%q is the end of an operation", payload)
		}
	}
}

func TestEveryAlteredBitIsNoticed(t *testing.T) {
	t.Parallel()
	stream := frame.AppendDone(nil, frame.Completion{Number: 1, Records: 2})
	for i := range 8 * len(stream) {
		b := bytes.Clone(stream)
		b[i/8] ^= 1 << (i % 8)
		if _, err := readAll(b); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("bit %d: %v", i, err)
		}
	}
}

func TestMessagesAreWhatWasSaid(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("\u00fc", frame.MaxBad)
	_, payload, _ := frame.NewReader(bytes.NewReader(frame.AppendBad(nil, frame.Bad{Number: 1, Count: 2, Reason: "x" + long, Record: []byte(long)}))).Next()
	b, err := frame.ParseBad(payload)
	if err != nil || b.Number != 1 || b.Count != 2 || b.Reason != "x"+long[:frame.MaxBad-2] || len(b.Record) != frame.MaxBad {
		t.Errorf("%d bytes of reason, %d of record, %v", len(b.Reason), len(b.Record), err)
	}
	_, payload, _ = frame.NewReader(bytes.NewReader(frame.AppendFailed(nil, 3, "why"))).Next()
	if n, why, err := frame.ParseFailed(payload); n != 3 || why != "why" || err != nil {
		t.Error(n, why, err)
	}
}

// FuzzDecoder: whatever comes, a decoder and a reader agree, and what can be read can be parsed without a panic.
func FuzzDecoder(f *testing.F) {
	for _, name := range []string{"worker.frames", "program.frames"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, 7)
	}
	f.Add([]byte("Great"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, size int) {
		want, rerr := readAll(stream)
		got, derr := decodeAll(stream, max(size, 1))
		if d := cmp.Diff(want, got); d != "" || errors.Is(rerr, io.EOF) != (derr == nil) {
			t.Fatalf("%v, %v\n%s", rerr, derr, d)
		}
		for _, s := range got {
			payload := []byte(s.Payload)
			_, _ = frame.ParseBegin(payload)
			_, _ = frame.ParseCounter(payload)
			_, _ = frame.ParseEnd(payload)
			_, _ = frame.ParseBad(payload)
			_, _ = frame.ParseDone(payload)
			_, _, _ = frame.ParseFailed(payload)
			if r, err := frame.ParseRecords(payload, 0); err == nil {
				for n := r.Len(); n > 0; n-- {
					if _, _, _, ok := r.Next(); !ok {
						t.Fatal("a record is missing")
					}
				}
			}
		}
	})
}
