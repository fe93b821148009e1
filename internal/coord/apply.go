package coord

import (
	"slices"

	"stint"
)

// Apply folds one record into the state. It never fails: a record that was
// journaled is a fact.
func (s *State) Apply(r Record) {
	s.version++
	switch {
	case r.Attach != nil:
		s.applyAttach(r.Attach)
	case r.Grant != nil:
		s.applyGrant(r.Grant)
	case r.Report != nil:
		s.applyReport(r.At, r.Report)
	case r.Gone != nil:
		s.applyGone(r.Gone)
	case r.Status != nil:
		s.applyStatus(r.At, r.Status)
	}
}

func (s *State) applyStatus(now int64, r *StatusRecord) {
	if r.Status == stint.InProgress && s.status != stint.InProgress {
		s.stints = append(s.stints, span{start: now})
	}
	if s.status == stint.InProgress && r.Status != stint.InProgress {
		s.stints[len(s.stints)-1].end = now
		s.voidAll()
	}
	s.status, s.settled = r.Status, r.Settled
	if r.Error != nil {
		s.err = r.Error
	}
	if r.Status == stint.Completed {
		s.output.Bytes, s.output.Parts = r.Bytes, len(s.parts)
	}
}

func (s *State) voidAll() {
	for i := range s.nodes {
		s.void(uint16(i))
		s.nodes[i].voided = nil
	}
}

// applyAttach takes in a node in a new incarnation, or at a new address.
func (s *State) applyAttach(a *AttachRecord) {
	i, known := s.nodeIndex(a.Node.ID)
	if !known {
		i = uint16(len(s.nodes))
		s.nodes = append(s.nodes, node{id: a.Node.ID})
	}
	n := &s.nodes[i]
	n.name, n.address, n.slots = a.Node.Name, a.Node.Address, a.Node.Slots
	for k := range s.stages {
		s.stages[k].sources = nil
	}
	if known && n.incarnation == a.Node.Incarnation && n.status != nodeLost {
		return
	}
	n.status, n.coolUntil = nodeReady, 0
	if n.incarnation != a.Node.Incarnation {
		n.incarnation, n.lastSeq = a.Node.Incarnation, 0
		s.void(i)
		for _, b := range a.Holding.Begun {
			s.begunVoided(i, b)
		}
		s.keepVoided(i, a.Holding.Completed)
	}
	s.compare(i, a.Holding.Completed)
}

// compare holds what a node announced as completed against the record: what it
// no longer has is lost, what is not recorded yet is taken over.
func (s *State) compare(i uint16, announced []stint.StageOps) {
	has := make([][]stint.Range, len(s.stages))
	for _, a := range announced {
		if a.Stage >= 0 && a.Stage < len(has) {
			has[a.Stage] = a.Ops
		}
	}
	s.lose(i, func(k int, n uint32) bool { return !stint.RangesContain(has[k], n) })
	for _, a := range announced {
		k := a.Stage
		s.eachOp(a, func(st *stage, n uint32, o *op) {
			switch {
			case o.state == pending:
				s.take(k, n)
				o.node, o.job = i, 0
				s.setState(k, n, granted)
			case o.state == done && o.node == i && o.gone:
				o.gone = false
				st.touch(n)
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

// lose marks the output that lay on node i and is gone, and puts those of its
// operations whose output is still needed back to pending. Output that is not
// needed now may be needed later, when what was made of it is lost as well: the
// mark stays.
func (s *State) lose(i uint16, gone func(stage int, n uint32) bool) {
	for k := range s.stages {
		st := &s.stages[k]
		if st.spec.Part || st.spec.NoOutput {
			continue
		}
		for n := range st.ops {
			if o := &st.ops[n]; o.state == done && o.node == i && !o.gone && gone(k, uint32(n)) {
				o.gone = true
				st.touch(uint32(n))
			}
		}
	}
	s.undoGone()
}

// undoGone takes stages from the last to the first, because what a lost
// operation reads is needed again.
func (s *State) undoGone() {
	for k := len(s.stages) - 1; k >= 0; k-- {
		st := &s.stages[k]
		for n := range st.ops {
			if o := &st.ops[n]; o.state == done && o.gone && s.needed(k, uint32(n)) {
				s.undo(k, uint32(n))
			}
		}
	}
}

// undo makes a completed operation pending and withdraws what waited for it.
func (s *State) undo(k int, n uint32) {
	s.setState(k, n, pending)
	s.stages[k].ops[n].job = 0
	s.release(k, n)
	if k+1 >= len(s.stages) {
		return
	}
	next := &s.stages[k+1]
	if next.spec.Gather == nil {
		next.ready = nil
		return
	}
	g := gatherer(next.spec.Gather, n)
	next.waitingFor[g]++
	next.ready = stint.SubtractRange(next.ready, stint.Range{From: g, To: g + 1})
}

// void ends all jobs of a node: what they did not complete is free again.
func (s *State) void(i uint16) {
	for _, id := range slices.Clone(s.nodes[i].jobs) {
		j := s.jobs[id]
		v := voidedJob{id: id, stage: j.stage}
		for n := j.ops.From; n < j.ops.To; n++ {
			o := &s.stages[j.stage].ops[n]
			if o.job != id || o.state != granted && o.state != begun {
				continue
			}
			if o.state == granted {
				v.uncounted = stint.AddToRanges(v.uncounted, n)
			}
			s.setState(j.stage, n, pending)
			o.job = 0
			s.release(j.stage, n)
		}
		s.endJob(id)
		if v.uncounted != nil {
			s.nodes[i].voided = append(s.nodes[i].voided, v)
		}
	}
	for k := range s.stages { // what was taken over and never reported
		for n := range s.stages[k].ops {
			if o := &s.stages[k].ops[n]; o.state == granted && o.job == 0 && o.node == i {
				s.setState(k, uint32(n), pending)
				s.release(k, uint32(n))
			}
		}
	}
	s.nodes[i].queued, s.nodes[i].begun = 0, 0
}

func (s *State) endJob(id stint.JobID) {
	j := s.jobs[id]
	delete(s.jobs, id)
	n := &s.nodes[j.node]
	if at := slices.Index(n.jobs, id); at >= 0 {
		n.jobs = slices.Delete(n.jobs, at, at+1)
	}
}

func (s *State) applyGone(g *Gone) {
	i, known := s.nodeIndex(g.Node)
	if !known {
		return
	}
	s.void(i)
	s.nodes[i].status = nodeAway
	if g.Lost {
		s.nodes[i].status = nodeLost
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
	if st.waitingFor != nil {
		return st.waitingFor[n] == 0
	}
	return k == 0 || s.complete(k-1)
}

// setState moves an operation between states and keeps the counts.
func (s *State) setState(k int, n uint32, to opState) {
	st := &s.stages[k]
	o := &st.ops[n]
	st.counts[o.state]--
	st.counts[to]++
	s.countLoad(o, -1)
	if o.state == done || to == done {
		st.sources = nil
	}
	o.state, o.gone = to, false
	s.countLoad(o, 1)
	st.touch(n)
}

func (s *State) countLoad(o *op, by int) {
	switch o.state {
	case granted:
		s.nodes[o.node].queued += by
	case begun:
		s.nodes[o.node].begun += by
	case pending, done, failed:
	}
}
