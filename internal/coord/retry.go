package coord

import (
	"slices"

	"stint"
	"stint/internal/plan"
)

// mostMissing bounds the list of operations without which an execution completes.
const mostMissing = 1000

// An execution that is to complete as much as possible does without operations
// that fail for good. What a retry would need is saved before its output is
// committed: a retry performs the operations that failed, and those that did
// without what they should have read.

// completesErrors reports whether an operation that fails for good does not end the
// execution.
func (s *State) completesErrors() bool {
	return s.request.CompleteErrors != nil && *s.request.CompleteErrors
}

// endsWithErrors reports whether all operations of an execution have ended, some
// of them failed, or too many records were left out.
func (s *State) endsWithErrors() bool {
	return s.completesErrors() && s.status == stint.InProgress && s.allDone() && (s.deficient(len(s.stages)-1) || s.tooBad() != nil)
}

// deficient reports whether something of the output of a stage is missing, or
// was made without something that is.
func (s *State) deficient(k int) bool {
	return len(s.stages[k].failed) > 0 || slices.ContainsFunc(s.plan.Ancestors(k), func(a int) bool { return len(s.stages[a].failed) > 0 })
}

// redone reports whether a retry performs an operation that has ended.
func (s *State) redone(k int, n uint32) bool {
	return s.someRedone(k, stint.Range{From: n, To: n + 1})
}

// someRedone reports whether a retry performs some of a run of operations: they
// failed, or did without others.
func (s *State) someRedone(k int, ops stint.Range) bool {
	if ops.From >= ops.To {
		return false // nothing is made of nothing
	}
	if len(stint.ClipRanges(s.stages[k].failed, ops)) > 0 {
		return true
	}
	for e := range s.plan.Edges(k) {
		switch from := s.plan.Upstream(k, e); {
		case from == plan.Input || !s.deficient(from):
		case s.plan.Whole(k, e), s.someRedone(from, s.span(k, e, ops)):
			return true
		}
	}
	return false
}

// retryReads reports whether a retry would read output of a stage.
func (s *State) retryReads(k int) bool {
	return s.completesErrors() && slices.ContainsFunc(s.plan.Readers(k), func(r plan.Reader) bool { return s.deficient(r.Stage) })
}

// wanted reports whether the output of an operation will be read, or would be by
// a retry.
func (s *State) wanted(k int, n uint32) bool {
	if s.needed(k, n) {
		return true
	}
	if !s.retryReads(k) || !s.keepsBlocks(k) || s.redone(k, n) {
		return false
	}
	return slices.ContainsFunc(s.plan.Readers(k), func(r plan.Reader) bool {
		if s.plan.Whole(r.Stage, r.Edge) {
			return s.deficient(r.Stage)
		}
		return s.redone(r.Stage, s.plan.ReadBy(r, n))
	})
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
// that are away is not waited for: a retry can perform it again. One that has not
// attached since this state was loaded is no such node yet.
func (s *State) savedForRetry() bool {
	if s.chores == nil {
		s.findChores()
	}
	return s.left() == s.chores.stuck && s.chores.unseen == 0
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

// lacking lists what the output is without: operations, and records if more were
// left out than may be.
func (s *State) lacking() []stint.Missing {
	out := s.missing()
	if err := s.tooBad(); err != nil {
		out = append(out, stint.Missing{Error: err})
	}
	return out
}

// applyRetry makes the operations pending that failed or did without others. What a
// node has left of these did without, too: it is to forget that before it counts.
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
		s.stages[key.stage].uncountRecords(key.op)
	}
	for i := range s.nodes {
		s.nodes[i].outdated = true
	}
	s.undoGone()
	s.markReused()
	s.err, s.fatal = nil, nil
	for k := range s.stages {
		s.await(k)
		s.stages[k].ready = s.readyOps(k)
	}
	s.findRetries() // what failed while the output was committed was lost before, and is to be had again
}
