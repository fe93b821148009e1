package sim

import (
	"stint"
	"stint/internal/coord"
)

// books are kept beside the cores: what the store has committed, one record
// after the other, and what workers wrote. They know the protocol's rules and
// nothing of how the cores keep them.
type books struct {
	world *world
	all   []*book
}

// book is what follows from the committed records of one execution.
type book struct {
	run       *run
	row       *row
	service   *service
	ops       [][]opEntry
	jobs      map[stint.JobID]coord.GrantRecord
	nodes     map[stint.NodeID]*nodeEntry
	attempts  map[attempt]bool // that workers wrote down as begun: whether a committed record tells of it
	performed []int64          // attempts told of, by stage
	status    stint.ExecutionStatus
	version   uint64
	told      told

	order      []stint.NodeID // nodes as they came
	held       map[stint.JobID]bool
	closed     stint.JobID // jobs up to this one are of an earlier stint: nothing more is heard of them
	latest     stint.JobID
	resumed    uint64 // version of the latest resume
	terminated bool   // somebody was told that it is being terminated
}

// told is what people were shown last.
type told struct {
	version uint64
	status  stint.ExecutionStatus
}

type opEntry struct {
	done     bool
	node     stint.NodeID // that has the output, or was granted the operation
	job      stint.JobID  // granted; 0: none
	taken    bool         // announced by the node as completed, and not yet reported
	begun    bool
	lost     bool // done, and the output is on no node
	everDone bool
	failed   int
	part     string // that the completion which counts has staged

	copies     []stint.NodeID // that have the output beside node
	packs      []string       // keys of those with the output
	heldBy     stint.JobID    // that it was of when the job was suspended; 0: none
	checkpoint string         // key of what an interrupted attempt left
	doubted    bool           // attempts from the checkpoint have failed
}

type nodeEntry struct {
	incarnation stint.Incarnation
	seq         uint64
	lost        bool
	gap         bool // it was told to forget: reports are missing
	voided      map[stint.JobID]bool
}

// attempt names one performance of an operation by its job, which is granted
// once, and its number.
type attempt [2]uint32

func (b *books) open(v *service, r *run, at *row) {
	e := &book{
		run: r, row: at, service: v, jobs: make(map[stint.JobID]coord.GrantRecord), nodes: make(map[stint.NodeID]*nodeEntry),
		attempts: make(map[attempt]bool), status: stint.Queued, held: make(map[stint.JobID]bool),
	}
	for _, st := range r.plan.Spec.Stages {
		e.ops = append(e.ops, make([]opEntry, st.Operations))
		e.performed = append(e.performed, 0)
	}
	at.book = e
	b.all = append(b.all, e)
}

// stopped reports whether nothing is dispatched any more.
func (e *book) stopped() bool {
	return e.status.Final() || e.status == stint.Terminating || e.status == stint.Suspended
}

// enter takes in one committed record.
func (b *books) enter(r *row, rec coord.Record, version uint64) {
	e := r.book
	b.world.note("record", version, uint64(rec.At))
	if version != e.version+1 {
		b.world.breaks("fold", "record %d follows %d", version, e.version)
	}
	e.version = version
	b.take(e, rec)
}

// take takes in what a record says.
func (b *books) take(e *book, rec coord.Record) {
	switch {
	case rec.Attach != nil:
		b.enterAttach(e, rec.Attach)
	case rec.Grant != nil:
		b.enterGrant(e, rec.Grant)
	case rec.Report != nil:
		b.enterReport(e, rec.Report)
	case rec.Gone != nil:
		n := e.node(rec.Gone.Node)
		b.void(e, rec.Gone.Node)
		if rec.Gone.Lost {
			n.lost = true
			b.lose(e, rec.Gone.Node, func(int, uint32) bool { return true })
		}
	case rec.Status != nil:
		b.enterStatus(e, rec.Status)
	default:
		b.takeKept(e, &rec)
	}
}

func (e *book) node(id stint.NodeID) *nodeEntry {
	n := e.nodes[id]
	if n == nil {
		n = &nodeEntry{voided: make(map[stint.JobID]bool)}
		e.nodes[id] = n
		e.order = append(e.order, id)
	}
	return n
}

func (b *books) enterStatus(e *book, s *coord.StatusRecord) {
	if e.status.Final() && s.Status != e.status {
		b.world.breaks("final", "%s was %s and is %s", e.run.id, e.status, s.Status)
	}
	if e.status == stint.Terminating && s.Status != stint.Terminated && s.Status != stint.Terminating {
		b.world.breaks("final", "%s was terminating and is %s", e.run.id, s.Status)
	}
	before := e.status
	e.status = s.Status
	switch {
	case s.Status == stint.Completed:
		b.world.count(completedRuns)
		if !e.run.committed {
			b.world.breaks("output", "%s is completed without an output", e.run.id)
		}
	case s.Status == stint.Suspended:
		b.enterSuspended(e)
	case s.Status == stint.InProgress && before == stint.Suspended:
		clear(e.held)
		e.resumed = e.version
	}
	if e.stopped() {
		for id := range e.nodes {
			b.void(e, id)
		}
	}
}

func (b *books) enterGrant(e *book, g *coord.GrantRecord) {
	n := e.node(g.Node)
	if e.stopped() {
		b.world.breaks("grant", "%s was granted when %s was %s", g.Job, e.run.id, e.status)
	}
	e.latest = max(e.latest, g.Job)
	if _, used := e.jobs[g.Job]; used {
		b.world.breaks("grant", "%s was granted before", g.Job)
	}
	if g.Incarnation != n.incarnation {
		b.world.breaks("grant", "%s is for incarnation %d; the node is in %d", g.Job, g.Incarnation, n.incarnation)
	}
	e.jobs[g.Job] = *g
	for op := g.Ops.From; op < g.Ops.To; op++ {
		o := &e.ops[g.Stage][op]
		if o.job != 0 || o.taken {
			b.world.breaks("grant", "operation %d of stage %d went to %s in %s and to %s in %s", op, g.Stage, o.node, o.job, g.Node, g.Job)
		}
		if o.done {
			b.world.breaks("grant", "operation %d of stage %d is done on %s and went to %s", op, g.Stage, o.node, g.Node)
		}
		if e.held[o.heldBy] {
			b.world.breaks("held", "operation %d of stage %d is held back with %s and went to %s in %s", op, g.Stage, o.heldBy, g.Node, g.Job)
		}
		if !e.hasInputs(g.Stage, op) {
			b.world.breaks("grant", "operation %d of stage %d went to %s before its inputs were there", op, g.Stage, g.Node)
		}
		if o.everDone {
			b.world.count(performedAgain)
		}
		o.job, o.node, o.begun, o.heldBy = g.Job, g.Node, false, 0
	}
}

// hasInputs reports whether all that an operation reads is done.
func (e *book) hasInputs(k int, op uint32) bool {
	for _, into := range e.run.into(k) {
		if into.from < 0 {
			continue
		}
		reads := e.run.read(&into, op)
		for n := reads.From; n < reads.To; n++ {
			if o := &e.ops[into.from][n]; !o.done || o.lost && len(o.packs) == 0 {
				return false
			}
		}
	}
	return true
}

func (b *books) enterReport(e *book, r *stint.Report) {
	n := e.node(r.Node)
	if r.Incarnation != n.incarnation || r.Seq <= n.seq || r.Seq != n.seq+1 && !n.gap {
		b.world.breaks("ack", "report %d of incarnation %d of %s was taken in after %d of %d", r.Seq, r.Incarnation, r.Node, n.seq, n.incarnation)
	}
	n.seq, n.gap = r.Seq, n.gap && !e.isOfNow(r)
	for _, begun := range r.Begun {
		for op := begun.Ops.From; op < begun.Ops.To; op++ {
			b.tell(e, r.Node, begun.Job, op)
			if o := b.granted(e, begun.Job, op); o != nil && o.node == r.Node {
				o.begun = true
			}
		}
	}
	for _, d := range r.Done {
		for _, u := range d.Ops {
			b.enterDone(e, r, &d, u.Op)
		}
	}
	for _, f := range r.Failures {
		b.tell(e, r.Node, f.Job, f.Op)
		if o := b.granted(e, f.Job, f.Op); o != nil && o.node == r.Node {
			e.leave(o)
			o.doubted = true
			if f.Error.Code == stint.Failed {
				o.failed++
			}
		}
	}
	for _, back := range r.Returned {
		for _, ops := range back.Ops {
			for op := ops.From; op < ops.To; op++ {
				if o := b.granted(e, back.Job, op); o != nil && o.node == r.Node && !o.begun {
					e.leave(o)
				}
			}
		}
	}
	for i := range r.Interrupted {
		b.enterInterrupted(e, r.Node, &r.Interrupted[i])
	}
	b.takeBad(e, r.Bad)
	if r.Verified != nil {
		b.lose(e, r.Node, func(k int, op uint32) bool { return hasOp(r.Verified.Lost, k, op) })
	}
}

// isOfNow reports whether a report speaks of a job of this stint.
func (e *book) isOfNow(r *stint.Report) bool {
	latest := stint.JobID(0)
	for _, b := range r.Begun {
		latest = max(latest, b.Job)
	}
	for _, d := range r.Done {
		latest = max(latest, d.Job)
	}
	for _, f := range r.Failures {
		latest = max(latest, f.Job)
	}
	for _, back := range r.Returned {
		latest = max(latest, back.Job)
	}
	for i := range r.Interrupted {
		latest = max(latest, r.Interrupted[i].Job)
	}
	return latest > e.closed
}

// granted returns the entry of an operation if it is granted in that job now.
func (*books) granted(e *book, id stint.JobID, op uint32) *opEntry {
	g, known := e.jobs[id]
	if !known || op < g.Ops.From || op >= g.Ops.To {
		return nil
	}
	if o := &e.ops[g.Stage][op]; o.job == id {
		return o
	}
	return nil
}

func (b *books) enterDone(e *book, r *stint.Report, d *stint.Done, op uint32) {
	b.tell(e, r.Node, d.Job, op)
	o := &e.ops[d.Stage][op]
	free := o.job == 0 && !o.taken && d.Job > e.closed
	own := o.node == r.Node && (o.job == d.Job || o.taken)
	if o.done || !free && !own {
		b.world.count(superseded)
		return
	}
	*o = opEntry{done: true, node: r.Node, everDone: true, failed: o.failed, part: partOf(d, op)}
}

func partOf(d *stint.Done, op uint32) string {
	for _, p := range d.Parts {
		if p.Op == op {
			return p.Name
		}
	}
	return ""
}

// tell notes that a committed record speaks of an attempt.
func (b *books) tell(e *book, node stint.NodeID, id stint.JobID, op uint32) {
	key := attempt{uint32(id), op}
	if told, begun := e.attempts[key]; !begun || told || id <= e.closed {
		return
	}
	e.attempts[key] = true
	e.performed[e.jobs[id].Stage]++
	if e.node(node).voided[id] {
		b.world.count(toldLate)
	}
}

func (b *books) enterAttach(e *book, a *coord.AttachRecord) {
	id := a.Node.ID
	n := e.node(id)
	if n.incarnation == a.Node.Incarnation && !n.lost {
		return // a new address
	}
	if n.incarnation != a.Node.Incarnation {
		b.void(e, id)
		n.seq, n.gap = 0, e.status == stint.Suspended
		for _, begun := range a.Holding.Begun {
			for op := begun.Ops.From; op < begun.Ops.To; op++ {
				b.tell(e, id, begun.Job, op)
			}
		}
	}
	n.incarnation, n.lost = a.Node.Incarnation, false
	has := func(k int, op uint32) bool {
		return hasOp(a.Holding.Completed, k, op) || hasOp(a.Holding.Copies, k, op)
	}
	b.lose(e, id, func(k int, op uint32) bool { return !has(k, op) })
	for k := range e.ops {
		for op := range e.ops[k] {
			if o := &e.ops[k][op]; o.done && o.lost && o.node == id && has(k, uint32(op)) {
				o.lost = false
			}
		}
	}
	for _, s := range a.Holding.Completed {
		for _, ops := range s.Ops {
			for op := ops.From; op < ops.To; op++ {
				o := &e.ops[s.Stage][op]
				if !o.done && o.job == 0 && !o.taken {
					o.taken, o.node = true, id
					b.world.count(takenOver)
				}
			}
		}
	}
}

// void frees what a node was granted, or had announced.
func (*books) void(e *book, id stint.NodeID) {
	for k := range e.ops {
		for n := range e.ops[k] {
			if o := &e.ops[k][n]; o.node == id && (o.job != 0 || o.taken) {
				if o.job != 0 {
					e.nodes[id].voided[o.job] = true
				}
				o.taken = false
				e.leave(o)
			}
		}
	}
}

// needed reports whether an operation that is not done reads the output.
func (e *book) needed(k int, n uint32) bool {
	for _, out := range e.run.out(k) {
		for op := range e.ops[out.to] {
			if r := e.run.read(&out, uint32(op)); n >= r.From && n < r.To && !e.ops[out.to][op].done {
				return true
			}
		}
	}
	return false
}
