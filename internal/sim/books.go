package sim

import (
	"slices"

	"stint"
	"stint/internal/coord"
)

// books are kept beside the cores: what the store has committed, one record
// after the other, and what workers wrote. They know the protocol's rules and
// nothing of how the cores keep them.
type books struct {
	world  *world
	all    []*book
	drafts []*run // submissions that are not recorded
}

// book is what follows from the committed records of one execution.
type book struct {
	run       *run
	plan      *planned
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
	rested     bool        // a suspend was begun: nodes may have been told to forget it
	latest     stint.JobID
	resumed    uint64         // version of the latest resume
	terminated bool           // somebody was told that it is being terminated
	sums       []stint.OpDone // what counts, by stage
	numbers    [2]int64       // the counters
	blamed     int64          // attempts that failed and that a record tells of
	mixed      bool           // something was made of output that failed later
	redone     [][]bool       // what a retry performs, as of a version
	redoneAt   uint64
	renumbered bool // nodes may have what is called as output of now, and is not
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
	counted  bool
	made     bool     // performed by this execution
	gaveUp   bool     // it has failed for good
	failures int      // attempts that failed, since it was completed or given up
	lostTo   int      // attempts that were lost to machines
	notYet   int64    // when it may be tried again, in milliseconds since 1970
	part     string   // that the completion which counts has staged
	read     [2]int64 // records that it has read, and left out, where some may be

	copies     []stint.NodeID    // that have the output beside node
	packs      []string          // keys of those with the output
	renamed    bool              // node has it under the name that it had in the execution it was taken over from
	names      map[string]uint32 // by key: what it is called in a pack that was taken over, if not as here
	heldBy     stint.JobID       // that it was of when the job was suspended; 0: none
	checkpoint string            // key of what an interrupted attempt left
	doubted    bool              // attempts from the checkpoint have failed
}

type nodeEntry struct {
	incarnation stint.Incarnation
	seq         uint64
	lost        bool
	gap         bool                          // it was told to forget: reports are missing
	outdated    bool                          // nothing that it says counts before it speaks of a job of now
	voided      map[stint.JobID][]stint.Range // operations of jobs it does not have any more, of whose attempts it may still tell
}

// attempt names one performance of an operation by its job, which is granted
// once, and its number.
type attempt [2]uint32

func (b *books) open(v *service, r *run, at *row) *book {
	e := &book{
		run: r, plan: at.plan, row: at, service: v, jobs: make(map[stint.JobID]coord.GrantRecord), nodes: make(map[stint.NodeID]*nodeEntry),
		attempts: make(map[attempt]bool), status: stint.Queued, held: make(map[stint.JobID]bool),
	}
	for _, st := range at.plan.Spec.Stages {
		e.ops = append(e.ops, make([]opEntry, st.Operations))
		e.sums = append(e.sums, stint.OpDone{})
		e.performed = append(e.performed, 0)
	}
	at.book = e
	b.all = append(b.all, e)
	return e
}

// stopped reports whether nothing is dispatched any more.
func (e *book) stopped() bool {
	return e.status.Final() || e.status == stint.Terminating || e.status == stint.Suspended
}

// mayMiss reports whether a node was told to forget what it had to report: a number
// that is missing does not tell of a report that is.
func (e *book) mayMiss(id stint.NodeID) bool {
	n := e.nodes[id]
	return e.rested || n != nil && n.gap
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
		b.enterGrant(e, rec.At, rec.Grant)
	case rec.Report != nil:
		b.enterReport(e, rec.At, rec.Report)
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
		n = &nodeEntry{voided: make(map[stint.JobID][]stint.Range), outdated: e.renumbered}
		e.nodes[id] = n
		e.order = append(e.order, id)
	}
	return n
}

func (b *books) enterStatus(e *book, s *coord.StatusRecord) {
	retried := e.status == stint.CompletedErrors && s.Status == stint.InProgress && e.run.retried
	if e.status.Final() && s.Status != e.status && !retried {
		b.world.breaks("final", "%s was %s and is %s", e.run.id, e.status, s.Status)
	}
	if e.status == stint.Terminating && s.Status != stint.Terminated && s.Status != stint.Terminating {
		b.world.breaks("final", "%s was terminating and is %s", e.run.id, s.Status)
	}
	before := e.status
	e.status, e.rested = s.Status, e.rested || s.Generation > 0
	switch {
	case s.Status == stint.Completed:
		b.world.count(completedRuns)
		if !e.run.committed {
			b.world.breaks("output", "%s is completed without an output", e.run.id)
		}
	case s.Status == stint.CompletedErrors:
		b.enterErrors(e)
	case retried:
		b.enterRetry(e)
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

func (b *books) enterGrant(e *book, at int64, g *coord.GrantRecord) {
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
		if o.gaveUp {
			b.world.breaks("errors", "operation %d of stage %d has failed for good and went to %s", op, g.Stage, g.Node)
		}
		if at < o.notYet {
			b.world.breaks("errors", "operation %d of stage %d went to %s in %s, %d ms before its time", op, g.Stage, g.Node, g.Job, o.notYet-at)
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
	for i := range e.plan.into[k] {
		into := &e.plan.into[k][i]
		if into.from < 0 {
			continue
		}
		reads := e.plan.read(into, op)
		for n := reads.From; n < reads.To; n++ {
			if o := &e.ops[into.from][n]; !o.gaveUp && (!o.done || o.lost && len(o.packs) == 0) {
				return false
			}
		}
	}
	return true
}

func (b *books) enterReport(e *book, at int64, r *stint.Report) {
	n := e.node(r.Node)
	if r.Incarnation != n.incarnation || r.Seq <= n.seq || r.Seq != n.seq+1 && !n.gap {
		b.world.breaks("ack", "report %d of incarnation %d of %s was taken in after %d of %d", r.Seq, r.Incarnation, r.Node, n.seq, n.incarnation)
	}
	n.seq, n.gap = r.Seq, n.gap && !e.isOfNow(r)
	if n.outdated {
		if n.outdated = !e.speaksOfJobs(r); n.outdated {
			return
		}
	}
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
			b.enterFailure(e, at, e.jobs[f.Job].Stage, &f)
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
	b.takeBad(e, e.badOfNow(r.Bad))
	if r.Verified != nil {
		b.lose(e, r.Node, func(k int, op uint32) bool { return hasOp(r.Verified.Lost, k, op) })
		b.takeUntold(e, r)
	}
}

// takeUntold frees what a node announced as completed and cannot report any more.
func (b *books) takeUntold(e *book, r *stint.Report) {
	for k := range e.ops {
		for n := range e.ops[k] {
			if o := &e.ops[k][n]; o.taken && o.node == r.Node && hasOp(r.Verified.Lost, k, uint32(n)) {
				b.world.count(untold)
				o.taken = false
				e.leave(o)
			}
		}
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
	if !known || id <= e.closed || op < g.Ops.From || op >= g.Ops.To {
		return nil
	}
	if o := &e.ops[g.Stage][op]; o.job == id {
		return o
	}
	return nil
}

func (b *books) enterDone(e *book, r *stint.Report, d *stint.Done, op uint32) {
	b.tell(e, r.Node, d.Job, op)
	if d.Stage >= len(e.ops) || op >= uint32(len(e.ops[d.Stage])) { // by a number from before the input changed
		b.world.count(superseded)
		return
	}
	o := &e.ops[d.Stage][op]
	free := o.job == 0 && !o.taken && !o.gaveUp && d.Job > e.closed
	own := o.node == r.Node && (o.job == d.Job || o.taken && d.Job > e.closed)
	if o.done || !free && !own {
		b.world.count(superseded)
		if o.taken && o.node == r.Node {
			o.taken = false
			e.leave(o)
		}
		return
	}
	if !o.counted {
		b.countDone(e, d, op)
	}
	*o = opEntry{done: true, node: r.Node, everDone: true, counted: true, made: true, part: partOf(d, op), read: b.countRead(e, d, o, op)}
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
	if ops, voided := e.node(node).voided[id]; voided {
		if !stint.RangesContain(ops, op) {
			b.world.count(toldTooLate)
			return
		}
		b.world.count(toldLate)
	}
	e.attempts[key] = true
	e.performed[e.jobs[id].Stage]++
}

// settleAttempts notes that a node is back, and has told of all that it had begun. What
// it completed it is asked for; of other attempts nothing counts any more, although an
// older copy of its folder may tell of them.
func (n *nodeEntry) settleAttempts(e *book, completed []stint.StageOps) {
	for id, ops := range n.voided {
		n.voided[id] = slices.DeleteFunc(each(ops), func(r stint.Range) bool { return !hasOp(completed, e.jobs[id].Stage, r.From) })
	}
}

// each lists operations one by one.
func each(ops []stint.Range) (list []stint.Range) {
	for _, r := range ops {
		for op := r.From; op < r.To; op++ {
			list = append(list, stint.Range{From: op, To: op + 1})
		}
	}
	return list
}

func (b *books) enterAttach(e *book, a *coord.AttachRecord) {
	id := a.Node.ID
	n := e.node(id)
	if h := &a.Holding; h.Latest > 0 && h.Latest <= e.closed {
		b.world.count(cameOld)
		n.outdated = true
	}
	if n.outdated {
		b.startOver(e, n, a)
		return
	}
	if n.incarnation == a.Node.Incarnation && !n.lost {
		return // a new address
	}
	if n.incarnation != a.Node.Incarnation {
		b.void(e, id)
		n.seq, n.gap = 0, e.rested
		for _, begun := range a.Holding.Begun {
			for op := begun.Ops.From; op < begun.Ops.To; op++ {
				b.tell(e, id, begun.Job, op)
			}
		}
		n.settleAttempts(e, a.Holding.Completed)
	}
	n.incarnation, n.lost = a.Node.Incarnation, false
	has := func(k int, op uint32) bool {
		return hasOp(a.Holding.Completed, k, op) || hasOp(a.Holding.Copies, k, op)
	}
	b.lose(e, id, func(k int, op uint32) bool {
		o := &e.ops[k][op]
		return !has(k, op) && (!o.renamed || o.node != id)
	})
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
				if s.Stage >= len(e.ops) || op >= uint32(len(e.ops[s.Stage])) {
					continue
				}
				o := &e.ops[s.Stage][op]
				if !o.done && !o.gaveUp && o.job == 0 && !o.taken {
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
					e.nodes[id].voided[o.job] = stint.AddToRanges(e.nodes[id].voided[o.job], uint32(n))
				}
				o.taken = false
				e.leave(o)
			}
		}
	}
}

// needed reports whether an operation that is not done reads the output.
func (e *book) needed(k int, n uint32) bool {
	for i := range e.plan.out[k] {
		out := &e.plan.out[k][i]
		for op := range e.ops[out.to] {
			if o := &e.ops[out.to][op]; o.done || o.gaveUp {
				continue
			}
			if r := e.plan.read(out, uint32(op)); n >= r.From && n < r.To {
				return true
			}
		}
	}
	return false
}
