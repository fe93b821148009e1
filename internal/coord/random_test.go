package coord

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"stint"
	"stint/internal/plan"
)

// TestAnyEventsLeaveASoundState sends events that make sense, and many that do
// not, and looks at the state after each.
func TestAnyEventsLeaveASoundState(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		w := newRandomWalk(t, seed)
		for range 120 {
			w.step()
			if t.Failed() {
				t.Fatalf("seed %d, version %d", seed, w.state.version)
			}
		}
	}
}

// FuzzEvents lets the fuzzer choose what the walk does.
func FuzzEvents(f *testing.F) {
	f.Add(uint64(1), uint16(40))
	f.Add(uint64(7), uint16(80))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) {
		w := newRandomWalk(t, seed)
		for range steps % 200 {
			w.step()
		}
	})
}

// randomWalk sends random events to a state.
type randomWalk struct {
	*testing.T
	rng     *rand.Rand
	plan    *plan.Plan
	request stint.Request
	state   *State
	records []Record
	now     int64
	done    map[opKey]bool
}

func newRandomWalk(t *testing.T, seed uint64) *randomWalk {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	req := stint.Request{Output: "file:///out", Attempts: 1 + rng.IntN(3), Replication: rng.IntN(4), CompleteErrors: new(rng.IntN(2) == 0), Program: stint.Program{Name: "random"}}
	if rng.IntN(3) == 0 {
		req.Save = stint.SaveContinuous
	}
	listing := stint.Listing{Range: &stint.Values{Count: 1 + rng.Int64N(12)}}
	choice := plan.Choice{SubsetSize: 1, Exact: true, Partitions: 1 + rng.IntN(4)}
	if rng.IntN(2) == 0 {
		req.Program.Stages = randomGraph(rng)
	} else {
		names := []string{"map", "mid", "last"}[:1+rng.IntN(3)]
		for i, name := range names {
			e := stint.Edge{Kind: stint.FromInput}
			if i > 0 {
				e = stint.Edge{Kind: stint.Shuffle, From: names[i-1]}
			}
			req.Program.Stages = append(req.Program.Stages, graphStage(name, e))
		}
	}
	if len(req.Program.Stages) == 1 {
		listing.Range.Count = plan.PartValues * (1 + rng.Int64N(4))
		choice.SubsetSize = plan.PartValues / (1 + rng.Int64N(3))
	}
	if rng.IntN(4) == 0 {
		req.SkipBadRecords = 0.5
	}
	p, err := plan.Make(scriptExecution, req, listing, choice)
	if err != nil {
		t.Fatal(err)
	}
	w := &randomWalk{T: t, rng: rng, plan: p, request: req, now: 1000, state: New(p, req, 1, 1000), done: make(map[opKey]bool)}
	w.take(Event{Begin: true})
	return w
}

func graphStage(name string, edges ...stint.Edge) stint.Stage {
	return stint.Stage{Name: name, Action: stint.Action{Native: "identity"}, Input: edges[0], Beside: edges[1:]}
}

// randomGraph returns a program that is no chain of shuffles.
func randomGraph(rng *rand.Rand) []stint.Stage {
	input := stint.Edge{Kind: stint.FromInput}
	from := func(kind stint.EdgeKind, name string) stint.Edge { return stint.Edge{Kind: kind, From: name} }
	return [][]stint.Stage{
		{ // a diamond
			graphStage("a", input), graphStage("b", from(stint.Shuffle, "a")), graphStage("c", from(stint.Shuffle, "a")),
			graphStage("d", from(stint.Shuffle, "b"), from(stint.Shuffle, "c")),
		},
		{ // operation by operation, with a table
			graphStage("table", input), graphStage("a", input), graphStage("b", from(stint.OneToOne, "a"), from(stint.Broadcast, "table")),
			graphStage("c", from(stint.OneToOne, "b")),
		},
		{ // what is gathered is looked up
			graphStage("a", input), graphStage("b", from(stint.Shuffle, "a")), graphStage("all", from(stint.Gather, "b")),
			graphStage("c", from(stint.OneToOne, "b"), from(stint.Broadcast, "all")),
		},
		{ // three readers of one stage
			graphStage("a", input), graphStage("b", from(stint.OneToOne, "a")), graphStage("c", from(stint.OneToOne, "a"), from(stint.Broadcast, "a")),
			graphStage("d", from(stint.Shuffle, "b"), from(stint.Shuffle, "c")), graphStage("e", from(stint.Gather, "d")),
		},
	}[rng.IntN(4)]
}

func (w *randomWalk) take(ev Event) {
	w.Helper()
	ev.At = w.now
	granted := w.doneNow()
	d := w.state.Step(ev)
	for _, r := range d.Records {
		if g := r.Grant; g != nil {
			for n := g.Ops.From; n < g.Ops.To; n++ {
				if granted[opKey{g.Stage, n}] {
					w.Errorf("operation %d of stage %d is done and was granted", n, g.Stage)
				}
			}
		}
	}
	w.records = append(w.records, d.Records...)
	checkInvariants(w.T, w.state)
	if w.rng.IntN(8) == 0 {
		checkState(w.T, w.state, w.plan, w.request, w.records)
	}
	if w.rng.IntN(20) == 0 {
		w.state = replayed(w.plan, w.request, 1000, w.records)
		w.records = append(w.records, w.state.Resume(w.now).Records...)
	} else if w.rng.IntN(20) == 0 {
		w.state = restored(w.T, w.state, w.plan, w.request)
		w.records = append(w.records, w.state.Resume(w.now).Records...)
	}
}

func (w *randomWalk) doneNow() map[opKey]bool {
	clear(w.done)
	for k := range w.state.stages {
		for n := range w.state.stages[k].ops {
			if w.state.stages[k].ops[n].state == done {
				w.done[opKey{k, uint32(n)}] = true
			}
		}
	}
	return w.done
}

func (w *randomWalk) step() {
	w.Helper()
	w.now += w.rng.Int64N(400)
	id := nodeID(fmt.Sprintf("n%d", w.rng.IntN(4)))
	stage := w.rng.IntN(len(w.state.stages))
	incarnation := stint.Incarnation(1)
	if i, known := w.state.nodeIndex(id); known {
		incarnation = w.state.nodes[i].incarnation
	}
	switch w.rng.IntN(16) {
	case 12, 13, 14:
		w.result()
	case 15:
		w.ask(id)
	case 0, 1:
		a := &Attach{Node: stint.Node{ID: id, Name: string(id), Incarnation: incarnation, Slots: 1 + w.rng.IntN(2), Address: "a:1"}}
		if w.rng.IntN(3) == 0 {
			a.Node.Incarnation += stint.Incarnation(w.rng.IntN(2))
			a.Holding = stint.Holding{Completed: w.someOps(), Copies: w.someOps(), Begun: []stint.Begun{{Job: w.someJob(), Ops: stint.Range{From: 1, To: 4}}}, Jobs: []stint.JobID{w.someJob()}}
		}
		w.take(Event{Attach: a})
	case 2, 3, 4:
		w.take(Event{Assign: &Assign{Node: id, Incarnation: incarnation, Stage: stage, Count: w.rng.IntN(6)}})
	case 5:
		w.take(Event{Retract: &RetractAsk{Node: id, Stage: stage, Count: w.rng.IntN(4)}})
	case 6:
		w.take(Event{Gone: &Gone{Node: id, Lost: w.rng.IntN(3) == 0}})
	case 7:
		result := &stint.ErrandResult{ID: w.state.commitID()}
		if w.rng.IntN(4) > 0 {
			result.Error = stint.Errorf(stint.Unavailable, "later")
		}
		w.take(Event{Result: result})
	default:
		w.take(Event{Report: w.report(id, incarnation)})
	}
}

func (w *randomWalk) someJob() stint.JobID { return stint.JobID(w.rng.IntN(int(w.state.lastJob) + 2)) }

func (w *randomWalk) someOps() []stint.StageOps {
	if w.rng.IntN(3) == 0 {
		return nil
	}
	from := uint32(w.rng.IntN(8))
	return []stint.StageOps{{Stage: w.rng.IntN(len(w.state.stages)+1) - w.rng.IntN(2), Ops: []stint.Range{{From: from, To: from + uint32(w.rng.IntN(6))}}}}
}

func (w *randomWalk) report(id stint.NodeID, incarnation stint.Incarnation) *stint.Report {
	r := &stint.Report{Execution: scriptExecution, Node: id, Incarnation: incarnation, Seq: 1 + uint64(w.rng.IntN(2))}
	var jobs []stint.JobID
	if i, known := w.state.nodeIndex(id); known {
		jobs = w.state.nodes[i].jobs
		r.Seq += w.state.nodes[i].lastSeq - uint64(w.rng.IntN(2))
	}
	for range 1 + w.rng.IntN(3) {
		w.fill(r, jobs)
	}
	return r
}

// fill adds something about a job, mostly one of those that the node has.
func (w *randomWalk) fill(r *stint.Report, jobs []stint.JobID) {
	id := w.someJob()
	if len(jobs) > 0 && w.rng.IntN(5) > 0 {
		id = jobs[w.rng.IntN(len(jobs))]
	}
	stage, ops := w.rng.IntN(len(w.state.stages)), stint.Range{From: uint32(w.rng.IntN(6))}
	if j := w.state.jobs[id]; j != nil {
		stage, ops.From = j.stage, j.ops.From+uint32(w.rng.IntN(j.ops.Len()))
	}
	ops.To = ops.From + 1 + uint32(w.rng.IntN(3))
	switch w.rng.IntN(10) {
	case 8:
		in := stint.Interrupted{Job: id, Op: ops.From, Start: w.now - 7, End: w.now}
		if w.rng.IntN(2) == 0 {
			in.Checkpoint = &stint.Checkpoint{Key: fmt.Sprintf("c%d", w.rng.IntN(3)), Bytes: 3}
		}
		r.Interrupted = append(r.Interrupted, in)
	case 9:
		if w.rng.IntN(3) == 0 {
			r.Bad = append(r.Bad, w.bad())
		}
	case 0, 1:
		r.Begun = append(r.Begun, stint.Begun{Job: id, Ops: ops})
	case 2, 3, 4, 5:
		d := stint.Done{Job: id, Stage: stage}
		for n := ops.From; n < ops.To; n++ {
			u := stint.OpDone{Op: n, Start: w.now - 5, End: w.now, BytesOut: 3, RecordsIn: 1}
			if w.request.SkipBadRecords > 0 {
				u.BadRecords = int64(w.rng.IntN(4) / 3)
			}
			d.Ops = append(d.Ops, u)
			d.Parts = append(d.Parts, stint.Part{Op: n, Name: fmt.Sprintf("%d.%d", n, id)})
		}
		r.Done = append(r.Done, d)
	case 6:
		code := []stint.Code{stint.Lost, stint.Unavailable, stint.Canceled, stint.Lost, stint.Unavailable, stint.Failed}[w.rng.IntN(6)]
		r.Failures = append(r.Failures, stint.Failure{Job: id, Op: ops.From, Error: stint.Errorf(code, "it is so")})
	default:
		r.Returned = append(r.Returned, stint.Returned{Job: id, Ops: []stint.Range{ops}})
		if w.rng.IntN(3) == 0 {
			r.Verified = &stint.Verification{Lost: w.someOps()}
		}
	}
}

// result brings what became of an errand that saves or copies, or of the record.
func (w *randomWalk) result() {
	w.Helper()
	if len(w.state.flights) == 0 {
		r := &stint.ErrandResult{ID: w.state.recorded}
		if w.rng.IntN(3) == 0 {
			r.Error = stint.Errorf(stint.Unavailable, "later")
		}
		w.take(Event{Result: r})
		return
	}
	f := w.state.flights[w.rng.IntN(len(w.state.flights))]
	r := &stint.ErrandResult{ID: f.id}
	ops := stint.ClipRanges(f.ops, stint.Range{To: uint32(1 + w.rng.IntN(14))})
	switch {
	case w.rng.IntN(6) == 0:
		r.Error = stint.Errorf(stint.Denied, "no room")
	case f.kind == stint.ErrandCopy:
		r.Ops = ops
		if w.rng.IntN(4) == 0 {
			r.Bad = append(r.Bad, w.bad())
		}
	case len(ops) > 0:
		r.Packs = []stint.Pack{{Key: f.id, Bytes: 9, Stage: f.stage, Ops: ops}}
	}
	if w.rng.IntN(5) == 0 {
		r.Lost = without(f.ops, ops)
	}
	w.take(Event{Result: r})
}

func (w *randomWalk) bad() stint.BadCopy {
	b := stint.BadCopy{Stage: w.rng.IntN(len(w.state.stages)+1) - w.rng.IntN(2), Ops: []stint.Range{{To: uint32(w.rng.IntN(6))}}}
	if packs := w.state.Packs(); len(packs) > 0 && w.rng.IntN(2) == 0 {
		b.Pack = packs[w.rng.IntN(len(packs))].Key
	} else {
		b.Node = nodeID(fmt.Sprintf("n%d", w.rng.IntN(4)))
	}
	return b
}

// ask has somebody want something, possible or not.
func (w *randomWalk) ask(id stint.NodeID) {
	w.Helper()
	jobs := []stint.JobID{w.someJob()}
	switch w.rng.IntN(11) {
	case 0, 1:
		w.take(Event{Suspend: &SuspendAsk{Grace: w.rng.Int64N(500)}})
	case 2, 3:
		w.take(Event{Resume: &ResumeAsk{Generation: w.state.Generation() + uint64(w.rng.IntN(2)), Nodes: w.rng.IntN(2), Bad: []stint.BadCopy{w.bad()}}})
	case 4:
		w.take(Event{Suspend: &SuspendAsk{Grace: w.rng.Int64N(500), Jobs: jobs}})
	case 5:
		w.take(Event{Resume: &ResumeAsk{Jobs: jobs}})
	case 6:
		w.take(Event{Move: &MoveAsk{Jobs: jobs}})
	case 8:
		w.take(Event{Retry: true})
	case 7:
		w.take(Event{Drain: &DrainAsk{Node: id, Undo: w.rng.IntN(2) == 0, By: w.rng.Int64N(2) * (w.now + 31_000)}})
	default:
		w.now += 61_000
		w.take(Event{})
	}
}

// TestASuspendEndsWhateverHappens lets anything happen while an execution is
// suspended, and then nothing more but answers: it ends, and nobody has anything
// of it.
func TestASuspendEndsWhateverHappens(t *testing.T) {
	t.Parallel()
	ended := 0
	for seed := range uint64(60) {
		w := newRandomWalk(t, seed)
		for range 60 {
			w.step()
		}
		w.take(Event{Resume: &ResumeAsk{Generation: w.state.Generation() + 1}})
		w.take(Event{Suspend: &SuspendAsk{Grace: 100}})
		if w.state.Status() != stint.Suspending {
			continue
		}
		for range 30 {
			w.now += 61_000
			w.take(Event{})
			for _, f := range append([]flight(nil), w.state.flights...) {
				w.take(Event{Result: &stint.ErrandResult{ID: f.id, Packs: []stint.Pack{{Key: f.id, Stage: f.stage, Ops: f.ops}}, Ops: f.ops}})
			}
			w.take(Event{Result: &stint.ErrandResult{ID: w.state.recorded}})
		}
		if w.state.Status() != stint.Suspended {
			t.Errorf("seed %d: %s, %s", seed, w.state.Status(), w.state.waiting())
			continue
		}
		ended++
		for k := range w.state.stages {
			for n := range w.state.stages[k].ops {
				if o := &w.state.stages[k].ops[n]; o.state == done && w.state.keepsBlocks(k) && !o.gone {
					t.Errorf("seed %d: operation %d of stage %d is on a node still", seed, n, k)
				}
			}
		}
	}
	if ended < 20 {
		t.Errorf("%d suspends were looked at", ended)
	}
}
