package stint_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"stint"
)

// Ranges are sets: every operation on them is held against a plain map.
func TestRangesAreSets(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var list []stint.Range
		model := make(map[uint32]bool)
		for range 60 {
			from := r.Uint32N(40)
			one := stint.Range{From: from, To: from + r.Uint32N(6)}
			in := true
			switch r.IntN(3) {
			case 0:
				list = stint.UnionRange(list, one)
			case 1:
				list, in = stint.SubtractRange(list, one), false
			case 2:
				one.To = from + 1
				list = stint.AddToRanges(list, from)
			}
			for op := one.From; op < one.To; op++ {
				model[op] = in
			}
			if !inOrder(list) {
				t.Fatalf("seed %d: %v is not sorted and apart", seed, list)
			}
			compare(t, seed, list, model)
		}
	}
}

func inOrder(list []stint.Range) bool {
	for i, r := range list {
		if r.From >= r.To || i > 0 && list[i-1].To >= r.From {
			return false
		}
	}
	return true
}

func compare(t *testing.T, seed uint64, list []stint.Range, model map[uint32]bool) {
	t.Helper()
	n := 0
	for op := range uint32(50) {
		if model[op] {
			n++
		}
		if stint.RangesContain(list, op) != model[op] {
			t.Fatalf("seed %d: %v, %d: want %v", seed, list, op, model[op])
		}
	}
	if stint.CountRanges(list) != n {
		t.Fatalf("seed %d: %v counts %d, want %d", seed, list, stint.CountRanges(list), n)
	}
	window := stint.Range{From: 10, To: 30}
	clipped := stint.ClipRanges(list, window)
	for op := range uint32(50) {
		if want := model[op] && op >= 10 && op < 30; stint.RangesContain(clipped, op) != want {
			t.Fatalf("seed %d: %v clipped to %v is %v", seed, list, window, clipped)
		}
	}
}

func TestRangeOperationsDoWhatTheySay(t *testing.T) {
	t.Parallel()
	list := stint.UnionRange(nil, stint.Range{From: 2, To: 5})
	list = stint.AddToRanges(list, 5)
	list = stint.AddToRanges(list, 9)
	list = stint.UnionRange(list, stint.Range{From: 6, To: 9})
	if got := fmt.Sprint(list); got != "[{{} 2 10}]" {
		t.Errorf("union: %s", got)
	}
	list = stint.SubtractRange(list, stint.Range{From: 4, To: 6})
	if got := fmt.Sprint(list); got != "[{{} 2 4} {{} 6 10}]" {
		t.Errorf("difference: %s", got)
	}
}

func TestIDsHaveOneSpelling(t *testing.T) {
	t.Parallel()
	random := make([]byte, 16)
	for i := range random {
		random[i] = byte(i * 37)
	}
	if id, err := stint.ParseExecutionID(string(stint.MakeExecutionID(random))); err != nil || id != stint.MakeExecutionID(random) {
		t.Error(id, err)
	}
	if id, err := stint.ParseNodeID(string(stint.MakeNodeID(random))); err != nil || id != stint.MakeNodeID(random) {
		t.Error(id, err)
	}
	for _, bad := range []string{"", "x-", "x-ABCDEFGHJKMNPQRS", "n-aaaaaaaaaaaaaaaa", "x-aaaaaaaaaaaaaaa", "x-aaaaaaaaaaaaaaaaa", "x-aaaaaaaaaaaaaaa/"} {
		if _, err := stint.ParseExecutionID(bad); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("execution %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "j-", "j-0", "j-01", "j-1 ", "J-1", "j-99999999999"} {
		if _, err := stint.ParseJobID(bad); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("job %q: %v", bad, err)
		}
	}
	if j, err := stint.ParseJobID(stint.JobID(12).String()); j != 12 || err != nil {
		t.Error(j, err)
	}
	for _, bad := range []string{"", "map", "map/", "map/-1", "map/01", "map/4294967296"} {
		if _, _, err := stint.OperationID(bad).Split(); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("operation %q: %v", bad, err)
		}
	}
	if stage, op, err := stint.MakeOperationID("map", 17).Split(); stage != "map" || op != 17 || err != nil {
		t.Error(stage, op, err)
	}
	d := stint.Digest{1, 2, 255}
	if back, err := stint.ParseDigest(d.String()); back != d || err != nil {
		t.Error(back, err)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0": 0, "65536": 65536, "64MiB": 64 << 20, "1GB": 1e9, "3 KiB": 3072, "7B": 7} {
		if got, err := stint.ParseSize(text); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "-1", "1.5MB", "MiB", "9223372036854775807TiB", "64mib", "0x10", "1e3"} {
		if got, err := stint.ParseSize(bad); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%q: %d, %v", bad, got, err)
		}
	}
}

func TestErrorsKeepTheirCode(t *testing.T) {
	t.Parallel()
	inner := stint.Errorf(stint.Lost, "node n is gone")
	outer := fmt.Errorf("fetch block: %w", inner)
	if stint.CodeOf(outer) != stint.Lost || stint.CodeOf(errors.New("x")) != stint.Internal || stint.CodeOf(nil) != "" {
		t.Error("wrong code")
	}
	if e := stint.AsError(outer); e.Code != stint.Lost || e.Message != "fetch block: node n is gone" {
		t.Errorf("%+v", e)
	}
	if e := stint.Errorf(stint.Denied, "read %q: %w", "f", inner); e.Code != stint.Denied || e.Error() != `read "f": node n is gone` || !errors.Is(e, inner) {
		t.Errorf("%+v", e)
	}
}

// Every operation of a range has its values, none twice, and none crosses a part.
func TestValuesOfAGeneratedRange(t *testing.T) {
	t.Parallel()
	for _, s := range []stint.StageSpec{
		{Values: &stint.Values{First: -3, Count: 10}, Each: 4, Operations: 3},
		{Values: &stint.Values{First: 1, Count: 25}, Each: 4, PerPart: 10, Operations: 8},
	} {
		next := s.Values.First
		for op := range s.Operations {
			v := s.ValuesOf(op)
			if v.First != next || v.Count < 1 || v.Count > s.Each {
				t.Errorf("operation %d: %+v, want to begin at %d", op, v, next)
			}
			if first, last := v.First-s.Values.First, v.First-s.Values.First+v.Count-1; s.PerPart > 0 && first/s.PerPart != last/s.PerPart {
				t.Errorf("operation %d: %+v crosses a part", op, v)
			}
			next += v.Count
		}
		if next != s.Values.First+s.Values.Count {
			t.Errorf("ends at %d", next)
		}
	}
}

func TestCountersAreBounded(t *testing.T) {
	t.Parallel()
	var c stint.Counters
	for i := range stint.MaxCounters + 5 {
		c.Add("g", fmt.Sprintf("n%04d", i), 2)
	}
	c.Add("g", "n0000", 3)
	got := c.Deltas(7)
	if len(got) != stint.MaxCounters || got[0] != (stint.CounterDelta{Op: 7, Group: "g", Name: "n0000", Value: 5}) || c.Dropped != 5 {
		t.Errorf("%d counters, the first %+v, %d dropped", len(got), got[0], c.Dropped)
	}
}
