package coord

import (
	"testing"

	"stint"
	"stint/internal/plan"
)

// grantedState is one in which a node completed, began and was granted operations.
func grantedState(t *testing.T) *State {
	t.Helper()
	req := stint.Request{Output: "file:///out", Program: stint.Program{Name: "some", Stages: []stint.Stage{
		{Name: "map", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput}},
		{Name: "reduce", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.Shuffle, From: "map", Partitions: 2}},
	}}}
	p, err := plan.Make(scriptExecution, req, stint.Listing{Range: &stint.Values{Count: 20}}, plan.Choice{SubsetSize: 1, Exact: true, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	s := New(p, req, 1, 1000)
	node := nodeID("n1")
	s.Step(Event{At: 1000, Begin: true})
	s.Step(Event{At: 1000, Attach: &Attach{Node: stint.Node{ID: node, Incarnation: 1, Slots: 1}}})
	s.Step(Event{At: 1000, Assign: &Assign{Node: node, Incarnation: 1, Count: 10}})
	s.Step(Event{At: 1010, Report: &stint.Report{
		Node: node, Incarnation: 1, Seq: 1, Begun: []stint.Begun{{Job: s.lastJob, Ops: stint.Range{From: 0, To: 4}}},
		Done: []stint.Done{{Job: s.lastJob, Ops: []stint.OpDone{{Op: 1, Start: 1000, End: 1005}, {Op: 2, Start: 1005, End: 1009}}}},
	}})
	return s
}

func TestAStateThatContradictsItselfSaysSo(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(s *State){
		"a status that does not go with its stints":  func(s *State) { s.status = stint.Completed },
		"an end that is settled and none":            func(s *State) { s.settled = true },
		"a job that has more left than it has":       func(s *State) { s.jobs[s.lastJob].left++ },
		"an operation of a job that is not there":    func(s *State) { s.stages[0].ops[5].job = 99 },
		"an attempt that was not counted":            func(s *State) { s.stages[0].performed++ },
		"a count of operations that is another":      func(s *State) { s.stages[0].counts[pending]++ },
		"output of an operation that is not done":    func(s *State) { s.stages[0].ops[5].renamed = true },
		"a completion that is nowhere and is needed": func(s *State) { s.stages[0].ops[1].gone = true },
		"a part of an operation that is not done":    func(s *State) { s.parts[1].Name = "part-00001" },
		"usage that was not counted":                 func(s *State) { s.stages[0].ops[1].counted = false },
	} {
		s := grantedState(t)
		if faults := s.Faults(); faults != nil {
			t.Fatalf("a sound state: %q", faults)
		}
		if spoil(s); s.Faults() == nil {
			t.Errorf("%s: nothing is said", name)
		}
	}
}

func TestLookingForFaultsLeavesWhatIsToBeWritten(t *testing.T) {
	t.Parallel()
	s := grantedState(t)
	s.Snapshot()
	s.stages[0].touch(3)
	s.Faults()
	if n := len(s.Snapshot().Chunks); n != 1 {
		t.Errorf("%d chunks are written, want the one that changed", n)
	}
}

func TestWhatSavesMayComeLate(t *testing.T) {
	t.Parallel()
	if grantedState(t).MayComeLate() {
		t.Error("nobody was asked to save anything")
	}
	for name, change := range map[string]func(s *State){
		"saved as it goes along": func(s *State) { s.request.Save = stint.SaveContinuous },
		"in a pack": func(s *State) {
			s.Apply(Record{At: 1011, Saved: &SavedRecord{Packs: []stint.Pack{{Key: "p", Ops: []stint.Range{{From: 2, To: 3}}}}, Ops: []stint.Range{{From: 2, To: 3}}}})
		},
		"suspending": func(s *State) { s.Step(Event{At: 1011, Suspend: &SuspendAsk{}}) },
		"drained": func(s *State) {
			s.Step(Event{At: 1011, Drain: &DrainAsk{Node: nodeID("n1")}})
			s.Step(Event{At: 2011})
		},
	} {
		s := grantedState(t)
		if change(s); !s.MayComeLate() {
			t.Errorf("%s: nothing is looked for", name)
		}
	}
}

func TestLodgingsAreWhereNeededOutputLies(t *testing.T) {
	t.Parallel()
	s := grantedState(t)
	s.Apply(Record{At: 1011, Saved: &SavedRecord{Packs: []stint.Pack{{Key: "p", Ops: []stint.Range{{From: 2, To: 3}}}}, Ops: []stint.Range{{From: 2, To: 3}}}})
	var found []Lodging
	s.EachLodging(func(l Lodging) { found = append(found, l) })
	if len(found) != 2 || found[0].Op != 1 || found[0].Nodes[0] != nodeID("n1") || found[0].Packs != nil || found[1].Op != 2 || found[1].Packs[0] != "p" {
		t.Errorf("%+v", found)
	}

	for _, end := range []Event{{At: 1012, Terminate: true}, {At: 1012, Report: &stint.Report{
		Node: nodeID("n1"), Incarnation: 1, Seq: 2,
		Failures: []stint.Failure{{Job: s.lastJob, Op: 0, Error: &stint.Error{Code: stint.Invalid, Message: "no"}}},
	}}} {
		over := grantedState(t)
		if over.Step(end); over.Status() == stint.InProgress || over.Settled() {
			t.Fatalf("it is %s", over.Status())
		}
		over.EachLodging(func(l Lodging) { t.Errorf("%s, and needs %+v", over.Status(), l) })
	}
}
