package coord

import "stint"

// mostMissing bounds the list of operations without which an execution completes.
const mostMissing = 1000

// An execution that is to complete as much as possible does without operations
// that fail for good. What a retry would need is saved before its output is
// committed: a retry performs the operations that failed, and those that did
// without what they should have read.

// endsWithErrors reports whether all operations of an execution have ended, some
// of them failed.
func (s *State) endsWithErrors() bool {
	return s.request.CompleteErrors && s.status == stint.InProgress && s.allDone() && s.deficient(len(s.stages)-1)
}

// deficient reports whether something of the output of a stage is missing, or
// was made without something that is.
func (s *State) deficient(k int) bool {
	for ; k >= 0; k-- {
		if len(s.stages[k].failed) > 0 {
			return true
		}
	}
	return false
}

// redone reports whether a retry performs an operation that has ended.
func (s *State) redone(k int, n uint32) bool {
	st := &s.stages[k]
	if st.ops[n].state == failed {
		return true
	}
	if k == 0 || !s.deficient(k-1) {
		return false
	}
	if st.spec.Gather == nil {
		return true
	}
	return s.deficient(k-2) || len(stint.ClipRanges(s.stages[k-1].failed, stint.Range{From: st.spec.Gather[n], To: st.spec.Gather[n+1]})) > 0
}

// retryReads reports whether a retry would read output of a stage.
func (s *State) retryReads(k int) bool {
	return s.request.CompleteErrors && k+1 < len(s.stages) && s.deficient(k+1)
}

// wanted reports whether the output of an operation will be read, or would be by
// a retry.
func (s *State) wanted(k int, n uint32) bool {
	if s.needed(k, n) {
		return true
	}
	if !s.retryReads(k) || !s.keepsBlocks(k) {
		return false
	}
	next := &s.stages[k+1]
	if next.spec.Gather != nil {
		return s.redone(k+1, gatherer(next.spec.Gather, n))
	}
	return !s.redone(k, n)
}

// saveForRetry saves what a retry would need, as far as it can be had, and then
// has the output committed.
func (s *State) saveForRetry(d *Delta, now int64) {
	s.doChores(d, now)
	if s.errandAt > 0 {
		return
	}
	if e := s.errand(); e != nil && e.ID != s.recorded {
		s.recorded = e.ID
		d.Errands = append(d.Errands, Dispatch{Errand: *e})
	}
}

// savedForRetry reports whether what a retry would need is saved. What is on nodes
// that are away is not waited for: a retry can perform it again.
func (s *State) savedForRetry() bool {
	if s.chores == nil {
		s.findChores()
	}
	return s.left() == s.chores.stuck
}

// missing lists operations without which the execution completes.
func (s *State) missing() []stint.Missing {
	var out []stint.Missing
	for k := range s.stages {
		for _, r := range s.stages[k].failed {
			for n := r.From; n < r.To && len(out) < mostMissing; n++ {
				m := stint.Missing{Operation: s.operationID(opKey{k, n})}
				if e := s.exceptions[opKey{k, n}]; e != nil {
					m.Error = e.err
				}
				out = append(out, m)
			}
		}
	}
	return out
}

// applyRetry makes the operations pending that failed or did without others.
func (s *State) applyRetry() {
	var again []opKey
	for k := range s.stages {
		for n := range s.stages[k].ops {
			if s.redone(k, uint32(n)) {
				again = append(again, opKey{k, uint32(n)})
			}
		}
	}
	for _, key := range again {
		delete(s.exceptions, key)
		s.setState(key.stage, key.op, pending)
		s.stages[key.stage].ops[key.op].job = 0
	}
	s.undoGone()
	s.markReused()
	s.err, s.fatal = nil, nil
	s.retries = nil
	for k := range s.stages {
		s.await(k)
		s.stages[k].ready = s.readyOps(k)
	}
}

// await counts anew what the operations of a gathering stage wait for.
func (s *State) await(k int) {
	st := &s.stages[k]
	for g := range st.waitingFor {
		st.waitingFor[g] = 0
		for n := st.spec.Gather[g]; n < st.spec.Gather[g+1]; n++ {
			if state := s.stages[k-1].ops[n].state; state != done && state != failed {
				st.waitingFor[g]++
			}
		}
	}
}
