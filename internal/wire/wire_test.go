package wire_test

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/wire"
)

func report() stint.Report {
	return stint.Report{
		Execution: "x-abc", Node: "n-1", Incarnation: 3, Seq: 9,
		Begun:    []stint.Begun{{Job: 4, Ops: stint.Range{From: 1, To: 5}}},
		Done:     []stint.Done{{Job: 4, Stage: 1, Ops: []stint.OpDone{{Op: 1, Start: 12, End: 1 << 41, BytesIn: 7}}}},
		Failures: []stint.Failure{{Op: 2, Error: stint.Errorf(stint.Failed, "exit 3"), Stderr: "a\xffb"}},
	}
}

func TestValuesSurviveTheRoundTrip(t *testing.T) {
	t.Parallel()
	want := report()
	b, err := wire.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got stint.Report
	if err := wire.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(stint.OpDone{}, stint.Range{})); d != "" {
		t.Fatal(d)
	}
	e := stint.Execution{ID: "x-1", Submitted: time.Unix(5, 7).UTC(), Counters: map[string]map[string]int64{"g": {"n": 1}}}
	b, err = wire.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back stint.Execution
	if err := wire.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(e, back); d != "" {
		t.Fatal(d)
	}
}

func TestTrailingBytesAreRefused(t *testing.T) {
	t.Parallel()
	b, err := wire.Marshal(7)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := wire.Unmarshal(append(b, 1), &n); err == nil {
		t.Fatal("accepted")
	}
}

func TestEveryCutAndEveryFlippedBitOfAFrameIsFound(t *testing.T) {
	t.Parallel()
	frame, err := wire.AppendFrame(nil, report())
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < len(frame); cut++ {
		var r stint.Report
		if _, err := wire.ReadFrame(bytes.NewReader(frame[:cut]), &r); !errors.Is(err, wire.ErrTorn) || errors.Is(err, io.EOF) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	for bit := range len(frame) * 8 {
		bad := bytes.Clone(frame)
		bad[bit/8] ^= 1 << (bit % 8)
		var r stint.Report
		if _, err := wire.ReadFrame(bytes.NewReader(bad), &r); !errors.Is(err, wire.ErrTorn) {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
	var r stint.Report
	if _, err := wire.ReadFrame(bytes.NewReader(nil), &r); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestAFrameThatCannotBeReadIsNotTorn(t *testing.T) {
	t.Parallel()
	frame, err := wire.AppendFrame(nil, report())
	if err != nil {
		t.Fatal(err)
	}
	for read := range frame {
		var r stint.Report
		_, err := wire.ReadFrame(io.MultiReader(bytes.NewReader(frame[:read]), iotest.ErrReader(syscall.EIO)), &r)
		if !errors.Is(err, syscall.EIO) || errors.Is(err, wire.ErrTorn) {
			t.Fatalf("after %d bytes: %v", read, err)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	b, err := wire.Marshal(report())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var r stint.Report
		if wire.Unmarshal(b, &r) != nil {
			return
		}
		if _, err := wire.Marshal(r); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkReport(b *testing.B) {
	r := report()
	ops := make([]stint.OpDone, 1000)
	for i := range ops {
		ops[i] = stint.OpDone{Op: uint32(i), Start: 1790000000000, End: 1790000000001, BytesIn: 100}
	}
	r.Done[0].Ops = ops
	for b.Loop() {
		data, err := wire.Marshal(r)
		if err != nil {
			b.Fatal(err)
		}
		var back stint.Report
		if err := wire.Unmarshal(data, &back); err != nil {
			b.Fatal(err)
		}
	}
}
