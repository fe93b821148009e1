package server

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
	"stint/internal/store"
)

// aDrive makes a drive with a state that nobody runs.
func aDrive(t *testing.T) *drive {
	t.Helper()
	s := &Server{StorageURL: "file:///storage"}
	s.Ready()
	entry := store.Entry{ID: someID, Created: 1000, Request: stint.Request{
		Program: stint.Program{Name: "count", Stages: []stint.Stage{
			{Name: "map", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput}},
		}},
		Inputs: []string{"range:1..9"}, Output: "file:///out",
	}}
	p, err := plan.Make(someID, entry.Request, stint.Listing{Range: &stint.Values{First: 1, Count: 9}}, plan.Choice{SubsetSize: 1, Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	d := newDrive(s, someID)
	d.adopt(entry, coord.New(p, entry.Request, 1, entry.Created), false)
	openRecord(t, d.server)
	return d
}

func (f *fleet) underWay() []string {
	return slices.Sorted(maps.Keys(f.errands))
}

func TestErrandsGoToTheirNodesUntilTheyAreCanceled(t *testing.T) {
	t.Parallel()
	d := aDrive(t)
	f := &d.server.fleet
	want := func(what string, ids ...string) {
		t.Helper()
		if got := f.underWay(); !slices.Equal(got, ids) {
			t.Errorf("%s: %v, want %v", what, got, ids)
		}
	}
	errand := func(id string, node stint.NodeID) coord.Dispatch {
		return coord.Dispatch{Errand: stint.Errand{ID: id, Kind: stint.ErrandSave}, Node: node}
	}
	d.release(&flight{errands: []coord.Dispatch{errand("a", "n-1"), errand("b", ""), errand("c", "n-2")}})
	want("three were decided", "a", "b", "c")
	for id, node := range map[string]stint.NodeID{"a": "n-1", "b": "", "c": "n-2"} {
		if got := f.errands[id].target; got != node {
			t.Errorf("errand %s is for %q, want %q", id, got, node)
		}
	}
	first := f.errands["b"]
	d.release(&flight{errands: []coord.Dispatch{errand("b", "")}})
	if f.errands["b"] != first {
		t.Error("one that is under way was begun again")
	}
	d.release(&flight{cancel: []string{"a", "b"}, errands: []coord.Dispatch{errand("b", "n-3")}})
	want("two were canceled and one of them decided anew", "b", "c")
	if got := f.errands["b"].target; got != "n-3" {
		t.Errorf("errand b is for %q", got)
	}
	f.submitErrand(stint.Errand{ID: "other"}, "", newMailbox())
	d.drop()
	want("the state was dropped", "other")
}

func TestAnErrandThatIsCanceledBeforeItWentOutNeverDoes(t *testing.T) {
	t.Parallel()
	d := aDrive(t)
	errand := func(id string) coord.Dispatch { return coord.Dispatch{Errand: stint.Errand{ID: id}} }
	d.take(coord.Delta{Errands: []coord.Dispatch{errand("a"), errand("b")}})
	d.take(coord.Delta{Cancel: []string{"a", "b"}, Errands: []coord.Dispatch{errand("b"), errand("c")}})
	d.release(&d.next)
	if got := d.server.fleet.underWay(); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("under way: %v", got)
	}
}

func TestEveryResultArrives(t *testing.T) {
	t.Parallel()
	var f fleet
	f.init(0, 0)
	m := newMailbox()
	var want, got []string
	for i := range 1000 {
		id := strconv.Itoa(i)
		want = append(want, id)
		f.submitErrand(stint.Errand{ID: id}, "", m)
	}
	for _, id := range want {
		f.errandDone(stint.ErrandResult{ID: id})
		f.errandDone(stint.ErrandResult{ID: id}) // sent again
	}
	<-m.came
	for _, r := range m.take() {
		got = append(got, r.ID)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestTheRecordOfASuspendHasTheWholeState(t *testing.T) {
	t.Parallel()
	d := aDrive(t)
	d.saved = true
	r := d.makeRecord(stint.Errand{Kind: stint.ErrandRecord, Execution: someID})
	if r.summary.Generation != 1 || r.summary.Storage != "file:///storage" || r.summary.Operations.Total != 10 {
		t.Errorf("summary %+v", r.summary)
	}
	if d := cmp.Diff(d.entry.Request, r.body.Request); d != "" {
		t.Errorf("request (-want +got)\n%s", d)
	}
	if len(r.standsOn) > 0 {
		t.Errorf("nothing is saved, and it stands on %v", r.standsOn)
	}
	if len(r.body.Snapshot.Chunks) != 2 || d.saved {
		t.Errorf("%d chunks; the store's next snapshot would have some: %v", len(r.body.Snapshot.Chunks), d.saved)
	}
}

func TestTheRecordOfASuspendNamesWhatItStandsOn(t *testing.T) {
	t.Parallel()
	d := aDrive(t)
	node := stint.Node{ID: "n-1", Name: "a", Incarnation: 1, Slots: 4, Address: "a:1"}
	one := stint.Range{To: 1}
	checkpoint := stint.Checkpoint{Key: "saved/checkpoint", Bytes: 1}
	for _, ev := range []coord.Event{
		{Begin: true},
		{Attach: &coord.Attach{Node: node, Holding: stint.Holding{Execution: d.id}, Session: 1}},
		{Assign: &coord.Assign{Node: "n-1", Incarnation: 1, Count: 2}},
		{Suspend: &coord.SuspendAsk{}},
		{Report: &stint.Report{
			Execution: d.id, Node: "n-1", Incarnation: 1, Seq: 1, Begun: []stint.Begun{{Job: 1, Ops: stint.Range{To: 2}}},
			Done:        []stint.Done{{Job: 1, Ops: []stint.OpDone{{Op: 0}}}},
			Interrupted: []stint.Interrupted{{Job: 1, Op: 1, Checkpoint: &checkpoint}},
		}},
	} {
		d.step(input{event: &ev})
	}
	if len(d.next.errands) != 1 {
		t.Fatalf("errands: %+v", d.next.errands)
	}
	d.step(input{event: &coord.Event{Result: &stint.ErrandResult{
		ID: d.next.errands[0].Errand.ID, Packs: []stint.Pack{{Key: "saved/pack", Bytes: 1, Ops: []stint.Range{one}}},
	}}})
	r := d.makeRecord(stint.Errand{Kind: stint.ErrandRecord, Execution: someID})
	if want := []string{"saved/pack", "saved/checkpoint"}; !slices.Equal(r.standsOn, want) {
		t.Errorf("%v, want %v", r.standsOn, want)
	}
}
