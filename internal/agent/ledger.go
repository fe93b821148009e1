package agent

import (
	"slices"

	"stint"
)

// Ledger is what this node was granted in one incarnation and what became of
// it: the rules of the node's side of the protocol, as values. It does no I/O,
// has no clock and starts nothing; whoever drives it tells it what happened and
// does what it says. It is not safe for concurrent use.
//
// An operation of an accepted job is waiting, then handed out (to a slot, or to
// whoever prepares its input), then begun, then ended; or it is given back to
// the server while it waits. A job is accepted once: its number is remembered
// for the whole incarnation, after its end and after [Ledger.Forget] too.
type Ledger struct {
	node        stint.NodeID
	incarnation stint.Incarnation
	limit       int // of operations that ended and are not acknowledged
	owed        int // such operations now
	accounts    map[stint.ExecutionID]*account
	order       []stint.ExecutionID // keys of accounts, as first heard of
	turn        int                 // index in order of the execution that comes next
}

// account is the ledger's page of one execution.
type account struct {
	epoch     stint.Epoch   // the highest seen
	seen      []stint.Range // numbers of the jobs accepted in this incarnation
	jobs      []*job        // those with operations that are not ended, as accepted
	completed []stint.StageOps
	latest    stint.JobID      // highest of the jobs of which the log has completed operations
	copies    []stint.StageOps // output of operations performed elsewhere that is here too
	begun     []stint.Begun    // of earlier incarnations, not completed
	drafts    []*stint.Report  // not yet numbered; the last one is being filled
	weight    int              // of the draft that is being filled, in bytes, estimated
	sent      []*stint.Report  // numbered, not acknowledged
	seq       uint64           // of the last report numbered
	forgotten bool
}

// job is an accepted grant and where its operations are.
type job struct {
	grant   stint.Grant
	waiting []stint.Range
	handed  []stint.Range // handed out and not ended; those begun too
	begun   []stint.Range
}

// Run is a run of operations of one job, handed out together.
type Run struct {
	Grant *stint.Grant // not to be changed; its Ops are those of the whole job
	Ops   stint.Range
}

// NewLedger returns an empty ledger. With limit or more operations ended and
// not acknowledged it hands out none.
func NewLedger(node stint.NodeID, incarnation stint.Incarnation, limit int) *Ledger {
	return &Ledger{node: node, incarnation: incarnation, limit: limit, accounts: make(map[stint.ExecutionID]*account)}
}

// Restore enters what the logs of earlier incarnations say of an execution:
// operations completed with their output whole, up to the job of that number, and
// attempts that did not complete.
func (l *Ledger) Restore(x stint.ExecutionID, completed []stint.StageOps, latest stint.JobID, begun []stint.Begun) {
	a := l.account(x)
	a.completed, a.latest = completed, latest
	a.begun = begun
}

// RestoreCopies enters of which operations performed elsewhere this node keeps the
// output too, as the logs of earlier incarnations say.
func (l *Ledger) RestoreCopies(x stint.ExecutionID, copies []stint.StageOps) {
	l.account(x).copies = copies
}

// AddCopies enters that this node now keeps the output of operations performed
// elsewhere. With no operations it enters that there will be some.
func (l *Ledger) AddCopies(x stint.ExecutionID, stage int, ops []stint.Range) {
	a := l.account(x)
	a.forgotten = false
	for _, r := range ops {
		a.copies = addToStage(a.copies, stage, r)
	}
}

// Dropped enters that this node no longer keeps output that is not needed any
// more, its own or copies. The next [Ledger.Holdings] is without it; nothing is
// reported.
func (l *Ledger) Dropped(x stint.ExecutionID, dropped []stint.StageOps) {
	l.account(x).dropOutput(dropped)
}

// Accept enters a grant, or says why it starts nothing.
func (l *Ledger) Accept(g stint.Grant) (accepted bool, why string) {
	if g.Incarnation != l.incarnation {
		return false, "granted to another incarnation"
	}
	if g.Ops.From >= g.Ops.To {
		return false, "no operations"
	}
	a := l.account(g.Execution)
	if g.Epoch < a.epoch {
		return false, "granted by an owner that was replaced"
	}
	if stint.RangesContain(a.seen, uint32(g.Job)) {
		return false, "this job was accepted before"
	}
	a.epoch = g.Epoch
	a.forgotten = false
	a.seen = stint.AddToRanges(a.seen, uint32(g.Job))
	a.jobs = append(a.jobs, &job{grant: g, waiting: []stint.Range{g.Ops}})
	return true, ""
}

// Executions returns the executions that are known and not forgotten, in the
// order in which they were first heard of.
func (l *Ledger) Executions() []stint.ExecutionID {
	var list []stint.ExecutionID
	for _, x := range l.order {
		if !l.accounts[x].forgotten {
			list = append(list, x)
		}
	}
	return list
}

// Waiting returns how many operations of an execution could be handed out now:
// 0 while too much is unacknowledged.
func (l *Ledger) Waiting(x stint.ExecutionID) int {
	a := l.accounts[x]
	if a == nil || l.owed >= l.limit {
		return 0
	}
	n := 0
	for _, j := range a.jobs {
		n += stint.CountRanges(j.waiting)
	}
	return n
}

// WaitingIn returns how many operations of a job were not handed out.
func (l *Ledger) WaitingIn(x stint.ExecutionID, id stint.JobID) int {
	if j := l.job(x, id); j != nil {
		return stint.CountRanges(j.waiting)
	}
	return 0
}

// Jobs returns the jobs of an execution of which operations have not ended.
func (l *Ledger) Jobs(x stint.ExecutionID) []stint.JobID {
	a := l.accounts[x]
	if a == nil {
		return nil
	}
	list := make([]stint.JobID, len(a.jobs))
	for i, j := range a.jobs {
		list[i] = j.grant.Job
	}
	return list
}

// StageOf returns the stage of such a job.
func (l *Ledger) StageOf(x stint.ExecutionID, id stint.JobID) (int, bool) {
	if j := l.job(x, id); j != nil {
		return j.grant.Stage, true
	}
	return 0, false
}

// Turn returns the execution whose turn it is among those that have something
// waiting and for which able holds: each in turn.
func (l *Ledger) Turn(able func(stint.ExecutionID) bool) (stint.ExecutionID, bool) {
	for i := range l.order {
		at := (l.turn + i) % len(l.order)
		if x := l.order[at]; l.Waiting(x) > 0 && able(x) {
			l.turn = at + 1
			return x, true
		}
	}
	return "", false
}

// Next hands out at most limit operations of an execution: the first that wait
// in the job that was accepted first, next to each other. It reports false if
// there is nothing to hand out.
func (l *Ledger) Next(x stint.ExecutionID, limit int) (Run, bool) {
	a := l.accounts[x]
	if a == nil || l.owed >= l.limit || limit <= 0 {
		return Run{}, false
	}
	for _, j := range a.jobs {
		if len(j.waiting) == 0 {
			continue
		}
		r := j.waiting[0]
		if uint64(r.Len()) > uint64(limit) {
			r.To = r.From + uint32(limit)
		}
		j.waiting = stint.SubtractRange(j.waiting, r)
		j.handed = stint.UnionRange(j.handed, r)
		return Run{Grant: &j.grant, Ops: r}, true
	}
	return Run{}, false
}

// Front returns the grant of the operation that [Ledger.Next] would hand out first.
func (l *Ledger) Front(x stint.ExecutionID) (*stint.Grant, bool) {
	a := l.accounts[x]
	if a == nil || l.owed >= l.limit {
		return nil, false
	}
	i := slices.IndexFunc(a.jobs, func(j *job) bool { return len(j.waiting) > 0 })
	if i < 0 {
		return nil, false
	}
	return &a.jobs[i].grant, true
}

// PutBack makes operations wait again that were handed out and did not begin,
// such as those in the queue of a worker that ended. Others are left alone.
func (l *Ledger) PutBack(x stint.ExecutionID, id stint.JobID, ops stint.Range) {
	j := l.job(x, id)
	if j == nil {
		return
	}
	for op := ops.From; op < ops.To; op++ {
		if stint.RangesContain(j.handed, op) && !stint.RangesContain(j.begun, op) {
			one := stint.Range{From: op, To: op + 1}
			j.handed = stint.SubtractRange(j.handed, one)
			j.waiting = stint.UnionRange(j.waiting, one)
		}
	}
}

// Retract gives back operations of a job that were not handed out, at most
// r.Count, from its end. What it returns is also in the next report, and is
// exactly what was given up: no operations, if none were left to give.
func (l *Ledger) Retract(r stint.Retract) stint.Returned {
	answer := stint.Returned{Job: r.Job}
	a := l.account(r.Execution)
	if j := a.job(r.Job); j != nil {
		for left := r.Count; left > 0 && len(j.waiting) > 0; {
			tail := j.waiting[len(j.waiting)-1]
			if tail.Len() > left {
				tail.From = tail.To - uint32(left)
			}
			left -= tail.Len()
			j.waiting = stint.SubtractRange(j.waiting, tail)
			answer.Ops = stint.UnionRange(answer.Ops, tail)
		}
		a.drop(j)
	}
	d := a.draft(weightOp * (1 + len(answer.Ops)))
	d.Returned = append(d.Returned, answer)
	return answer
}

// GiveUp gives back everything of an execution that was not handed out.
func (l *Ledger) GiveUp(x stint.ExecutionID) {
	a := l.accounts[x]
	if a == nil {
		return
	}
	for _, j := range slices.Clone(a.jobs) {
		if len(j.waiting) > 0 {
			l.Retract(stint.Retract{Execution: x, Job: j.grant.Job, Count: stint.CountRanges(j.waiting)})
		}
	}
}

// Begun enters that operations that were handed out have begun. Operations of
// which that is known already are left alone.
func (l *Ledger) Begun(x stint.ExecutionID, b stint.Begun) {
	a, j := l.accounts[x], l.job(x, b.Job)
	if j == nil {
		return
	}
	for op := b.Ops.From; op < b.Ops.To; op++ {
		if stint.RangesContain(j.handed, op) && !stint.RangesContain(j.begun, op) {
			j.begun = stint.AddToRanges(j.begun, op)
			a.draftBegun(b.Job, op)
		}
	}
}

// Done enters one completed operation; part is nil unless its stage writes
// parts. It reports false and changes nothing if the operation was not handed
// out, or has ended already.
func (l *Ledger) Done(x stint.ExecutionID, id stint.JobID, op stint.OpDone, counters []stint.CounterDelta, part *stint.Part) bool {
	a, j := l.accounts[x], l.job(x, id)
	if j == nil || !j.end(op.Op) {
		return false
	}
	l.owed++
	a.completed = addToStage(a.completed, j.grant.Stage, stint.Range{From: op.Op, To: op.Op + 1})
	a.latest = max(a.latest, id)
	a.draftDone(id, j.grant.Stage, op, counters, part)
	a.drop(j)
	return true
}

// Fail enters an attempt that ended without completing its operation. It
// reports false and changes nothing if the operation was not handed out, or has
// ended already.
func (l *Ledger) Fail(x stint.ExecutionID, f stint.Failure) bool {
	a, j := l.accounts[x], l.job(x, f.Job)
	if j == nil || !j.end(f.Op) {
		return false
	}
	l.owed++
	f.Node = l.node
	f.Stage = j.grant.Stage
	f.Attempt = j.grant.Attempt
	a.draftFailure(f)
	a.drop(j)
	return true
}

// Interrupted enters an attempt that was ended because it was to be. It reports
// false and changes nothing if the operation was not handed out, or has ended
// already.
func (l *Ledger) Interrupted(x stint.ExecutionID, i stint.Interrupted) bool {
	a, j := l.accounts[x], l.job(x, i.Job)
	if j == nil || !j.end(i.Op) {
		return false
	}
	l.owed++
	a.draftInterrupted(i)
	a.drop(j)
	return true
}

// Outstanding reports whether an operation of a job was handed out and has not
// ended, and whether it has begun.
func (l *Ledger) Outstanding(x stint.ExecutionID, id stint.JobID, op uint32) (handed, begun bool) {
	j := l.job(x, id)
	if j == nil {
		return false, false
	}
	return stint.RangesContain(j.handed, op), stint.RangesContain(j.begun, op)
}

// Open reports whether an operation of a stage is in a job here and has not ended.
func (l *Ledger) Open(x stint.ExecutionID, stage int, op uint32) bool {
	a := l.accounts[x]
	return a != nil && slices.ContainsFunc(a.jobs, func(j *job) bool {
		return j.grant.Stage == stage && (stint.RangesContain(j.waiting, op) || stint.RangesContain(j.handed, op))
	})
}

// Holdings returns what this node has of every execution that is not
// forgotten, by id: what it says when it attaches.
func (l *Ledger) Holdings() []stint.Holding {
	var list []stint.Holding
	for _, x := range l.Executions() {
		a := l.accounts[x]
		h := stint.Holding{Execution: x, Completed: cloneStages(a.completed), Latest: a.latest, Copies: cloneStages(a.copies), Begun: slices.Clone(a.begun), LastSeq: a.seq}
		for _, r := range a.seen {
			for id := r.From; id < r.To; id++ {
				h.Jobs = append(h.Jobs, stint.JobID(id))
			}
		}
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b stint.Holding) int {
		if a.Execution < b.Execution {
			return -1
		}
		return 1
	})
	return list
}

// Forget drops everything of an execution but the numbers of its jobs and of
// its last report: a grant of a job that was accepted before starts nothing
// even then.
func (l *Ledger) Forget(x stint.ExecutionID) {
	a := l.accounts[x]
	if a == nil {
		return
	}
	for _, r := range append(a.sent, a.drafts...) {
		l.owed -= endedIn(r)
	}
	*a = account{epoch: a.epoch, seen: a.seen, seq: a.seq, forgotten: true}
}

// account returns the page of an execution, which it opens if there is none.
func (l *Ledger) account(x stint.ExecutionID) *account {
	a := l.accounts[x]
	if a == nil {
		a = &account{}
		l.accounts[x] = a
		l.order = append(l.order, x)
	}
	return a
}

// job returns a job with operations that are not ended, or nil.
func (l *Ledger) job(x stint.ExecutionID, id stint.JobID) *job {
	if a := l.accounts[x]; a != nil {
		return a.job(id)
	}
	return nil
}

func (a *account) job(id stint.JobID) *job {
	for _, j := range a.jobs {
		if j.grant.Job == id {
			return j
		}
	}
	return nil
}

// drop takes a job off the list once none of its operations is left.
func (a *account) drop(j *job) {
	if len(j.waiting) == 0 && len(j.handed) == 0 {
		a.jobs = slices.DeleteFunc(a.jobs, func(other *job) bool { return other == j })
	}
}

// end takes an operation out of those handed out, if it is there.
func (j *job) end(op uint32) bool {
	var found bool
	if j.handed, found = takeOut(j.handed, op); found {
		j.begun, _ = takeOut(j.begun, op)
	}
	return found
}

// takeOut removes one operation from a list of ranges, in place: most often it
// is the first of its range.
func takeOut(list []stint.Range, op uint32) ([]stint.Range, bool) {
	for i := range list {
		switch {
		case op < list[i].From:
			return list, false
		case op >= list[i].To:
			continue
		case op > list[i].From:
			return stint.SubtractRange(list, stint.Range{From: op, To: op + 1}), true
		}
		if list[i].From++; list[i].From == list[i].To {
			list = slices.Delete(list, i, i+1)
		}
		return list, true
	}
	return list, false
}

// addToStage adds operations to the set of their stage.
func addToStage(sets []stint.StageOps, stage int, ops stint.Range) []stint.StageOps {
	for i := range sets {
		if sets[i].Stage == stage {
			sets[i].Ops = add(sets[i].Ops, ops)
			return sets
		}
	}
	sets = append(sets, stint.StageOps{Stage: stage, Ops: []stint.Range{ops}})
	slices.SortFunc(sets, func(a, b stint.StageOps) int { return a.Stage - b.Stage })
	return sets
}

func add(list []stint.Range, r stint.Range) []stint.Range {
	if r.Len() == 1 {
		return stint.AddToRanges(list, r.From)
	}
	return stint.UnionRange(list, r)
}

// dropOutput removes operations from those whose output is here.
func (a *account) dropOutput(lost []stint.StageOps) {
	for _, s := range lost {
		for _, ops := range s.Ops {
			a.completed = subtractFromStage(a.completed, s.Stage, ops)
			a.copies = subtractFromStage(a.copies, s.Stage, ops)
		}
	}
}

func cloneStages(sets []stint.StageOps) []stint.StageOps {
	out := slices.Clone(sets)
	for i := range out {
		out[i].Ops = slices.Clone(out[i].Ops)
	}
	return out
}
