package coord

import (
	"fmt"
	"testing"

	"stint"
	"stint/internal/plan"
)

const benchOps = 1_000_000

// benchState returns a state whose first stage of a million operations is
// completed, by turns on ten nodes, with outputs of 1 KB.
func benchState(b *testing.B) *State {
	b.Helper()
	const nodes, each = 10, 1000
	s := benchOf(b, nodes, benchOps, stint.Request{})
	for n := 0; n < benchOps; n += each {
		s.benchReport(n/each%nodes, n, each)
	}
	if !s.complete(0) {
		b.Fatal("not all operations are completed")
	}
	return s
}

// benchOf returns a state of which nothing is performed.
func benchOf(b *testing.B, nodes int, ops int64, req stint.Request) *State {
	b.Helper()
	req.Output = "file:///out"
	req.Program = stint.Program{Name: "bench", Stages: []stint.Stage{
		{Name: "map", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput}},
		{Name: "reduce", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.Shuffle, From: "map", Partitions: 4}},
	}}
	listing := stint.Listing{Range: &stint.Values{Count: ops}}
	p, err := plan.Make(scriptExecution, req, listing, plan.Choice{SubsetSize: 1, Exact: true, Partitions: 4})
	if err != nil {
		b.Fatal(err)
	}
	s := New(p, req, 1, 1000)
	s.Step(Event{At: 1000, Begin: true})
	for i := range nodes {
		s.Step(Event{At: 1000, Attach: &Attach{Node: stint.Node{ID: benchNode(i), Incarnation: 1, Slots: 1}}})
	}
	return s
}

func benchNode(i int) stint.NodeID { return nodeID(fmt.Sprintf("n%d", i)) }

// benchReport has a node be granted and complete operations of the first stage.
func (s *State) benchReport(node, first, ops int) {
	id := benchNode(node)
	s.Step(Event{At: 1000, Assign: &Assign{Node: id, Incarnation: 1, Count: ops}})
	r := &stint.Report{Node: id, Incarnation: 1, Seq: s.nodes[node].lastSeq + 1}
	done := stint.Done{Job: s.lastJob}
	for n := first; n < first+ops; n++ {
		done.Ops = append(done.Ops, stint.OpDone{Op: uint32(n), Start: 1000, End: 1005, BytesOut: 1000})
	}
	r.Begun = []stint.Begun{{Job: s.lastJob, Ops: stint.Range{From: uint32(first), To: uint32(first + ops)}}}
	r.Done = []stint.Done{done}
	s.Step(Event{At: 1010, Report: r})
}

// BenchmarkSuspendAndResume takes a million completed operations through a
// suspend and a resume, with everything but the bytes.
func BenchmarkSuspendAndResume(b *testing.B) {
	s := benchState(b)
	now := int64(2000)
	for b.Loop() {
		d := s.Step(Event{At: now, Suspend: &SuspendAsk{}})
		for s.Status() != stint.Suspended {
			var next []Dispatch
			for _, e := range d.Errands {
				r := &stint.ErrandResult{ID: e.Errand.ID}
				if e.Errand.Kind == stint.ErrandSave {
					r.Packs = []stint.Pack{{Key: e.Errand.Prefix + "-0", Bytes: 1, Stage: e.Errand.Stage, Ops: e.Errand.Ops}}
				}
				next = append(next, s.Step(Event{At: now, Result: r}).Errands...)
			}
			if d.Errands = next; len(next) == 0 && s.Status() != stint.Suspended {
				b.Fatal(s.waiting())
			}
		}
		s.Step(Event{At: now, Resume: &ResumeAsk{Generation: s.Generation() + 1}})
		s.sourcesOf(0)
		now += 1000
	}
}

// BenchmarkReplicate has a million outputs copied once.
func BenchmarkReplicate(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s := benchState(b)
		s.request.Replication = 2
		b.StartTimer()
		d := s.Step(Event{At: 2000})
		for len(d.Errands) > 0 {
			var next []Dispatch
			for _, e := range d.Errands {
				next = append(next, s.Step(Event{At: 2000, Result: &stint.ErrandResult{ID: e.Errand.ID, Ops: e.Errand.Ops}}).Errands...)
			}
			d.Errands = next
		}
	}
}

func BenchmarkSnapshot(b *testing.B) {
	s := benchState(b)
	for b.Loop() {
		s.SnapshotAll()
	}
}

func BenchmarkDurability(b *testing.B) {
	s := benchState(b)
	for b.Loop() {
		s.Durability(2000)
	}
}

// BenchmarkReportOfMany has a thousand nodes report completions while every one
// makes as many copies as it may.
func BenchmarkReportOfMany(b *testing.B) {
	const nodes, each = 1000, 10
	s := benchOf(b, nodes, 2_000_000, stint.Request{Replication: 2})
	next := 0
	report := func() {
		s.benchReport(next/each%nodes, next, each)
		next += each
	}
	for range 3 * nodes {
		report()
	}
	for b.Loop() {
		report()
	}
}
