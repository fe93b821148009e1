package plan

import (
	"fmt"
	"strings"
	"testing"

	"stint"
)

// A grant carries the names of its input; however long they are, a run that fits
// is found, and it is never empty.
func TestRunsOfOperationsFitAMessage(t *testing.T) {
	t.Parallel()
	var listing stint.Listing
	for i := range 1000 {
		name := fmt.Sprintf("file:///%04d%s", i, strings.Repeat("x", 1000))
		listing.Objects = append(listing.Objects, stint.Object{URL: name, Size: 10, Version: "v"})
	}
	req := stint.Request{SubsetSize: 10, Program: stint.Program{Stages: []stint.Stage{{
		Name: "map", Action: stint.Action{Native: "identity"}, NoOutput: true, Input: stint.Edge{Kind: stint.FromInput},
	}}}}
	choice, err := Choose(req, listing)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Make("x-aaaaaaaaaaaaaaaa", req, listing, choice)
	if err != nil {
		t.Fatal(err)
	}
	all := stint.Range{To: p.Spec.Stages[0].Operations}
	if all.To != 1000 {
		t.Fatal(all)
	}
	for bytes, want := range map[int]uint32{0: 1, 2000: 1, 10 << 10: 9, 1 << 30: 1000} {
		if got := p.Fitting(0, all, bytes); got != want {
			t.Errorf("%d bytes: %d operations, want %d", bytes, got, want)
		}
	}
	if got := p.Fitting(0, stint.Range{From: 998, To: 1000}, 1<<20); got != 1000 {
		t.Errorf("the last two end at %d", got)
	}
}
