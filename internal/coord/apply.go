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

// keepVoided keeps of the jobs of earlier incarnations what may still be heard
// of: operations that were completed and whose reports are to be sent again.
func (s *State) keepVoided(i uint16, completed []stint.StageOps) {
	n := &s.nodes[i]
	for v := range n.voided {
		var kept []stint.Range
		for _, a := range completed {
			if a.Stage == n.voided[v].stage {
				kept = common(n.voided[v].uncounted, a.Ops)
			}
		}
		n.voided[v].uncounted = kept
	}
	n.dropVoided()
}

// common returns what is in both of two lists of ranges.
func common(a, b []stint.Range) []stint.Range {
	out := a
	for _, r := range b {
		out = stint.SubtractRange(out, r)
	}
	for _, r := range out {
		a = stint.SubtractRange(a, r)
	}
	return a
}

func (n *node) dropVoided() {
	n.voided = slices.DeleteFunc(n.voided, func(v voidedJob) bool { return len(v.uncounted) == 0 })
}

// countVoided counts an attempt of a voided job, unless it was counted before.
func (s *State) countVoided(i uint16, v *voidedJob, n uint32) {
	if stint.RangesContain(v.uncounted, n) {
		v.uncounted = stint.SubtractRange(v.uncounted, stint.Range{From: n, To: n + 1})
		s.countAttempt(i, v.stage, n)
	}
}

// heard counts the attempt of operation n in a job that a report of node i
// speaks of, unless it was counted before. A job that is live counts by the
// state of its operations.
func (s *State) heard(i uint16, id stint.JobID, n uint32) {
	if j := s.jobs[id]; j != nil {
		if n >= j.ops.From && n < j.ops.To && j.node == i {
			if o := &s.stages[j.stage].ops[n]; o.job == id && o.state == granted {
				s.countAttempt(i, j.stage, n)
			}
		}
		return
	}
	for v := range s.nodes[i].voided {
		if s.nodes[i].voided[v].id == id {
			s.countVoided(i, &s.nodes[i].voided[v], n)
		}
	}
}

func (s *State) countAttempt(i uint16, k int, n uint32) {
	st := &s.stages[k]
	st.performed++
	s.nodes[i].performed = true
	if o := &st.ops[n]; o.attempts < 255 {
		o.attempts++
	}
	st.touch(n)
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

func (s *State) applyReport(now int64, r *stint.Report) {
	i, known := s.nodeIndex(r.Node)
	if !known {
		return
	}
	s.nodes[i].lastSeq = r.Seq
	for _, b := range r.Begun {
		s.applyBegun(i, b)
	}
	for _, d := range r.Done {
		s.applyDone(i, d)
	}
	for _, f := range r.Failures {
		s.applyFailure(now, i, f)
	}
	for _, back := range r.Returned {
		s.applyReturned(i, back)
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

func (s *State) applyBegun(i uint16, b stint.Begun) {
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
		if !s.accepts(i, d.Job, &st.ops[u.Op]) {
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
// is that job's, or was taken over from the node, or is nobody's.
func (*State) accepts(i uint16, id stint.JobID, o *op) bool {
	switch o.state {
	case pending:
		return true
	case granted, begun:
		return o.node == i && (o.job == id || o.job == 0)
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
	s.learnDuration(st, u)
	first = !o.counted
	if first {
		o.counted = true
		st.sums.BytesIn += u.BytesIn
		st.sums.BytesOut += u.BytesOut
		st.sums.RecordsIn += u.RecordsIn
		st.sums.RecordsOut += u.RecordsOut
	}
	s.unblock(d.Stage, u.Op)
	return first
}

func (s *State) settle(k int, n uint32, o *op, id stint.JobID) {
	s.setState(k, n, done)
	o.job = id
	delete(s.messages, opKey{k, n})
	if len(s.exceptions) > 0 {
		delete(s.exceptions, opKey{k, n})
	}
}

func (s *State) leaveJob(o *op, id stint.JobID) {
	if j := s.jobs[id]; j != nil && o.job == id && (o.state == granted || o.state == begun) {
		if j.left--; j.left == 0 {
			s.endJob(id)
		}
	}
}

// unblock counts a completion for the operations that wait for it.
func (s *State) unblock(k int, n uint32) {
	if k+1 >= len(s.stages) {
		return
	}
	next := &s.stages[k+1]
	if next.spec.Gather == nil {
		if s.complete(k) {
			next.ready = s.readyOps(k + 1)
		}
		return
	}
	g := gatherer(next.spec.Gather, n)
	if next.waitingFor[g]--; next.waitingFor[g] == 0 && next.ops[g].state == pending {
		s.release(k+1, g)
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
	}
	s.leaveJob(o, f.Job)
	s.setState(f.Stage, f.Op, pending)
	o.job = 0
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
		e.infra++
		wait = backoff(e.infra)
	case stint.Unavailable:
		s.nodes[i].coolUntil = now + coolDown
		wait = backoff(1)
	case stint.Failed:
		e.failed++
		wait = backoff(e.failed)
	case stint.Invalid, stint.NotFound, stint.Conflict, stint.Denied, stint.Unknown, stint.Internal:
		s.giveUp(key, f)
		return
	}
	if e.failed >= s.maxAttempts() || e.infra >= maxInfraFailures {
		s.giveUp(key, f)
		return
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

// backoff returns the wait before attempt n+1, in milliseconds.
func backoff(n int) int64 {
	return min(int64(backoffFirst)<<min(n-1, 16), backoffMost)
}

// giveUp makes the operation failed and with it, in the end, the execution.
func (s *State) giveUp(key opKey, f stint.Failure) {
	s.setState(key.stage, key.op, failed)
	s.exceptions[key] = &exception{err: f.Error}
	if s.fatal == nil {
		id := stint.MakeOperationID(s.stages[key.stage].spec.Name, key.op)
		s.fatal = stint.Errorf(f.Error.Code, "operation %s failed on node %s in attempt %d: %s", id, f.Node, f.Attempt, f.Error.Error())
	}
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
			s.setState(j.stage, n, pending)
			o.job = 0
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
}
