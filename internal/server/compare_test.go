package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
	"stint/internal/wire"
)

// longestMessage is what the link takes.
const longestMessage = 8 << 20

// allTouched is an execution over objects, all of which were read and then touched.
func allTouched(t *testing.T, objects int, size int64) *coord.Touched {
	t.Helper()
	stage := stint.Stage{Name: "map", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput, Split: stint.SplitFiles}, NoOutput: true}
	req := stint.Request{Program: stint.Program{Name: "p", Stages: []stint.Stage{stage}}}
	made := func(version string) *plan.Plan {
		var l stint.Listing
		for i := range objects {
			l.Objects = append(l.Objects, stint.Object{URL: fmt.Sprintf("file:///a/rather/long/name/of/a/folder/object-%08d", i), Size: size, Version: version})
		}
		p, err := plan.Make("x-aaaaaaaaaaaaaaaa", req, l, plan.Choice{SubsetSize: 1 << 20, Partitions: 1})
		check(t, err)
		return p
	}
	state := coord.New(made("1000000-1700000000000000000"), req, 1, 1000)
	state.Apply(coord.Record{Status: &coord.StatusRecord{Status: stint.InProgress}})
	state.Apply(coord.Record{Attach: &coord.AttachRecord{Node: stint.Node{ID: "n-a", Incarnation: 1}}})
	done := stint.Done{Job: 1}
	for n := range objects {
		done.Ops = append(done.Ops, stint.OpDone{Op: uint32(n), InputSum: 1})
	}
	state.Apply(coord.Record{Report: &stint.Report{Node: "n-a", Incarnation: 1, Seq: 1, Done: []stint.Done{done}}})
	return state.Touched(made("1000000-1800000000000000000"))
}

func TestComparisonsFitAMessageAndCoverAll(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		objects int
		size    int64
		least   int // errands
	}{
		{100_000, 10, 2},
		{50, mostCompared / 4, 13},
		{3, 10 * mostCompared, 3},
		{1, 10, 1},
	} {
		touched := allTouched(t, c.objects, c.size)
		if touched.Len() != c.objects {
			t.Fatalf("%d operations to be compared, want %d", touched.Len(), c.objects)
		}
		at, errands := 0, 0
		for ; at < touched.Len(); errands++ {
			e, bytes := comparison(touched, at)
			if len(e.Subsets) == 0 || len(e.Subsets) != len(e.Sums) || e.Subsets[0].Pieces[0].Object.URL[46:] != fmt.Sprintf("%08d", at) || bytes != int64(len(e.Subsets))*c.size {
				t.Fatalf("from %d: %d subsets of %d bytes, %d sums", at, len(e.Subsets), bytes, len(e.Sums))
			}
			at += len(e.Subsets)
			b, err := wire.Marshal(e)
			check(t, err)
			if len(b) > longestMessage/2 || bytes > max(mostCompared, c.size) {
				t.Errorf("an errand of %d bytes over %d bytes of input", len(b), bytes)
			}
		}
		if at != c.objects || errands < c.least {
			t.Errorf("%d objects: %d compared by %d errands", c.objects, at, errands)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Inputs with names are listed one after the other: the order of the URLs begins
// anew with each.
func TestAChangeOfOneInputIsNoneOfTheOther(t *testing.T) {
	t.Parallel()
	listing := func(names ...string) (l stint.Listing) {
		for _, name := range names {
			input, url, _ := strings.Cut(name, ":")
			l.Objects = append(l.Objects, stint.Object{Input: input, URL: url, Version: "v"})
		}
		return l
	}
	var v verdict
	v.compare(listing("left:y", "left:z", "right:a", "right:b"), listing("left:y", "left:z", "left:zz", "right:b"), nil)
	want := []stint.Change{{Kind: stint.ObjectAdded, URL: "zz"}, {Kind: stint.ObjectMissing, URL: "a"}}
	if v.changed != 2 || !slices.Equal(v.changes, want) {
		t.Errorf("%d changes: %v", v.changed, v.changes)
	}
}
