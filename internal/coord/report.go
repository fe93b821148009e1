package coord

import (
	"cmp"
	"slices"

	"stint"
)

func (s *State) applyReport(now int64, r *stint.Report) {
	i, known := s.nodeIndex(r.Node)
	if !known {
		return
	}
	s.nodes[i].lastSeq, s.nodes[i].gap = r.Seq, s.nodes[i].gap && !s.isOfNow(r)
	if s.nodes[i].outdated && !s.upToDate(i, r) {
		return
	}
	for _, b := range r.Begun {
		s.applyBegun(now, i, b)
	}
	for _, d := range r.Done {
		s.applyDone(i, d)
	}
	for _, f := range r.Failures {
		s.applyFailure(now, i, f)
	}
	for _, in := range r.Interrupted {
		s.applyInterrupted(i, in)
	}
	for _, back := range r.Returned {
		s.applyReturned(i, back)
	}
	if bad := s.badOfNow(r.Bad); len(bad) > 0 {
		s.applyBad(&BadRecord{Copies: bad})
	}
	for _, m := range r.Messages {
		if j := s.jobs[m.Job]; j != nil {
			s.messages[opKey{j.stage, m.Op}] = m.Text
		}
	}
	if r.Verified != nil {
		s.applyVerified(i, r.Verified)
	}
}

// isOfNow reports whether a report speaks of a job that was granted since the
// latest suspend or retry: the node has forgotten what was before.
func (s *State) isOfNow(r *stint.Report) bool {
	return speaksOf(r, func(id stint.JobID) bool { return id > s.closed })
}

// badOfNow returns those copies that jobs since the latest suspend have found to be
// bad. One that an earlier job looked for may go by a number that is another
// operation's, or have been replaced by a good one.
func (s *State) badOfNow(list []stint.BadCopy) (out []stint.BadCopy) {
	for _, b := range list {
		if b.Job == 0 || b.Job > s.closed {
			out = append(out, b)
		}
	}
	return out
}

func (s *State) applyBegun(now int64, i uint16, b stint.Begun) {
	j := s.jobs[b.Job]
	if j == nil {
		s.begunVoided(i, b)
		return
	}
	if j.node != i {
		return
	}
	for n := max(b.Ops.From, j.ops.From); n < min(b.Ops.To, j.ops.To); n++ {
		if o := &s.stages[j.stage].ops[n]; o.job == b.Job && o.state == granted {
			s.countAttempt(i, j.stage, n)
			s.setState(j.stage, n, begun)
			s.stages[j.stage].starts[n] = s.since(now)
		}
	}
}

// begunVoided counts what a node had begun of a job that was voided while it
// was away.
func (s *State) begunVoided(i uint16, b stint.Begun) {
	for v := range s.nodes[i].voided {
		job := &s.nodes[i].voided[v]
		if job.id != b.Job {
			continue
		}
		for _, r := range slices.Clone(job.uncounted) {
			for n := max(r.From, b.Ops.From); n < min(r.To, b.Ops.To); n++ {
				s.countVoided(i, job, n)
			}
		}
	}
}

func (s *State) applyDone(i uint16, d stint.Done) {
	if d.Stage < 0 || d.Stage >= len(s.stages) {
		return
	}
	st := &s.stages[d.Stage]
	var fresh map[uint32]bool // operations whose counters count
	if len(d.Counters) > 0 {
		fresh = make(map[uint32]bool, len(d.Ops))
	}
	for _, u := range d.Ops {
		if int(u.Op) >= len(st.ops) {
			continue
		}
		s.heard(i, d.Job, u.Op)
		if o := &st.ops[u.Op]; !s.accepts(i, d.Job, o) {
			if o.state == granted && o.job == 0 && o.node == i { // announced, and no good
				s.setState(d.Stage, u.Op, pending)
				s.release(d.Stage, u.Op)
			}
			continue
		}
		if first := s.finish(i, d, u); fresh != nil {
			fresh[u.Op] = first
		}
	}
	s.addCounters(d.Counters, fresh)
	for _, p := range d.Parts {
		if !st.spec.Part || int(p.Op) >= len(st.ops) || s.parts[p.Op].Name != "" {
			continue
		}
		if o := &st.ops[p.Op]; o.state == done && o.node == i {
			s.parts[p.Op] = p
		}
	}
}

// accepts reports whether a completion by node i in a job counts: the operation
// is that job's, or was taken over from the node, or is nobody's. One in a job from
// before a suspend or a retry does not: its node was told to forget it. An older copy
// of its folder may announce it, and it may have done without what is there by now.
func (s *State) accepts(i uint16, id stint.JobID, o *op) bool {
	switch o.state {
	case pending:
		return id > s.closed
	case granted, begun:
		return o.node == i && (o.job == id || o.job == 0 && id > s.closed)
	case done, failed:
	}
	return false
}

// finish records one completion and reports whether its usage counts.
func (s *State) finish(i uint16, d stint.Done, u stint.OpDone) (first bool) {
	st := &s.stages[d.Stage]
	o := &st.ops[u.Op]
	if o.state == pending {
		s.take(d.Stage, u.Op)
	}
	s.nodes[i].performed = true
	s.leaveJob(o, d.Job)
	o.node = i // before the state changes: the load is counted on it
	s.settle(d.Stage, u.Op, o, d.Job)
	st.starts[u.Op], o.end = s.since(u.Start), s.since(u.End)
	if st.inputSums != nil {
		st.inputSums[u.Op] = u.InputSum
	}
	s.learnDuration(st, u)
	first = !o.counted
	if first {
		o.counted = true
		st.sums.BytesIn += u.BytesIn
		st.sums.BytesOut += u.BytesOut
		st.sums.RecordsIn += u.RecordsIn
		st.sums.RecordsOut += u.RecordsOut
		st.sums.BadRecords += u.BadRecords
	}
	st.countRecords(u.Op, records{u.RecordsIn, u.BadRecords}, first)
	s.unblock(d.Stage, u.Op)
	s.judgeRecords(d.Stage)
	if s.keepsBlocks(d.Stage) {
		s.addChore(d.Stage, u.Op)
	}
	return first
}

func (s *State) settle(k int, n uint32, o *op, id stint.JobID) {
	s.setState(k, n, done)
	o.job = id
	delete(s.messages, opKey{k, n})
	if len(s.exceptions) > 0 {
		delete(s.exceptions, opKey{k, n})
	}
	if len(s.checkpoints) > 0 {
		delete(s.checkpoints, opKey{k, n})
	}
}

func (s *State) leaveJob(o *op, id stint.JobID) {
	if j := s.jobs[id]; j != nil && o.job == id && (o.state == granted || o.state == begun) {
		if j.left--; j.left == 0 {
			s.endJob(id)
		}
	}
}

func (*State) learnDuration(st *stage, u stint.OpDone) {
	took := max(float64(u.End-u.Start), leastMillis)
	if st.counts[done] <= 1 {
		st.meanMillis = took
		return
	}
	weight := max(0.05, 1/float64(min(st.counts[done], 20)))
	st.meanMillis += weight * (took - st.meanMillis)
}

// addCounters adds the counters of operations that are fresh, each once: a node
// that was asked twice for what it completed may say it twice in one report.
func (s *State) addCounters(list []stint.CounterDelta, fresh map[uint32]bool) {
	added := make(map[stint.CounterDelta]bool, len(list))
	for _, c := range list {
		name := c
		name.Value = 0
		if fresh[c.Op] && !added[name] {
			added[name] = true
			s.addCounter(c)
		}
	}
}

func (s *State) addCounter(c stint.CounterDelta) {
	group := s.counters[c.Group]
	if group == nil {
		if len(s.counters) >= stint.MaxCounters {
			return
		}
		group = make(map[string]int64)
		s.counters[c.Group] = group
	}
	if _, ok := group[c.Name]; !ok && len(group) >= stint.MaxCounters {
		return
	}
	group[c.Name] += c.Value
}

func (s *State) applyFailure(now int64, i uint16, f stint.Failure) {
	j := s.jobs[f.Job]
	if j == nil || j.node != i || f.Op < j.ops.From || f.Op >= j.ops.To || f.Error == nil {
		return
	}
	o := &s.stages[j.stage].ops[f.Op]
	if o.job != f.Job || o.state != granted && o.state != begun {
		return
	}
	f.Node, f.Stage = s.nodes[i].id, j.stage
	if f.Error.Code != stint.Canceled {
		s.failures = append(s.failures, f)
		s.failures = s.failures[max(0, len(s.failures)-keptFailures):]
		s.addCause(f)
	}
	s.leaveJob(o, f.Job)
	s.leave(j, f.Job, f.Op)
	delete(s.messages, opKey{f.Stage, f.Op})
	s.judge(now, i, f)
}

// judge decides what becomes of an operation after a failed attempt.
func (s *State) judge(now int64, i uint16, f stint.Failure) {
	key := opKey{f.Stage, f.Op}
	e := s.exceptions[key]
	if e == nil {
		e = &exception{}
	}
	e.err, e.avoid = f.Error, i
	wait := int64(0)
	switch f.Error.Code {
	case stint.Canceled:
		s.release(f.Stage, f.Op)
		return
	case stint.Lost:
		if len(f.Silent) > 0 { // its input is there, and will be had when its nodes are reached
			e.unreached++ // longer each time: those that cannot are not to keep one that can from coming to it
			if !slices.Contains(e.cutOff, i) {
				e.cutOff = append(e.cutOff, i)
			}
			wait = backoff(e.unreached, unreachedWait)
			break
		}
		e.infra++
		wait = backoff(e.infra, s.request.Backoff)
	case stint.Unavailable:
		s.nodes[i].coolUntil = now + coolDown
		wait = backoff(1, 0)
	case stint.Failed:
		e.failed++
		wait = backoff(e.failed, s.request.Backoff)
	case stint.Denied: // it was allowed when the execution began, and may be again
		e.unreached++
		wait = backoff(e.unreached, unreachedWait)
	case stint.Invalid, stint.NotFound, stint.Conflict, stint.Unknown, stint.Internal:
		s.giveUp(key, f)
		return
	}
	if e.failed >= s.maxAttempts() || e.infra >= maxInfraFailures {
		s.giveUp(key, f)
		return
	}
	if e.failed+e.infra >= mostFromCheckpoint {
		delete(s.checkpoints, key) // it may be what makes it fail
	}
	e.notBefore = now + wait
	s.exceptions[key] = e
	s.release(f.Stage, f.Op)
}

func (s *State) maxAttempts() int {
	if s.request.Attempts > 0 {
		return s.request.Attempts
	}
	return defaultAttempts
}

// backoff returns the wait before attempt n+1, in milliseconds; first is the one
// before the second attempt, 0 if it was left open.
func backoff(n int, first int64) int64 {
	first = cmp.Or(first, backoffFirst)
	return min(first<<min(n-1, 16), max(first, backoffMost))
}

// giveUp makes the operation failed and with it, in the end, the execution,
// unless others are to do without it.
func (s *State) giveUp(key opKey, f stint.Failure) {
	s.setState(key.stage, key.op, failed)
	s.exceptions[key] = &exception{err: f.Error}
	delete(s.checkpoints, key)
	s.unblock(key.stage, key.op)
	if s.completesErrors() {
		s.chores = nil
		return
	}
	if s.fatal == nil {
		id := stint.MakeOperationID(s.stages[key.stage].spec.Name, key.op)
		s.fatal = stint.Errorf(f.Error.Code, "operation %s failed on node %s in attempt %d: %s", id, f.Node, f.Attempt, f.Error.Error())
	}
}

// applyInterrupted takes in an attempt that was ended so that the work stops. It
// does not count against the program.
func (s *State) applyInterrupted(i uint16, in stint.Interrupted) {
	s.heard(i, in.Job, in.Op)
	j := s.jobs[in.Job]
	if j == nil || j.node != i || in.Op < j.ops.From || in.Op >= j.ops.To {
		return
	}
	o := &s.stages[j.stage].ops[in.Op]
	if o.job != in.Job || o.state != granted && o.state != begun {
		return
	}
	key := opKey{j.stage, in.Op}
	if in.Checkpoint != nil {
		c := *in.Checkpoint
		c.Op = in.Op
		s.checkpoints[key] = c
	} else {
		s.workLost += float64(max(in.End-in.Start, 0))
	}
	s.leaveJob(o, in.Job)
	s.leave(j, in.Job, in.Op)
	delete(s.messages, key)
	s.release(j.stage, in.Op)
}

func (s *State) applyReturned(i uint16, back stint.Returned) {
	j := s.jobs[back.Job]
	if j == nil {
		s.returnedVoided(i, back)
		return
	}
	if j.node != i {
		return
	}
	j.asked = false
	for _, r := range back.Ops {
		for n := max(r.From, j.ops.From); n < min(r.To, j.ops.To); n++ {
			o := &s.stages[j.stage].ops[n]
			if o.job != back.Job || o.state != granted {
				continue
			}
			s.leaveJob(o, back.Job)
			s.leave(j, back.Job, n)
			s.release(j.stage, n)
		}
	}
}

// returnedVoided forgets the operations of a voided job that never will begin.
func (s *State) returnedVoided(i uint16, back stint.Returned) {
	n := &s.nodes[i]
	for v := range n.voided {
		for _, r := range back.Ops {
			if n.voided[v].id == back.Job {
				n.voided[v].uncounted = stint.SubtractRange(n.voided[v].uncounted, r)
			}
		}
	}
	n.dropVoided()
}

func (s *State) applyVerified(i uint16, v *stint.Verification) {
	lost := make([][]stint.Range, len(s.stages))
	for _, l := range v.Lost {
		if l.Stage >= 0 && l.Stage < len(lost) {
			lost[l.Stage] = l.Ops
		}
	}
	s.lose(i, func(k int, n uint32) bool { return stint.RangesContain(lost[k], n) })
	for _, l := range v.Lost { // what it announced as completed and cannot report any more
		s.eachOp(l, func(_ *stage, n uint32, o *op) {
			if o.state == granted && o.job == 0 && o.node == i {
				s.setState(l.Stage, n, pending)
				s.release(l.Stage, n)
			}
		})
	}
}
