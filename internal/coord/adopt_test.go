package coord

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stint"
	"stint/internal/plan"
)

// files are the input of the tests of adoption: some of these, each one operation.
func files(names ...int) (l stint.Listing) {
	for _, n := range names {
		l.Objects = append(l.Objects, stint.Object{URL: fmt.Sprintf("file:///in/%04d", n), Size: 10, Version: "v"})
	}
	return l
}

// adoptable is an execution whose input may change.
type adoptable struct {
	req    stint.Request
	choice plan.Choice
}

// reducing counts what is in files; copying gathers them into parts: one for each
// of two files of 32 MiB.
func reducing() adoptable {
	return adoptable{
		req: stint.Request{Output: "file:///out", Program: stint.Program{Name: "p", Stages: []stint.Stage{
			{Name: "map", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput}},
			{Name: "reduce", Action: stint.Action{Native: "sum"}, Input: stint.Edge{Kind: stint.Shuffle, From: "map", Partitions: 2}},
		}}},
		choice: plan.Choice{SubsetSize: 16 << 20, Exact: true, Partitions: 2},
	}
}

func copying() adoptable {
	a := reducing()
	a.req.Program.Stages = a.req.Program.Stages[:1]
	return a
}

func (a adoptable) plan(t *testing.T, id stint.ExecutionID, l stint.Listing) *plan.Plan {
	t.Helper()
	p, err := plan.Make(id, a.req, l, a.choice)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func large(l stint.Listing) stint.Listing {
	for i := range l.Objects {
		l.Objects[i].Size = 32 << 20
	}
	return l
}

// performing makes a state in which node n-a has performed the even ones of
// operations of the first stage, n-b the odd ones, and n-b all of the second.
func (a adoptable) performing(t *testing.T, p *plan.Plan, first, second []stint.Range) *State {
	t.Helper()
	s := New(p, a.req, 1, 1000)
	s.Apply(Record{At: 1000, Status: &StatusRecord{Status: stint.InProgress}})
	for _, id := range []stint.NodeID{"n-a", "n-b"} {
		s.Apply(Record{At: 1000, Attach: &AttachRecord{Node: stint.Node{ID: id, Name: string(id), Address: string(id) + ":1", Slots: 2, Incarnation: 3}}})
	}
	for k, ops := range [][]stint.Range{first, second} {
		for _, r := range ops {
			for n := r.From; n < r.To; n++ {
				completeOp(s, k, n)
			}
		}
	}
	return s
}

func completeOp(s *State, k int, n uint32) {
	id, job := stint.NodeID("n-b"), s.lastJob+1
	if k == 0 && n%2 == 0 {
		id = "n-a"
	}
	s.Apply(Record{At: 2000, Grant: &GrantRecord{Job: job, Stage: k, Ops: stint.Range{From: n, To: n + 1}, Attempt: 1, Node: id, Incarnation: 3}})
	done := stint.Done{Job: job, Stage: k, Ops: []stint.OpDone{{Op: n, Start: 2000, End: 2000 + int64(n), BytesIn: 10, InputSum: 100 + uint64(n)}}}
	if s.stages[k].spec.Part {
		done.Parts = []stint.Part{{Op: n, Name: fmt.Sprintf("part-%05d.1-%d", n, job), Bytes: 5}}
	}
	s.Apply(Record{At: 3000, Report: &stint.Report{
		Node: id, Incarnation: 3, Seq: uint64(job),
		Begun: []stint.Begun{{Job: job, Ops: stint.Range{From: n, To: n + 1}}}, Done: []stint.Done{done},
	}})
}

func doneOps(s *State, k int) (out []stint.Range) {
	for n := range s.stages[k].ops {
		if s.stages[k].ops[n].state == done {
			out = stint.AddToRanges(out, uint32(n))
		}
	}
	return out
}

// save puts output of the first stage into a pack.
func save(s *State, key string, ops []stint.Range) {
	s.Apply(Record{At: 4000, Saved: &SavedRecord{Packs: []stint.Pack{{Key: key, Ops: ops}}, Ops: ops}})
}

// everything saves all output in a pack, and returns what is kept if nothing is lost.
func everything(old *State) Kept {
	save(old, "saved/x-a/pack-1", doneOps(old, 0))
	k := Kept{Nodes: make(map[stint.NodeID][]stint.StageOps), Parts: old.StagedParts()}
	for stage := range old.stages {
		for n, o := range old.stages[stage].ops {
			if o.state == done {
				id := old.nodes[o.node].id
				k.Nodes[id] = append(k.Nodes[id], stint.StageOps{Stage: stage, Ops: []stint.Range{{From: uint32(n), To: uint32(n) + 1}}})
			}
		}
	}
	return k
}

func ranges(bounds ...uint32) (out []stint.Range) {
	for i := 0; i < len(bounds); i += 2 {
		out = append(out, stint.Range{From: bounds[i], To: bounds[i+1]})
	}
	return out
}

func difference(want, got any) string {
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(stint.Range{}), cmpopts.EquateEmpty())
}

const (
	earlier = stint.ExecutionID("x-aaaaaaaaaaaaaaaa")
	another = stint.ExecutionID("x-bbbbbbbbbbbbbbbb")
)

func TestOnlyWhatChangedIsPerformedAgain(t *testing.T) {
	t.Parallel()
	changed := files(1, 2, 3, 4)
	changed.Objects[1].Version = "w"
	for _, c := range []struct {
		name          string
		of            adoptable
		now           stint.Listing
		first, second []stint.Range // completed earlier
		want          [2][]stint.Range
		redone        []stint.Redone
	}{
		{"nothing", reducing(), files(1, 2, 3, 4), ranges(0, 4), ranges(0, 1), [2][]stint.Range{ranges(0, 4), ranges(0, 1)}, nil},
		{
			"a version", reducing(), changed, ranges(0, 4), ranges(0, 2),
			[2][]stint.Range{ranges(0, 1, 2, 4), nil},
			[]stint.Redone{{Stage: "map", Operations: 1, Reason: whyInput}, {Stage: "reduce", Operations: 2, Reason: whyInput}},
		},
		{
			"one more", reducing(), files(0, 1, 2, 3, 4), ranges(0, 3), nil,
			[2][]stint.Range{ranges(1, 4), nil},
			nil,
		},
		{
			"one less", reducing(), files(2, 3, 4), ranges(0, 4), nil,
			[2][]stint.Range{ranges(0, 3), nil},
			[]stint.Redone{{Stage: "map", Operations: 1, Reason: whyInput}},
		},
		{
			"a part more", copying(), large(files(0, 1, 2, 3, 4)), ranges(0, 8), ranges(0, 2),
			[2][]stint.Range{ranges(2, 10), ranges(2, 3)},
			[]stint.Redone{{Stage: "map-parts", Operations: 1, Reason: whyInput}},
		},
	} {
		for _, id := range []stint.ExecutionID{earlier, another} {
			was := files(1, 2, 3, 4)
			if len(c.of.req.Program.Stages) == 1 {
				was = large(was)
			}
			old := c.of.performing(t, c.of.plan(t, earlier, was), c.first, c.second)
			s, a := Adopt(old, c.of.plan(t, id, c.now), c.of.req, 2, 9000, everything(old), nil)
			checkInvariants(t, s)
			for k, want := range c.want {
				if d := difference(want, doneOps(s, k)); d != "" {
					t.Errorf("%s, %s: completed in stage %d (-want +got):\n%s", c.name, id, k, d)
				}
			}
			if d := difference(c.redone, a.Redone); d != "" {
				t.Errorf("%s, %s: redone (-want +got):\n%s", c.name, id, d)
			}
		}
	}
}

// A completed operation whose output is nowhere is performed again if its output
// is needed, and only then.
func TestWhatIsNotKeptIsPerformedAgainIfItIsNeeded(t *testing.T) {
	t.Parallel()
	for _, id := range []stint.ExecutionID{earlier, another} {
		of := reducing()
		old := of.performing(t, of.plan(t, earlier, files(1, 2, 3, 4)), ranges(0, 4), ranges(0, 2))
		kept := everything(old)
		kept.Nodes["n-a"] = nil
		old.stages[0].packs[0].ops = ranges(1, 2, 3, 4)
		s, a := Adopt(old, of.plan(t, id, files(1, 2, 3, 4)), of.req, 2, 9000, kept, nil)
		checkInvariants(t, s)
		if d := difference(ranges(0, 4), doneOps(s, 0)); d != "" || len(a.Redone) > 0 {
			t.Errorf("%s: with all parts staged, completed (-want +got):\n%s\nand redone %v", id, d, a.Redone)
		}
		old.parts[1], kept.Parts = stint.Part{}, kept.Parts[:1]
		s, a = Adopt(old, of.plan(t, id, files(1, 2, 3, 4)), of.req, 2, 9000, kept, nil)
		checkInvariants(t, s)
		if d := difference(ranges(1, 2, 3, 4), doneOps(s, 0)); d != "" {
			t.Errorf("%s: with a part missing, completed (-want +got):\n%s", id, d)
		}
		if d := difference([]stint.Redone{{Stage: "map", Operations: 2, Reason: whyGone}, {Stage: "reduce", Operations: 1, Reason: whyGone}}, a.Redone); d != "" {
			t.Errorf("%s: redone (-want +got):\n%s", id, d)
		}
		if d := difference([]int64{2, 1}, a.Reused); d != "" {
			t.Errorf("%s: reused (-want +got):\n%s", id, d)
		}
		if _, known := s.nodeIndex("n-a"); !known || s.stages[0].starts[0] != 0 || s.stages[0].inputSums[0] != 0 || s.stages[0].ops[0] != (op{}) {
			t.Errorf("%s: something is known of an operation that is to be performed: %+v", id, s.stages[0].ops[0])
		}
	}
}

func TestAnotherExecutionGivesItsOutputAndNothingElse(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(1, 2, 3, 4)), ranges(0, 4), ranges(0, 2))
	s, _ := Adopt(old, of.plan(t, another, files(0, 1, 2, 3, 4)), of.req, 2, 9000, everything(old), nil)
	if s.Status() != stint.Queued || s.Version() != 0 || s.lastJob != 0 || len(s.stints) > 0 || s.base != 9000 {
		t.Errorf("status %s, version %d, last job %s, stints %v, from %d", s.Status(), s.Version(), s.lastJob, s.stints, s.base)
	}
	doc := s.Document(9000)
	if doc.Operations.Performed != 0 || doc.Operations.Completed != 4 || doc.Operations.Reused != 4 || doc.Stages[0].BytesIn != 0 {
		t.Errorf("the document says %+v and %+v", doc.Operations, doc.Stages[0])
	}
	for _, id := range []stint.NodeID{"n-a", "n-b"} {
		attach(s, id)
	}
	want := map[uint32]string{1: "n-a x-aaaaaaaaaaaaaaaa 0/0", 2: "n-b x-aaaaaaaaaaaaaaaa 0/1", 3: "n-a x-aaaaaaaaaaaaaaaa 0/2", 4: "n-b x-aaaaaaaaaaaaaaaa 0/3"}
	if d := difference(want, found(s)); d != "" {
		t.Errorf("output can be had (-want +got):\n%s", d)
	}
	if d := difference(ranges(1, 5), doneOps(s, 0)); d != "" {
		t.Errorf("when its nodes have come, which announce none of it, completed (-want +got):\n%s", d)
	}
	s.Apply(Record{At: 9000, Gone: &Gone{Node: "n-a", Lost: true}})
	if d := difference(ranges(2, 3, 4, 5), doneOps(s, 0)); d != "" {
		t.Errorf("when a node is lost, completed (-want +got):\n%s", d)
	}
	completeOp(s, 0, 3)
	want = map[uint32]string{2: "n-b x-aaaaaaaaaaaaaaaa 0/1", 3: "n-b", 4: "n-b x-aaaaaaaaaaaaaaaa 0/3"}
	if d := difference(want, found(s)); d != "" {
		t.Errorf("when one was performed again, output can be had (-want +got):\n%s", d)
	}
}

// What a suspended execution completed lies in its packs alone: of those there are
// copies that the new one keeps, whatever becomes of the other.
func TestAnotherExecutionGivesCopiesOfItsPacks(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(1, 2, 3, 4, 5)), ranges(0, 5), nil)
	save(old, "saved/x-a/pack-1", ranges(0, 2))
	save(old, "saved/x-a/pack-2", ranges(2, 4))
	now := of.plan(t, another, files(0, 1, 2, 3, 5))
	var keys []string
	for _, p := range AdoptablePacks(old, now, nil) {
		keys = append(keys, p.Key)
	}
	if d := difference([]string{"saved/x-a/pack-1", "saved/x-a/pack-2"}, keys); d != "" {
		t.Errorf("there is use for (-want +got):\n%s", d)
	}
	if none := AdoptablePacks(old, of.plan(t, another, files(5)), nil); len(none) > 0 {
		t.Errorf("there is use for %v of what has nothing in them", none)
	}
	kept := Kept{Packs: map[string]string{"saved/x-a/pack-2": "saved/x-b/reused-0"}, Nodes: map[stint.NodeID][]stint.StageOps{"n-a": {{Ops: ranges(2, 3, 4, 5)}}}}
	s, a := Adopt(old, now, of.req, 2, 9000, kept, nil)
	checkInvariants(t, s)
	attach(s, "n-a")
	want := map[uint32]string{3: "saved/x-b/reused-0 x-aaaaaaaaaaaaaaaa 0/2", 4: "n-a x-aaaaaaaaaaaaaaaa 0/4"}
	if d := difference(want, found(s)); d != "" {
		t.Errorf("output can be had (-want +got):\n%s", d)
	}
	if a.Reused[0] != 2 || s.Document(9000).Saved.Operations != 1 || len(s.Packs()) != 1 || s.Packs()[0].Key != "saved/x-b/reused-0" {
		t.Errorf("reused %v, saved %v", a.Reused, s.Packs())
	}
	s.Apply(Record{At: 9000, Bad: &BadRecord{Copies: []stint.BadCopy{{Pack: "saved/x-b/reused-0"}}}})
	if d := difference(ranges(4, 5), doneOps(s, 0)); d != "" {
		t.Errorf("when the pack is damaged, completed (-want +got):\n%s", d)
	}
}

func attach(s *State, id stint.NodeID) {
	s.Apply(Record{At: 9000, Attach: &AttachRecord{Node: stint.Node{ID: id, Name: string(id), Address: string(id) + ":1", Slots: 2, Incarnation: 3}}})
}

// found says where the output of each operation of the first stage can be had, and
// under which name if it is not its own.
func found(s *State) map[uint32]string {
	out := make(map[uint32]string)
	for _, src := range s.sourcesOf(0).list {
		for _, r := range src.Ops {
			for n := r.From; n < r.To; n++ {
				where := string(src.Node)
				if src.Pack != nil {
					where = src.Pack.Key
				}
				if o := src.Origin; o != nil {
					where += fmt.Sprintf(" %s %d/%d", o.Execution, o.Stage, o.First+n-src.Ops[0].From)
				}
				if out[n] == "" {
					out[n] = where
				}
			}
		}
	}
	return out
}

// What a node has in its cache of an execution whose input changed may be the
// output of another operation than it seems.
func TestOnlyANodeThatIsKnownToHoldOutputIsBelieved(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(1, 2, 3, 4)), ranges(0, 4), nil)
	kept := everything(old)
	kept.Nodes["n-b"], kept.Nodes["n-c"], kept.Nodes["n-a"] = kept.Nodes["n-a"], kept.Nodes["n-b"], []stint.StageOps{{Stage: 9, Ops: ranges(0, 2)}, {Stage: 0, Ops: ranges(2, 9)}}
	s, _ := Adopt(old, of.plan(t, another, files(1, 2, 3, 4)), of.req, 2, 9000, kept, nil)
	if d := difference(ranges(2, 3), doneOps(s, 0)); d != "" {
		t.Errorf("completed (-want +got):\n%s", d)
	}
	kept.Nodes["n-a"], kept.Nodes["n-b"] = []stint.StageOps{{Ops: ranges(2, 3)}, {Ops: ranges(0, 1)}}, nil
	old.stages[0].ops[0].gone = true
	if s, _ = Adopt(old, of.plan(t, another, files(1, 2, 3, 4)), of.req, 2, 9000, kept, nil); difference(ranges(2, 3), doneOps(s, 0)) != "" {
		t.Errorf("with one gone, completed: %v", doneOps(s, 0))
	}
	old.stages[0].ops[0].gone, old.stages[0].ops[2].renamed = false, true
	if s, _ = Adopt(old, of.plan(t, another, files(1, 2, 3, 4)), of.req, 2, 9000, kept, nil); difference(ranges(0, 1), doneOps(s, 0)) != "" {
		t.Errorf("with one taken over itself, completed: %v", doneOps(s, 0))
	}
}

func TestACopyIsAsGoodAsWhatIsLost(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(1, 2)), ranges(0, 2), nil)
	attach(old, "n-c")
	old.Apply(Record{At: 3000, Copied: &CopiedRecord{Node: "n-c", Ops: ranges(0, 1)}})
	kept := Kept{Nodes: map[stint.NodeID][]stint.StageOps{"n-c": {{Ops: ranges(1, 2)}, {Ops: ranges(0, 1)}}}}
	s, _ := Adopt(old, of.plan(t, another, files(0, 1, 2)), of.req, 2, 9000, kept, nil)
	attach(s, "n-c")
	if d := difference(map[uint32]string{1: "n-c x-aaaaaaaaaaaaaaaa 0/0"}, found(s)); d != "" {
		t.Errorf("output can be had (-want +got):\n%s", d)
	}
}

// TestAdoptionOfAnything changes the input of executions that were stopped anywhere.
func TestAdoptionOfAnything(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 2))
		of := []adoptable{reducing(), copying()}[seed%2]
		before, after := randomFiles(rng), randomFiles(rng)
		if seed%2 == 1 {
			before, after = large(before), large(after)
		}
		p := of.plan(t, earlier, before)
		old := of.performing(t, p, common(randomRanges(rng), ranges(0, p.Spec.Stages[0].Operations)), nil)
		if p.Spec.Stages[1].Operations > 0 && old.complete(0) || p.Spec.Stages[1].Gather != nil {
			for n := range p.Spec.Stages[1].Operations {
				if old.unblocked(1, n) && rng.IntN(2) == 0 {
					completeOp(old, 1, n)
				}
			}
		}
		kept := everything(old)
		packs := &old.stages[0].packs
		*packs = nil
		save(old, "p1", common(randomRanges(rng), doneOps(old, 0)))
		save(old, "p2", common(randomRanges(rng), doneOps(old, 0)))
		id, has := earlier, func(m uint32) bool {
			return slices.ContainsFunc(*packs, func(p pack) bool { return stint.RangesContain(p.ops, m) })
		}
		if rng.IntN(2) == 0 {
			kept.Nodes["n-a"] = []stint.StageOps{{Ops: randomRanges(rng)}}
			kept.Packs = map[string]string{"p2": "saved/x-b/reused-0"}
			id, has = another, func(m uint32) bool {
				copied := slices.ContainsFunc(*packs, func(p pack) bool { return p.Key == "p2" && stint.RangesContain(p.ops, m) })
				return copied || m%2 == 1 || stint.RangesContain(kept.Nodes["n-a"][0].Ops, m)
			}
		}
		now := of.plan(t, id, after)
		s, _ := Adopt(old, now, of.req, 2, 9000, kept, nil)
		checkInvariants(t, s)
		want := make(map[uint32]bool)
		for n, m := range each(plan.Same(now, p, 0, nil)) {
			if old.stages[0].ops[m].state == done && (has(m) || !s.needed(0, n)) {
				want[n] = true
			}
		}
		got := make(map[uint32]bool)
		for n := range s.stages[0].ops {
			if s.stages[0].ops[n].state == done {
				got[uint32(n)] = true
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("seed %d, %s (-want +got):\n%s", seed, id, d)
		}
		if d := diff(s, restored(t, s, now, of.req)); d != "" {
			t.Errorf("seed %d, %s: the snapshot gives another state (-live +restored):\n%s", seed, id, d)
		}
	}
}

func randomFiles(rng *rand.Rand) (l stint.Listing) {
	for n := range 12 {
		if rng.IntN(4) > 0 {
			l.Objects = append(l.Objects, files(n).Objects...)
		}
	}
	return l
}

func TestAnExecutionKeepsItsHistory(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(1, 2, 3, 4)), ranges(0, 4), ranges(0, 1))
	old.addCounter(stint.CounterDelta{Group: "g", Name: "n", Value: 3})
	old.held, old.moved = []heldJob{{id: 1}}, []movedJob{{id: 2}}
	old.exceptions[opKey{1, 1}] = &exception{failed: 2}
	old.retries, old.chores, old.fatal = []opKey{{1, 1}}, &chores{}, &stint.Error{}
	old.nodes[0].voided = []voidedJob{{id: 1}}
	s, _ := Adopt(old, of.plan(t, earlier, files(1, 3, 4, 5)), of.req, 2, 9000, everything(old), nil)
	if s.Status() != stint.InProgress || s.Version() != old.Version() || s.lastJob != old.lastJob || s.base != 1000 || len(s.stints) != 1 {
		t.Errorf("status %s, version %d, last job %s, from %d, stints %v", s.Status(), s.Version(), s.lastJob, s.base, s.stints)
	}
	if s.nodes[1].incarnation != 3 || s.nodes[1].lastSeq != old.nodes[1].lastSeq || !s.nodes[1].performed || s.nodes[0].voided != nil {
		t.Errorf("node %+v", s.nodes[1])
	}
	if s.stages[0].inputSums[1] != 102 {
		t.Errorf("the sum of the input of map/1, once map/2, is %d", s.stages[0].inputSums[1])
	}
	if len(s.held) > 0 || len(s.moved) > 0 || len(s.exceptions) > 0 || len(s.retries) > 0 || s.fatal != nil || s.chores != nil {
		t.Errorf("of operations by their old numbers there is: held %v, moved %v, exceptions %v", s.held, s.moved, s.exceptions)
	}
	if doc := s.Document(9000); doc.Operations.Performed != 5 || doc.Stages[0].BytesIn != 40 || doc.Counters["g"]["n"] != 3 {
		t.Errorf("the document says %+v, %+v, %v", doc.Operations, doc.Stages[0], doc.Counters)
	}
	if o := s.stages[0].ops[1]; o.job != old.stages[0].ops[2].job || o.attempts != 1 || !o.counted || o.end != 1002 || s.stages[0].starts[1] != 1000 {
		t.Errorf("operation map/1, once map/2, is %+v from %d", o, s.stages[0].starts[1])
	}
	s.counters["g"]["n"], s.nodes[0].slots = 9, 9
	if old.counters["g"]["n"] != 3 || old.nodes[0].slots == 9 {
		t.Error("the earlier state changed")
	}
}

// An execution's input may change more than once: packs are named as they were
// when they were written.
func TestPacksKeepTheNamesOfTheirTime(t *testing.T) {
	t.Parallel()
	of := reducing()
	first := of.performing(t, of.plan(t, earlier, files(10, 20, 30, 40)), ranges(0, 4), nil)
	save(first, "p1", ranges(0, 2))
	save(first, "p2", ranges(2, 4))
	second, _ := Adopt(first, of.plan(t, earlier, files(10, 15, 20, 30, 40)), of.req, 2, 9000, Kept{}, nil)
	want := map[uint32]string{0: "p1 x-aaaaaaaaaaaaaaaa 0/0", 2: "p1 x-aaaaaaaaaaaaaaaa 0/1", 3: "p2 x-aaaaaaaaaaaaaaaa 0/2", 4: "p2 x-aaaaaaaaaaaaaaaa 0/3"}
	if d := difference(want, found(second)); d != "" {
		t.Errorf("after one change (-want +got):\n%s", d)
	}
	completeOp(second, 0, 1)
	save(second, "p3", ranges(1, 2))
	third, _ := Adopt(second, of.plan(t, earlier, files(5, 10, 15, 20, 40)), of.req, 3, 9000, Kept{}, nil)
	want = map[uint32]string{1: "p1 x-aaaaaaaaaaaaaaaa 0/0", 2: "p3 x-aaaaaaaaaaaaaaaa 0/1", 3: "p1 x-aaaaaaaaaaaaaaaa 0/1", 4: "p2 x-aaaaaaaaaaaaaaaa 0/3"}
	if d := difference(want, found(third)); d != "" {
		t.Errorf("after two changes (-want +got):\n%s", d)
	}
	checkInvariants(t, third)
	if got := third.savedReport().Operations; got != 4 {
		t.Errorf("%d operations are saved", got)
	}
	fourth, _ := Adopt(third, of.plan(t, earlier, files(10, 15, 20)), of.req, 3, 9000, Kept{}, nil)
	want = map[uint32]string{0: "p1 x-aaaaaaaaaaaaaaaa 0/0", 1: "p3", 2: "p1 x-aaaaaaaaaaaaaaaa 0/1"}
	if d := difference(want, found(fourth)); d != "" || len(fourth.stages[0].packs) != 2 {
		t.Errorf("when one is named as it was, with packs %v (-want +got):\n%s", fourth.stages[0].packs, d)
	}
	if same, _ := Adopt(first, of.plan(t, earlier, files(10, 20, 30, 40)), of.req, 3, 9000, Kept{}, nil); len(same.stages[0].origins) > 0 {
		t.Errorf("when nothing changed, origins are %v", same.stages[0].origins)
	}
}

// What is in two packs is taken from the first.
func TestAnOperationGoesByOneName(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(10, 20, 30)), ranges(0, 3), nil)
	save(old, "p1", ranges(0, 2))
	save(old, "p2", ranges(1, 3))
	s, _ := Adopt(old, of.plan(t, earlier, files(20, 30)), of.req, 2, 9000, Kept{}, nil)
	if got := s.stages[0].packs; len(got) != 2 || difference(ranges(0, 1), got[0].ops) != "" || difference(ranges(1, 2), got[1].ops) != "" {
		t.Errorf("packs %+v", got)
	}
}

func TestCheckpointsGoToTheOperationThatWroteThem(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(10, 20, 30)), nil, nil)
	for n := range uint32(3) {
		old.checkpoints[opKey{0, n}] = stint.Checkpoint{Op: n, Key: fmt.Sprint(n)}
	}
	old.checkpoints[opKey{1, 0}] = stint.Checkpoint{Key: "of reduce"}
	p := of.plan(t, earlier, files(5, 10, 30))
	s, _ := Adopt(old, p, of.req, 2, 9000, Kept{}, nil)
	if d := difference([]stint.Checkpoint{{Op: 1, Key: "0"}, {Op: 2, Key: "2"}}, s.Checkpoints()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := diff(s, restored(t, s, p, of.req)); d != "" {
		t.Errorf("the snapshot gives another state (-live +restored):\n%s", d)
	}
}

func TestTouchedInputIsTakenForWhatItIs(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(1, 2)), ranges(0, 2), ranges(0, 2))
	touched := files(1, 2)
	touched.Objects[0].Version = "w"
	s, a := Adopt(old, of.plan(t, earlier, touched), of.req, 2, 9000, everything(old), func(_, _ stint.Object) bool { return true })
	if !s.complete(0) || !s.complete(1) || len(a.Redone) > 0 {
		t.Errorf("of input that was touched %v are performed again", a.Redone)
	}
}

func TestAnotherCommandIsNamed(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(1, 2)), ranges(0, 2), ranges(0, 2))
	other := reducing()
	other.req.Program.Stages[1].Action.Native = "sort"
	s, a := Adopt(old, other.plan(t, another, files(1, 2)), other.req, 2, 9000, everything(old), nil)
	if d := difference([]stint.Redone{{Stage: "reduce", Operations: 2, Reason: "changed: command"}}, a.Redone); d != "" {
		t.Errorf("redone (-want +got):\n%s", d)
	}
	if !s.complete(0) || s.stages[1].counts[done] != 0 || stint.CountRanges(s.stages[1].ready) != 2 {
		t.Errorf("completed %v and %v, ready %v", s.stages[0].counts, s.stages[1].counts, s.stages[1].ready)
	}
	shorter := copying()
	shorter.req.Program.Stages[0].NoOutput = true
	old.checkpoints[opKey{1, 1}] = stint.Checkpoint{Key: "of a stage that is no more"}
	if s, a := Adopt(old, shorter.plan(t, earlier, files(1, 2)), shorter.req, 2, 9000, Kept{}, nil); len(a.Redone) != 2 || len(s.checkpoints) > 0 {
		t.Errorf("of a program with a stage less %v, checkpoints %v", a.Redone, s.checkpoints)
	}
}

func TestPartsThatAreTheSameCanBeAdopted(t *testing.T) {
	t.Parallel()
	of := copying()
	old := of.performing(t, of.plan(t, earlier, large(files(1, 2, 3, 4))), ranges(0, 8), ranges(1, 2))
	p := of.plan(t, another, large(files(0, 1, 2, 3, 4)))
	parts := AdoptableParts(old, p, nil)
	if len(parts) != 1 || parts[0] != old.parts[1] {
		t.Fatalf("parts %v of %v", parts, old.parts)
	}
	parts[0].Name = "part-00001.adopted"
	s, _ := Adopt(old, p, of.req, 2, 9000, Kept{Parts: parts}, nil)
	if got := s.parts[2]; got.Op != 2 || got.Name != "part-00001.adopted" || !s.complete(1) && s.stages[1].ops[2].state != done {
		t.Errorf("part %+v", got)
	}
	if d := difference(ranges(6, 10), doneOps(s, 0)); d != "" {
		t.Errorf("what the adopted part was made of is completed, and nothing else (-want +got):\n%s", d)
	}
}

// Nodes and packs may be lost afterwards as at any other time.
func TestAnAdoptedStateIsKeptAsAnyOther(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(1, 2, 3, 4)), ranges(0, 4), nil)
	for _, id := range []stint.ExecutionID{earlier, another} {
		p := of.plan(t, id, files(0, 1, 2, 4))
		s, _ := Adopt(old, p, of.req, 2, 9000, everything(old), nil)
		if d := diff(s, restored(t, s, p, of.req)); d != "" {
			t.Errorf("%s: the snapshot gives another state (-live +restored):\n%s", id, d)
		}
	}
}

func TestRunsAreFollowedBack(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var runs []plan.Run
		there, ops := uint32(0), randomRanges(rng)
		for _, r := range randomRanges(rng) {
			there += rng.Uint32N(4)
			runs = append(runs, plan.Run{Ops: r, First: there})
			there += uint32(r.Len())
		}
		want := make(map[uint32]uint32)
		for n, m := range each(runs) {
			if stint.RangesContain(ops, m) {
				want[n] = m
			}
		}
		if d := cmp.Diff(want, maps.Collect(each(runsFrom(runs, ops)))); d != "" {
			t.Fatalf("%v from %v (-want +got):\n%s", runs, ops, d)
		}
	}
}

func randomRanges(rng *rand.Rand) (out []stint.Range) {
	at := uint32(0)
	for range rng.IntN(5) {
		from := at + 1 + rng.Uint32N(4)
		at = from + 1 + rng.Uint32N(4)
		out = append(out, stint.Range{From: from, To: at})
	}
	return out
}

// BenchmarkAdopt takes over a million operations.
func BenchmarkAdopt(b *testing.B) {
	of := reducing()
	var l stint.Listing
	for i := range 1_000_000 {
		l.Objects = append(l.Objects, stint.Object{URL: fmt.Sprintf("file:///data/input/%012d.txt", i), Size: 1000, Version: "1000-1700000000000000000"})
	}
	before, err := plan.Make(earlier, of.req, l, of.choice)
	if err != nil {
		b.Fatal(err)
	}
	l.Objects = slices.Delete(slices.Clone(l.Objects), 500, 501)
	now, err := plan.Make(another, of.req, l, of.choice)
	if err != nil {
		b.Fatal(err)
	}
	old := New(before, of.req, 1, 0)
	old.nodes = []node{{id: "n-a"}, {id: "n-b"}}
	for n := range old.stages[0].ops {
		old.stages[0].ops[n] = op{state: done, node: uint16(n / 50 % 2)}
	}
	old.derive()
	kept := Kept{Nodes: map[stint.NodeID][]stint.StageOps{
		"n-a": {{Ops: ranges(0, 1_000_000)}}, "n-b": {{Ops: ranges(0, 1_000_000)}},
	}}
	for b.Loop() {
		if s, _ := Adopt(old, now, of.req, 2, 0, kept, nil); s.stages[0].counts[done] != 999_999 {
			b.Fatal(s.stages[0].counts)
		}
	}
}

// What did without operations that failed for good is not what it should be, though
// its identity is the same.
func TestWhatWasMadeWithoutFailedOperationsIsNotTakenOver(t *testing.T) {
	t.Parallel()
	of := joining()
	yes := true
	of.req.CompleteErrors = &yes
	l := sides(files(1, 2), files(1, 2))
	old := of.performing(t, of.plan(t, earlier, l), ranges(0, 2), ranges(0, 1))
	old.Apply(Record{At: 2000, Grant: &GrantRecord{Job: 90, Stage: 1, Ops: stint.Range{From: 1, To: 2}, Attempt: 1, Node: "n-b", Incarnation: 3}})
	old.Apply(Record{At: 3000, Report: &stint.Report{Node: "n-b", Incarnation: 3, Seq: 90, Failures: []stint.Failure{{Job: 90, Stage: 1, Op: 1, Error: stint.Errorf(stint.Invalid, "no")}}}})
	completeOp(old, 2, 0)
	completeOp(old, 2, 1)
	if !old.endsWithErrors() {
		t.Fatal("it has not ended with errors")
	}
	p := of.plan(t, another, l)
	if parts := AdoptableParts(old, p, nil); parts != nil {
		t.Errorf("parts that could be taken over: %v", parts)
	}
	s, adoption := Adopt(old, p, of.req, 2, 9000, everything(old), nil)
	checkInvariants(t, s)
	for k, want := range [][]stint.Range{ranges(0, 2), ranges(0, 1), nil} {
		if d := difference(want, doneOps(s, k)); d != "" {
			t.Errorf("stage %d (-want +got):\n%s", k, d)
		}
	}
	if d := difference([]stint.Redone{{Stage: "join", Operations: 2, Reason: whyDeficient}}, adoption.Redone); d != "" {
		t.Errorf("performed again (-want +got):\n%s", d)
	}
}
