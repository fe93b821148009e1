package coord

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stint"
	"stint/internal/wire"
)

// walked returns a state that has seen something of everything.
func walked(t *testing.T) *randomWalk {
	t.Helper()
	w := newRandomWalk(t, 5)
	for range 60 {
		w.step()
	}
	return w
}

func TestASnapshotDoesNotChangeWhenTheStateGoesOn(t *testing.T) {
	t.Parallel()
	w := newRandomWalk(t, 3)
	w.state.Step(Event{At: 1000, Attach: &Attach{Node: stint.Node{ID: "n0", Incarnation: 1, Slots: 1}}})
	w.state.Step(Event{At: 1000, Assign: &Assign{Node: "n0", Incarnation: 1, Count: 2}})
	report := func(seq uint64, n uint32) Event {
		return Event{Report: &stint.Report{Node: "n0", Incarnation: 1, Seq: seq, Done: []stint.Done{{
			Job: 1, Ops: []stint.OpDone{{Op: n}},
			Counters: []stint.CounterDelta{{Op: n, Group: "g", Name: "n", Value: 1}},
			Parts:    []stint.Part{{Op: n, Name: "p"}},
		}}}}
	}
	w.state.Step(report(1, 0))
	snap := w.state.SnapshotAll()
	before, err := wire.Marshal(snap)
	if err != nil {
		t.Fatal(err)
	}
	w.state.Step(report(2, 1))
	w.state.Step(Event{Gone: &Gone{Node: "n0"}})
	after, err := wire.Marshal(snap)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("the snapshot shares memory with the state:\n%s", d)
	}
}

func TestACompletionThatIsToldTwiceInOneReportCountsOnce(t *testing.T) {
	t.Parallel()
	w := newRandomWalk(t, 3)
	w.state.Step(Event{At: 1000, Attach: &Attach{Node: stint.Node{ID: "n0", Incarnation: 1, Slots: 1}}})
	w.state.Step(Event{At: 1000, Assign: &Assign{Node: "n0", Incarnation: 1, Count: 2}})
	counter := stint.CounterDelta{Group: "g", Name: "n", Value: 3}
	w.state.Step(Event{Report: &stint.Report{Node: "n0", Incarnation: 1, Seq: 1, Done: []stint.Done{{
		Job: 1, Ops: []stint.OpDone{{BytesOut: 5}, {BytesOut: 5}}, Counters: []stint.CounterDelta{counter, counter},
	}}}})
	doc := w.state.Document(2000)
	if got := doc.Counters["g"]["n"]; got != 3 || doc.Stages[0].BytesOut != 5 {
		t.Errorf("counter %d, want 3; %d bytes, want 5", got, doc.Stages[0].BytesOut)
	}
}

func TestASnapshotHoldsTheChunksThatChanged(t *testing.T) {
	t.Parallel()
	w := newRandomWalk(t, 3)
	if got, want := len(w.state.SnapshotAll().Chunks), len(w.plan.Spec.Stages); got != want {
		t.Errorf("%d chunks with all, want %d", got, want)
	}
	if got := len(w.state.Snapshot().Chunks); got != 0 {
		t.Errorf("%d chunks although nothing changed", got)
	}
	w.state.Step(Event{Attach: &Attach{Node: stint.Node{ID: "n0", Incarnation: 1, Slots: 1}}})
	w.state.Step(Event{Assign: &Assign{Node: "n0", Incarnation: 1, Count: 1}})
	snap := w.state.Snapshot()
	if len(snap.Chunks) != 1 || snap.Chunks[0].Stage != 0 {
		t.Errorf("chunks %+v after a grant of stage 0", snap.Chunks)
	}
}

func TestADamagedSnapshotIsRefused(t *testing.T) {
	t.Parallel()
	w := walked(t)
	for name, damage := range map[string]func(*Snapshot){
		"a chunk is missing":            func(s *Snapshot) { s.Chunks = s.Chunks[1:] },
		"a chunk is short":              func(s *Snapshot) { s.Chunks[0].Data = s.Chunks[0].Data[1:] },
		"a chunk of no stage":           func(s *Snapshot) { s.Chunks[0].Stage = 9 },
		"a chunk with a negative stage": func(s *Snapshot) { s.Chunks[0].Stage = -1 },
		"a chunk beyond the stage":      func(s *Snapshot) { s.Chunks[0].Index = 1 },
		"no such state":                 func(s *Snapshot) { s.Chunks[0].Data[0] = 9 },
		"an operation on no node":       func(s *Snapshot) { s.Chunks[0].Data[0], s.Chunks[0].Data[3] = byte(done), 200 },
		"another number of stages":      func(s *Snapshot) { s.Core.Stages = s.Core.Stages[:0] },
		"a job of no node": func(s *Snapshot) {
			s.Core.Jobs = []JobCore{{Grant: GrantRecord{Job: 1, Ops: stint.Range{To: 1}, Node: "nobody"}}}
		},
		"a job of no stage": func(s *Snapshot) {
			s.Core.Jobs = []JobCore{{Grant: GrantRecord{Job: 1, Stage: 7, Ops: stint.Range{To: 1}, Node: s.Core.Nodes[0].ID}}}
		},
		"a pack beyond its stage": func(s *Snapshot) {
			s.Core.Stages[0].Packs = []PackCore{{Ops: []stint.Range{{To: 1 << 20}}}}
		},
		"a pack with runs out of order": func(s *Snapshot) {
			s.Core.Stages[0].Packs = []PackCore{{Ops: []stint.Range{{From: 1, To: 2}, {To: 1}}}}
		},
		"copies on no node": func(s *Snapshot) {
			s.Core.Stages[0].Copies = []NodeOps{{Node: 900, Ops: []stint.Range{{To: 1}}}}
		},
		"output to be elsewhere than on no node": func(s *Snapshot) {
			s.Core.Stages[0].Avoided = []NodeOps{{Node: 900, Ops: []stint.Range{{To: 1}}}}
		},
		"output taken over beyond the stage": func(s *Snapshot) {
			s.Core.Stages[0].Origins = []OriginCore{{Ops: stint.Range{To: 1 << 20}}}
		},
		"a checkpoint of no operation": func(s *Snapshot) { s.Core.Checkpoints = []CheckpointCore{{Stage: 7}} },
		"a suspended job of no stage":  func(s *Snapshot) { s.Core.Held = []HeldCore{{Job: 1, Stage: -1}} },
		"a moved job of no node":       func(s *Snapshot) { s.Core.Moved = []MovedCore{{Job: 1, Node: 900}} },
		"an exception of no operation": func(s *Snapshot) {
			s.Core.Exceptions = []ExceptionCore{{Op: 1 << 20, Error: stint.Errorf(stint.Failed, "x")}}
		},
		"an exception without an error": func(s *Snapshot) { s.Core.Exceptions = []ExceptionCore{{Op: 1}} },
		"a failure without an error":    func(s *Snapshot) { s.Core.Failures = []stint.Failure{{Op: 1}} },
		"a failure of no operation": func(s *Snapshot) {
			s.Core.Failures = []stint.Failure{{Stage: 7, Error: stint.Errorf(stint.Failed, "x")}}
		},
		"in progress in no stint":       func(s *Snapshot) { s.Core.Status, s.Core.Stints = stint.InProgress, nil },
		"a voided job beyond its stage": func(s *Snapshot) { s.Core.Nodes[0].Voided = []VoidedCore{{Uncounted: []stint.Range{{To: 1 << 20}}}} },
	} {
		snap := w.state.SnapshotAll()
		if _, err := Restore(w.plan, w.request, 1, snap); err != nil {
			t.Fatalf("the snapshot itself: %v", err)
		}
		damage(&snap)
		if _, err := Restore(w.plan, w.request, 1, snap); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzRestore changes a byte of a snapshot: it is refused, or makes a state that
// can be looked at.
func FuzzRestore(f *testing.F) {
	f.Add(uint16(0), byte(0))
	f.Add(uint16(300), byte(0xc1))
	f.Add(uint16(40), byte(7))
	f.Fuzz(func(t *testing.T, at uint16, value byte) {
		w := walked(t)
		b, err := wire.Marshal(w.state.SnapshotAll())
		if err != nil {
			t.Fatal(err)
		}
		b[int(at)%len(b)] = value
		var snap Snapshot
		if wire.Unmarshal(b, &snap) != nil {
			return
		}
		s, err := Restore(w.plan, w.request, 1, snap)
		if err != nil {
			return
		}
		s.Document(2000)
		s.Demands(2000)
		s.Resume(2000)
	})
}

func TestARecordIsTheSameWhenItWasKept(t *testing.T) {
	t.Parallel()
	w := walked(t)
	b, err := wire.Marshal(w.records)
	if err != nil {
		t.Fatal(err)
	}
	var kept []Record
	if err := wire.Unmarshal(b, &kept); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w.records, kept, cmpopts.IgnoreUnexported(stint.Range{}, stint.OpDone{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("(-made +kept):\n%s", d)
	}
}
