package coord

import (
	"slices"

	"stint"
)

// Apply folds one record into the state. It never fails: a record that was
// journaled is a fact.
func (s *State) Apply(r Record) {
	s.version++
	s.latest = max(s.latest, r.At)
	switch {
	case r.Attach != nil:
		s.applyAttach(r.At, r.Attach)
	case r.Grant != nil:
		s.applyGrant(r.Grant)
	case r.Report != nil:
		s.applyReport(r.At, r.Report)
	case r.Gone != nil:
		s.applyGone(r.At, r.Gone)
	case r.Status != nil:
		s.applyStatus(r.At, r.Status)
	default:
		s.applyKept(&r)
	}
}

// applyKept folds records about where output lies, and about jobs that stop.
func (s *State) applyKept(r *Record) {
	switch {
	case r.Saved != nil:
		s.applySaved(r.Saved)
	case r.Copied != nil:
		s.applyCopied(r.Copied)
	case r.Bad != nil:
		s.applyBad(r.Bad)
	case r.Hold != nil:
		s.applyHold(r.Hold)
	case r.Void != nil:
		s.applyVoid(r.At, r.Void)
	case r.Schedule != nil:
		s.next = ScheduleAsk{At: r.Schedule.At, Nodes: r.Schedule.Nodes, Slots: r.Schedule.Slots}
		s.claimed = max(s.claimed, r.Schedule.Generation)
	}
}

func (s *State) applyStatus(now int64, r *StatusRecord) {
	before := s.status
	s.status, s.settled, s.chores = r.Status, r.Settled, nil
	if r.Generation > 0 {
		s.generation, s.claimed = r.Generation, 0
	}
	switch {
	case r.Status == stint.InProgress && before == stint.Suspending: // it was not complete
		s.stopBy = 0
		s.mostNodes, s.mostSlots, s.next = r.Nodes, r.Slots, ScheduleAsk{}
	case r.Status == stint.InProgress && before == stint.CompletedErrors:
		s.stints = append(s.stints, span{start: now})
		s.applyRetry()
	case r.Status == stint.InProgress:
		s.stints = append(s.stints, span{start: now})
		s.applyResumed(r)
	case r.Status == stint.Suspending:
		if before != stint.Suspending {
			s.workLost = 0
		}
		s.stopBy = r.StopBy
	case r.Status == stint.Suspended:
		s.voidAll(now)
		s.applySuspended(now)
	case before == stint.InProgress || before == stint.Suspending:
		s.stints[len(s.stints)-1].end = now
		s.voidAll(now)
	}
	if r.Error != nil {
		s.err = r.Error
	}
	if r.Status == stint.Completed || r.Status == stint.CompletedErrors {
		s.output.Bytes, s.output.Parts = r.Bytes, max(r.Parts, len(s.StagedParts()))
	}
	if r.Status == stint.CompletedErrors {
		s.leaveNodes()
	}
}

func (s *State) voidAll(now int64) {
	for i := range s.nodes {
		s.void(now, uint16(i))
		s.nodes[i].voided = nil
	}
}

// applyAttach takes in a node in a new incarnation, or at a new address.
func (s *State) applyAttach(now int64, a *AttachRecord) {
	i, known := s.nodeIndex(a.Node.ID)
	if !known {
		i = uint16(len(s.nodes))
		s.nodes = append(s.nodes, node{id: a.Node.ID, outdated: s.renumbered})
	}
	n := &s.nodes[i]
	n.name, n.address, n.slots = a.Node.Name, a.Node.Address, a.Node.Slots
	s.chores = nil
	for k := range s.stages {
		s.stages[k].sources = nil
	}
	if n.outdated = n.outdated || s.isOld(&a.Holding); n.outdated {
		s.startOver(now, i, a.Node.Incarnation)
		return
	}
	if known && n.incarnation == a.Node.Incarnation && n.status != nodeLost {
		return
	}
	n.status, n.coolUntil = nodeReady, 0
	if n.incarnation != a.Node.Incarnation {
		// A process that this record does not know may have numbered reports and been told
		// to forget them, by whoever had the execution meanwhile.
		n.incarnation, n.lastSeq, n.gap = a.Node.Incarnation, 0, s.generation > 0
		s.void(now, i)
		for _, b := range a.Holding.Begun {
			s.begunVoided(i, b)
		}
		s.keepVoided(i, a.Holding.Completed)
	}
	s.compare(i, &a.Holding)
}

// announced returns by stage the operations whose output a node says it has.
func (s *State) announced(h *stint.Holding) [][]stint.Range {
	has := make([][]stint.Range, len(s.stages))
	for _, list := range [2][]stint.StageOps{h.Completed, h.Copies} {
		for _, a := range list {
			if a.Stage < 0 || a.Stage >= len(has) {
				continue
			}
			for _, r := range a.Ops {
				has[a.Stage] = stint.UnionRange(has[a.Stage], r)
			}
		}
	}
	return has
}

// compare holds what a node announced against the record: what it no longer has
// is lost, what it completed and is not recorded yet is taken over. What it keeps
// under other names it does not announce. Copies that are not recorded do not
// count: their operations may have been performed again since they were made.
func (s *State) compare(i uint16, h *stint.Holding) {
	has := s.announced(h)
	s.lose(i, func(k int, n uint32) bool {
		o := &s.stages[k].ops[n]
		renamed := o.renamed && o.node == i
		return !renamed && !stint.RangesContain(has[k], n)
	})
	for k := range has {
		s.eachOp(stint.StageOps{Stage: k, Ops: has[k]}, func(_ *stage, n uint32, o *op) {
			if o.state == done && o.node == i && o.gone && s.keepsBlocks(k) {
				s.occupy(i, k, n)
			}
		})
	}
	for _, a := range h.Completed {
		k := a.Stage
		s.eachOp(a, func(_ *stage, n uint32, o *op) {
			if o.state == pending {
				s.take(k, n)
				o.node, o.job = i, 0
				s.setState(k, n, granted)
			}
		})
	}
}

func (s *State) eachOp(a stint.StageOps, f func(st *stage, n uint32, o *op)) {
	if a.Stage < 0 || a.Stage >= len(s.stages) {
		return
	}
	st := &s.stages[a.Stage]
	for _, r := range a.Ops {
		for n := r.From; n < min(r.To, uint32(len(st.ops))); n++ {
			f(st, n, &st.ops[n])
		}
	}
}

// lose notes the output that lay on node i and is gone. A copy takes its place;
// where there is none and it is not saved, the operation goes back to pending if
// the output is still needed. Output that is not needed now may be needed later,
// when what was made of it is lost as well: the mark stays.
func (s *State) lose(i uint16, gone func(stage int, n uint32) bool) {
	for k := range s.stages {
		st := &s.stages[k]
		if len(st.copiesOn(i)) > 0 {
			st.loseCopies(i, func(n uint32) bool { return gone(k, n) })
		}
		if st.heldOn(i) == 0 {
			continue
		}
		for n := range st.ops {
			if o := &st.ops[n]; o.state == done && o.node == i && !o.gone && gone(k, uint32(n)) {
				s.vacate(k, uint32(n))
			}
		}
	}
	s.chores = nil
	s.undoGone()
}

// undoGone takes stages from the last to the first, because what a lost
// operation reads is needed again.
func (s *State) undoGone() {
	for k := len(s.stages) - 1; k >= 0; k-- {
		st := &s.stages[k]
		for n := range st.ops {
			if o := &st.ops[n]; o.state == done && o.nowhere() && s.needed(k, uint32(n)) {
				s.undo(k, uint32(n))
			}
		}
	}
}

// undo makes a completed operation pending and withdraws what waited for it.
func (s *State) undo(k int, n uint32) {
	if st := &s.stages[k]; s.status == stint.Suspending {
		s.workLost += float64(st.ops[n].end - min(st.starts[n], st.ops[n].end))
	}
	s.setState(k, n, pending)
	s.stages[k].ops[n].job = 0
	s.release(k, n)
	s.block(k, n)
}

func (s *State) applyVoid(now int64, r *VoidRecord) {
	i, known := s.nodeIndex(r.Node)
	if !known {
		return
	}
	if len(r.Jobs) == 0 {
		s.void(now, i)
	}
	for _, id := range r.Jobs {
		if j := s.jobs[id]; j != nil && j.node == i {
			s.voidJob(now, id)
		}
	}
}

// voidJob ends a job: what is not completed of it is free again.
func (s *State) voidJob(now int64, id stint.JobID) {
	j := s.jobs[id]
	st := &s.stages[j.stage]
	v := voidedJob{id: id, stage: j.stage}
	for n := j.ops.From; n < j.ops.To; n++ {
		o := &st.ops[n]
		if o.job != id || o.state != granted && o.state != begun {
			continue
		}
		if o.state == granted {
			v.uncounted = stint.AddToRanges(v.uncounted, n)
		} else if s.status == stint.Suspending {
			s.workLost += float64(s.since(now) - min(st.starts[n], s.since(now)))
		}
		s.leave(j, id, n)
		s.release(j.stage, n)
	}
	s.endJob(id)
	if v.uncounted != nil {
		s.nodes[j.node].voided = append(s.nodes[j.node].voided, v)
	}
}

// void ends all jobs of a node.
func (s *State) void(now int64, i uint16) {
	for _, id := range slices.Clone(s.nodes[i].jobs) {
		s.voidJob(now, id)
	}
	if s.nodes[i].queued == 0 {
		return
	}
	for k := range s.stages { // what was taken over and never reported
		for n := range s.stages[k].ops {
			if o := &s.stages[k].ops[n]; o.state == granted && o.job == 0 && o.node == i {
				s.setState(k, uint32(n), pending)
				s.release(k, uint32(n))
			}
		}
	}
}

func (s *State) endJob(id stint.JobID) {
	j := s.jobs[id]
	delete(s.jobs, id)
	n := &s.nodes[j.node]
	if at := slices.Index(n.jobs, id); at >= 0 {
		n.jobs = slices.Delete(n.jobs, at, at+1)
	}
}

func (s *State) applyGone(now int64, g *Gone) {
	i, known := s.nodeIndex(g.Node)
	if !known {
		return
	}
	s.nodes[i].lostAt = g.LostAt
	s.void(now, i)
	s.observe(i, nodeAway)
	if g.Lost {
		s.observe(i, nodeLost)
		s.lose(i, func(int, uint32) bool { return true })
	}
}

func (s *State) applyGrant(g *GrantRecord) {
	i, _ := s.nodeIndex(g.Node)
	s.jobs[g.Job] = &job{stage: g.Stage, ops: g.Ops, node: i, incarnation: g.Incarnation, attempt: g.Attempt, left: g.Ops.Len()}
	s.lastJob = max(s.lastJob, g.Job)
	s.nodes[i].jobs = append(s.nodes[i].jobs, g.Job)
	st := &s.stages[g.Stage]
	st.ready = stint.SubtractRange(st.ready, g.Ops)
	st.meet(g.Ops)
	for n := g.Ops.From; n < g.Ops.To; n++ {
		if len(s.exceptions) > 0 {
			s.take(g.Stage, n)
		}
		st.ops[n].node, st.ops[n].job = i, g.Job
		s.setState(g.Stage, n, granted)
	}
}

// take removes an operation from what may be granted.
func (s *State) take(k int, n uint32) {
	st := &s.stages[k]
	st.ready = stint.SubtractRange(st.ready, stint.Range{From: n, To: n + 1})
	if at := slices.Index(s.retries, opKey{k, n}); at >= 0 {
		s.retries = slices.Delete(s.retries, at, at+1)
	}
}

// release makes a pending operation available, if it waits for nothing.
func (s *State) release(k int, n uint32) {
	key := opKey{k, n}
	if _, special := s.exceptions[key]; special {
		if !slices.Contains(s.retries, key) {
			s.retries = append(s.retries, key)
		}
		return
	}
	if s.unblocked(k, n) {
		st := &s.stages[k]
		st.ready = stint.AddToRanges(st.ready, n)
	}
}

// unblocked reports whether all that an operation reads is there.
func (s *State) unblocked(k int, n uint32) bool {
	st := &s.stages[k]
	if s.heldBack(k, n) {
		return false
	}
	if st.waitingFor != nil && st.waitingFor[n] > 0 {
		return false
	}
	return s.gatesOpen(k)
}

// setState moves an operation between states and keeps the counts.
func (s *State) setState(k int, n uint32, to opState) {
	st := &s.stages[k]
	o := &st.ops[n]
	st.counts[o.state]--
	st.counts[to]++
	s.countLoad(k, o, -1)
	s.countHold(k, o, -1)
	if o.state == done || to == done || o.state == failed || to == failed {
		st.sources = nil
	}
	if o.state == failed {
		st.failed = stint.SubtractRange(st.failed, stint.Range{From: n, To: n + 1})
	} else if to == failed {
		st.failed = stint.AddToRanges(st.failed, n)
	}
	if o.state == done {
		s.withdraw(k, n)
	}
	o.state, o.gone = to, false
	s.countLoad(k, o, 1)
	s.countHold(k, o, 1)
	st.touch(n)
}

func (s *State) countLoad(k int, o *op, by int) {
	switch o.state {
	case granted:
		n := &s.nodes[o.node]
		if by < 0 || n.queued == 0 {
			n.moved = s.latest
		}
		n.queued += by
		s.out += by
		if o.job == 0 { // announced as completed: there is nothing to give back
			return
		}
		st := &s.stages[k]
		for len(st.waits) <= int(o.node) {
			st.waits = append(st.waits, 0)
		}
		st.waits[o.node] += by
	case begun:
		s.nodes[o.node].begun += by
		s.out += by
	case pending, done, failed:
	}
}
