package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
)

// run is one execution as the outside world knows it.
type run struct {
	id        stint.ExecutionID
	request   stint.Request
	born      *service // that it was submitted to
	input     *inputs
	cursed    []attempt // stages and numbers of operations that always fail
	long      bool      // operations take long
	staged    map[string]content
	output    map[uint32]content // of the parts, once committed
	parts     []stint.Part       // that were committed
	committed bool
	partial   bool // what is committed is without something
	turn      turn // in which it was committed
	wiped     bool // nothing can be staged any more
	doomed    bool // somebody ends it when its output is being committed
	saves     bool // operations save themselves when they are asked to stop
	claims    []*claim
	cleared   bool        // what was saved of it is not needed any more
	endedBy   *service    // by whom
	left      bool        // suspended, and left so
	scheduled bool        // somebody has asked for it to resume by itself
	retries   int         // that somebody will ask for, if it is completed with errors
	retried   bool        // somebody has asked for one
	rebased   bool        // it went on with another input
	reusable  bool        // nobody has been asked yet whether to reuse it
	reuses    *run        // whose operations it has taken over
	draft     *submission // under way; nil: none
	generous  bool        // people accept that operations are performed again
}

// owner is who owns the execution; nil: nobody has claimed it.
func (r *run) owner() *claim {
	if len(r.claims) == 0 {
		return nil
	}
	return r.claims[len(r.claims)-1]
}

// owns reports whether only this service may write the output.
func (r *run) owns(v *service) bool {
	if o := r.owner(); o != nil {
		return o.service == v
	}
	return v == r.born
}

// turn is one of the commits of an execution.
type turn struct {
	generation uint64
	stint      int
}

func turnOf(e *stint.Errand) turn { return turn{e.Generation, e.Stint} }

// precedes reports whether a later commit has a turn.
func (t turn) precedes(o turn) bool {
	return cmp.Or(cmp.Compare(t.generation, o.generation), cmp.Compare(t.stint, o.stint)) < 0
}

// clear removes what is staged, and what was committed in the turn of the errand.
func (r *run) clear(w *world, e *stint.Errand, by *service) {
	if !r.owns(by) && !r.committed && !r.cleared {
		w.breaks("owner", "service %d cleared %s, which is not its own", by.index, r.id)
	}
	if r.committed && e.Stint > 0 && r.turn.stint == e.Stint && r.turn.generation <= e.Generation {
		w.count(takenBack)
		r.output, r.parts, r.committed, r.partial = nil, nil, false, false
	}
	r.staged, r.cleared, r.wiped, r.endedBy = make(map[string]content), true, true, by
}

// content is what an operation reads or writes, in place of bytes: pieces of the
// input where it only moves them, otherwise a digest of what it read.
type content struct {
	pieces []piece
	text   string
}

// piece is a run of bytes of an object, or of values.
type piece struct {
	object   string
	from, to int64
}

func (c content) sum() uint64 {
	b := make([]byte, 0, 256)
	for _, p := range c.pieces {
		b = append(append(b, p.object...), ' ')
		b = append(strconv.AppendInt(b, p.from, 10), ' ')
		b = append(strconv.AppendInt(b, p.to, 10), ' ')
	}
	return xxh3.Hash(append(b, c.text...))
}

// equal reports whether two contents are the same.
func (c content) equal(o content) bool { return c.text == o.text && slices.Equal(c.pieces, o.pieces) }

// joined puts contents one after the other; pieces that touch become one.
func joined(list []content) content {
	var out content
	var texts []string
	for _, c := range list {
		for _, p := range c.pieces {
			if n := len(out.pieces); n > 0 && out.pieces[n-1].object == p.object && out.pieces[n-1].to == p.from {
				out.pieces[n-1].to = p.to
				continue
			}
			out.pieces = append(out.pieces, p)
		}
		if n := len(texts); c.text != "" && (n == 0 || texts[n-1] != c.text) { // what all operations say of what they have looked at
			texts = append(texts, c.text)
		}
	}
	out.text = strings.Join(texts, " ")
	return out
}

// inputOf is what an operation of a first stage reads, as its grant says.
func inputOf(g *stint.Grant, stage *stint.StageSpec, op uint32) content {
	if stage.Values != nil {
		v := stage.ValuesOf(op)
		return content{pieces: []piece{{"values", v.First, v.First + v.Count}}}
	}
	var c content
	for _, p := range g.Subsets[op-g.Ops.From].Pieces {
		c.pieces = append(c.pieces, piece{contentOf(p.Object), p.Offset, p.Offset + p.Length})
	}
	return c
}

// outcome is why an attempt fails, or nil.
func (r *run) outcome(a *agentProcess, o *order) *stint.Error {
	w := a.world
	switch {
	case a.machine.fullUntil > w.now && w.chance(0.5):
		return stint.Errorf(stint.Unavailable, "disk full")
	case !r.input.has(o):
		w.count(inputFoundChanged)
		return stint.Errorf(stint.Invalid, "input changed")
	case slices.Contains(r.cursed, attempt{uint32(o.grant.Stage), o.op}):
		return stint.Errorf(stint.Failed, "exit 1")
	case w.happens(attemptFailed):
		return stint.Errorf(stint.Failed, "exit 2")
	}
	return nil
}

func (r *run) duration(w *world) int64 {
	if r.long {
		return w.between(50*millisecond, 1500*millisecond)
	}
	return w.between(500, 30*millisecond)
}

// doneOf is what a completion says: numbers that follow from the operation.
func doneOf(stage int, op uint32, start, end int64) *stint.OpDone {
	n := int64(op) + 1
	return &stint.OpDone{Op: op, Start: start, End: end, BytesIn: 3 * n, BytesOut: 5*n + int64(stage), RecordsIn: n, RecordsOut: 2 * n}
}

func countersOf(op uint32) []stint.CounterDelta {
	return []stint.CounterDelta{{Op: op, Group: "sim", Name: "operations", Value: 1}, {Op: op, Group: "sim", Name: "numbers", Value: int64(op)}}
}

// commit gives staged parts their places, once; repeated, it says the same.
func (r *run) commit(w *world, e *stint.Errand, by *service) (int64, *stint.Error) {
	parts, missing, total := e.Parts, e.Missing, int64(0)
	for _, p := range parts {
		total += p.Bytes
	}
	if r.committed && (!r.partial || slices.Equal(r.parts, parts)) {
		return total, nil
	}
	if r.wiped {
		w.count(committedTooLate)
		return 0, stint.Errorf(stint.NotFound, "nothing is staged")
	}
	if r.committed && turnOf(e).precedes(r.turn) {
		w.count(committedTooLate)
		return 0, stint.Errorf(stint.Conflict, "a later stint has committed the output")
	}
	if !r.owns(by) && r.committed {
		return 0, stint.Errorf(stint.Conflict, "owned_elsewhere: the output is that of another service")
	}
	if !r.owns(by) {
		w.breaks("owner", "service %d commits the output of %s, which is not its own", by.index, r.id)
	}
	output := make(map[uint32]content, len(parts))
	for i, p := range parts {
		c, staged := r.staged[p.Name]
		if !staged || c.sum() != p.Sum || p.Op != uint32(i) && len(missing) == 0 {
			return 0, stint.Errorf(stint.NotFound, "part %d: %q is not staged", i, p.Name)
		}
		output[p.Op] = c
	}
	r.output, r.parts, r.committed, r.partial, r.turn = output, slices.Clone(parts), true, len(missing) > 0, turnOf(e)
	r.cleared, r.endedBy = !retryable(missing), by
	w.note("committed", uint64(total))
	return total, nil
}

func (w *world) runOf(id stint.ExecutionID) *run {
	same := func(r *run) bool { return r.id == id }
	if i := slices.IndexFunc(w.runs, same); i >= 0 {
		return w.runs[i]
	}
	return w.books.drafts[slices.IndexFunc(w.books.drafts, same)]
}

// submit records an execution of random shape, and has it driven.
func (w *world) submit(i int) {
	v := w.services[0]
	s := v.server
	if s == nil || v.store.isDown() {
		w.after(100*millisecond, "submit", func() { w.submit(i) })
		return
	}
	r := &run{id: stint.ExecutionID(fmt.Sprintf("x-%016d", i)), staged: make(map[string]content), long: w.chance(0.5), saves: w.chance(0.6), reusable: true, born: v}
	listing, choice := w.shape(r)
	w.shapePolicy(r)
	w.enrol(v, r, listing, choice)
	w.befalls(terminated, func() {
		if r.doomed = w.chance(0.5); !r.doomed {
			w.after(w.between(0, 12*second), "terminate", func() { w.terminate(r) })
		}
	})
}

// enrol plans an execution, records it, and has it driven and looked after.
func (w *world) enrol(v *service, r *run, listing stint.Listing, choice plan.Choice) {
	s := v.server
	r.born, r.input = v, &inputs{world: w, listing: listing}
	made, err := plan.Make(r.id, r.request, r.input.list(), choice)
	w.must(err)
	p := newPlanned(made)
	w.countShape(p)
	w.curse(r, p)
	w.runs = append(w.runs, r)
	row := &row{plan: p, request: r.request, created: w.millis(), epoch: s.epoch}
	v.store.rows = append(v.store.rows, row)
	w.books.open(v, r, row)
	w.passes(submitting, v, nil)
	w.after(w.between(0, 5*millisecond), "start", func() {
		if s.dead {
			return // its successor finds it
		}
		d := s.drive(row, coord.New(p.Plan, r.request, s.epoch, row.created), false)
		for _, m := range s.members {
			if m.session != nil {
				d.post(input{event: &coord.Event{Attach: &coord.Attach{Node: m.doc, Holding: stint.Holding{Execution: d.id}, Session: m.number}}})
			}
		}
		d.post(input{event: &coord.Event{Begin: true}})
		w.passes(planning, v, nil)
	})
	w.after(w.between(0, 2*second), "care", func() { w.care(r) })
}

// endAtCommit has a person end an execution while its output is being committed.
func (w *world) endAtCommit(r *run) {
	if r.doomed {
		r.doomed = false
		w.after(w.between(0, 400*millisecond), "terminate", func() { w.terminate(r) })
	}
}

// terminate has a person end an execution; without an answer they ask again.
func (w *world) terminate(r *run) {
	v := w.serviceOf(r)
	if v.server == nil || v.server.live(r.id) == nil {
		return
	}
	d := v.server.live(r.id)
	d.post(input{event: &coord.Event{Terminate: true}})
	w.passes(cancelling, v, nil)
	var status stint.ExecutionStatus
	d.post(input{look: func(s *coord.State) { status = s.Status() }, released: func(ok bool) {
		if ok && (status == stint.Terminating || status == stint.Terminated) {
			d.row.book.terminated = true
		}
		if !ok || w.happens(answerLost) {
			w.after(100*millisecond, "terminate", func() { w.terminate(r) })
		}
	}})
}

// shape draws what an execution looks like.
func (w *world) shape(r *run) (stint.Listing, plan.Choice) {
	rng := w.rng
	r.request = stint.Request{Output: "file:///out", Attempts: 2 + rng.IntN(3), Program: stint.Program{Name: "sim"}}
	if rng.IntN(6) == 0 {
		r.request.Nodes = 1 + rng.IntN(3)
	}
	if rng.IntN(3) == 0 {
		r.request.Replication = 2 + rng.IntN(2)
	}
	if rng.IntN(3) == 0 {
		r.request.Save = stint.SaveContinuous
	}
	listing := stint.Listing{Range: &stint.Values{First: 7, Count: 1 + rng.Int64N(60)}}
	choice := plan.Choice{SubsetSize: 1, Exact: true, Partitions: 1 + rng.IntN(6)}
	if rng.IntN(4) == 0 {
		r.request.Backoff = 1 + rng.Int64N(1000)
	}
	if rng.IntN(2) == 0 {
		return w.shapeGraph(r, listing, choice)
	}
	names := []string{"map", "reduce"}
	switch rng.IntN(8) {
	case 0: // values, gathered into parts
		names = names[:1]
		listing.Range.Count = plan.PartValues*(1+rng.Int64N(4)) - rng.Int64N(plan.PartValues)
		choice.SubsetSize = plan.PartValues / (1 + rng.Int64N(6))
	case 1: // objects, gathered into parts
		names = names[:1]
		listing, choice.SubsetSize = w.objects(5, 150<<20), (4+rng.Int64N(40))<<20
	case 2, 3: // three stages
		names = []string{"map", "mid", "last"}
	case 4: // objects, packed
		listing, choice.SubsetSize, choice.Exact = w.objects(60, 1000), 2000, false
	case 5: // nothing at all
		if rng.IntN(3) == 0 {
			listing.Range.Count = 0
		}
	}
	for i, name := range names {
		st := stint.Stage{Name: name, Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput}}
		if i > 0 {
			st.Input = stint.Edge{Kind: stint.Shuffle, From: names[i-1], Partitions: 1 + rng.IntN(6)}
		}
		r.request.Program.Stages = append(r.request.Program.Stages, st)
	}
	return listing, choice
}

// shapeGraph draws an execution of a program that is not a chain of shuffles.
func (w *world) shapeGraph(r *run, listing stint.Listing, choice plan.Choice) (stint.Listing, plan.Choice) {
	rng := w.rng
	listing.Range.Count = 1 + rng.Int64N(30)
	switch rng.IntN(5) {
	case 0: // objects, gathered into parts
		listing, choice.SubsetSize = w.objects(4, 150<<20), (20+rng.Int64N(40))<<20
	case 1: // objects, packed
		listing, choice.SubsetSize, choice.Exact = w.objects(30, 1000), 2000, false
	case 2: // of two inputs
		listing, choice.SubsetSize = w.objects(12, 1000), 700
		r.request.Program.Inputs = []string{"one", "two"}
		border := rng.IntN(len(listing.Objects) + 1)
		for i := range listing.Objects {
			listing.Objects[i].Input = r.request.Program.Inputs[min(i/max(border, 1), 1)]
		}
	case 3:
		if rng.IntN(5) == 0 {
			listing.Range.Count = 0
		}
	}
	r.request.Program.Stages = w.graph(r.request.Program.Inputs)
	return listing, choice
}

func (w *world) objects(most int, size int64) (l stint.Listing) {
	for i := range 1 + w.rng.IntN(most) {
		l.Objects = append(l.Objects, stint.Object{URL: fmt.Sprintf("file:///in/%03d", 2*i), Size: w.rng.Int64N(size), Version: "0.0"})
	}
	return l
}
