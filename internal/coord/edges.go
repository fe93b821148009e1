package coord

import (
	"slices"

	"stint"
	"stint/internal/plan"
)

// What a stage reads and who reads it, the plan says: see [plan.Plan.Whole]. A
// stage that reads whole stages begins when those have ended; where operation
// reads operation, as with gathers and one-to-one, each begins when its own have.

// counting reports whether each operation of a stage waits for operations of its own.
func (s *State) counting(k int) bool { return !s.plan.ReadsInput(k) && !s.plan.Whole(k, 0) }

// gatesOpen reports whether all stages have ended that a stage reads as a whole.
func (s *State) gatesOpen(k int) bool {
	for e := range s.plan.Edges(k) {
		if s.plan.Whole(k, e) && !s.complete(s.plan.Upstream(k, e)) {
			return false
		}
	}
	return true
}

// unblock counts an operation that ended for those that wait for it.
func (s *State) unblock(k int, n uint32) {
	for _, r := range s.plan.Readers(k) {
		next := &s.stages[r.Stage]
		if s.plan.Whole(r.Stage, r.Edge) {
			if s.complete(k) && s.gatesOpen(r.Stage) {
				next.ready = s.readyOps(r.Stage)
			}
			continue
		}
		by := s.plan.ReadBy(r, n)
		if next.waitingFor[by]--; next.waitingFor[by] == 0 && next.ops[by].state == pending {
			s.release(r.Stage, by)
		}
	}
}

// block withdraws what waited for an operation that is not done any more.
func (s *State) block(k int, n uint32) {
	for _, r := range s.plan.Readers(k) {
		next := &s.stages[r.Stage]
		if s.plan.Whole(r.Stage, r.Edge) {
			next.ready = nil
			continue
		}
		by := s.plan.ReadBy(r, n)
		next.waitingFor[by]++
		next.ready = stint.SubtractRange(next.ready, stint.Range{From: by, To: by + 1})
	}
}

// await counts anew what each operation of a stage waits for.
func (s *State) await(k int) {
	st := &s.stages[k]
	for by := range st.waitingFor {
		st.waitingFor[by] = 0
		reads := s.plan.Reads(k, 0, uint32(by))
		for n := reads.From; n < reads.To; n++ {
			if state := s.stages[s.plan.Upstream(k, 0)].ops[n].state; state != done && state != failed {
				st.waitingFor[by]++
			}
		}
	}
}

// needed reports whether the output of an operation will still be read, by any of
// the stages that read it.
func (s *State) needed(k int, n uint32) bool {
	if !s.keepsBlocks(k) {
		return false // parts lie in the output location, not on the node
	}
	return slices.ContainsFunc(s.plan.Readers(k), func(r plan.Reader) bool {
		if s.plan.Whole(r.Stage, r.Edge) {
			return !s.complete(r.Stage)
		}
		by := s.stages[r.Stage].ops[s.plan.ReadBy(r, n)].state
		return by != done && by != failed
	})
}

// span returns the operations upstream that a run of operations reads by an edge.
func (s *State) span(k, e int, ops stint.Range) stint.Range {
	if ops.From >= ops.To {
		return stint.Range{}
	}
	return stint.Range{From: s.plan.Reads(k, e, ops.From).From, To: s.plan.Reads(k, e, ops.To-1).To}
}

// reachable reports whether all stages that a stage reads as a whole can be had
// now, from nodes that can be asked or from long-term storage.
func (s *State) reachable(k int) bool {
	for e := range s.plan.Edges(k) {
		if !s.plan.Whole(k, e) {
			continue
		}
		if from := s.plan.Upstream(k, e); !s.allReady(from) && len(s.sourcesOf(from).unreachable) > 0 {
			return false
		}
	}
	return true
}

// stranded returns the operations of a stage whose own input cannot be had now,
// though that of others can.
func (s *State) stranded(k int) []stint.Range {
	if !s.counting(k) {
		return nil
	}
	from := s.plan.Upstream(k, 0)
	if s.allReady(from) {
		return nil
	}
	unreachable := s.sourcesOf(from).unreachable
	if s.stages[k].spec.Gather == nil {
		return unreachable
	}
	reader := plan.Reader{Stage: k}
	var out []stint.Range
	for _, r := range unreachable { // in their order
		by := stint.Range{From: s.plan.ReadBy(reader, r.From), To: s.plan.ReadBy(reader, r.To-1) + 1}
		if last := len(out) - 1; last >= 0 && by.From <= out[last].To {
			out[last].To = by.To
			continue
		}
		out = append(out, by)
	}
	return out
}

// strands reports whether an operation of a stage cannot be had its own input now.
func (s *State) strands(k int, n uint32) bool { return stint.RangesContain(s.stranded(k), n) }

// reading says where the output upstream lies that a run of operations reads by an edge.
func (s *State) reading(k, e int, ops stint.Range) stint.Reading {
	from := s.plan.Upstream(k, e)
	if s.plan.Whole(k, e) {
		return stint.Reading{Sources: s.sourcesOf(from).list, Missing: slices.Clone(s.stages[from].failed)}
	}
	read := s.span(k, e, ops)
	return stint.Reading{Sources: s.findSources(from, []stint.Range{read}).list, Missing: stint.ClipRanges(s.stages[from].failed, read)}
}
