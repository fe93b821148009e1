package coord

import (
	"stint"
)

// dropGathered tells nodes of output that no operation will read any more,
// because parts were made of it that a report tells of.
func (s *State) dropGathered(d *Delta, r *stint.Report) {
	if s.over() {
		return
	}
	var ops []stint.Range
	k := len(s.stages) - 2
	if k < 0 || s.stages[k+1].spec.Gather == nil || !s.stages[k+1].spec.Part || !s.keepsBlocks(k) {
		return
	}
	next := &s.stages[k+1]
	for _, done := range r.Done {
		if done.Stage != k+1 {
			continue
		}
		for _, u := range done.Ops {
			if int(u.Op) < len(next.ops) && s.completed(k+1, u.Op) && !s.redone(k+1, u.Op) {
				ops = stint.UnionRange(ops, stint.Range{From: next.spec.Gather[u.Op], To: next.spec.Gather[u.Op+1]})
			}
		}
	}
	if ops != nil {
		s.tellDrop(d, k, ops)
	}
}

func (s *State) completed(k int, n uint32) bool { return s.stages[k].ops[n].state == done }

// dropRead tells nodes of the output of stages that was read to the end, once
// what was made of it is safe.
func (s *State) dropRead(d *Delta) {
	for k := 0; k+1 < len(s.stages); k++ {
		st, next := &s.stages[k], &s.stages[k+1]
		if st.dropped || next.spec.Gather != nil || !s.keepsBlocks(k) || !s.complete(k+1) || s.retryReads(k) || !s.safe(k+1) {
			continue
		}
		st.dropped = true
		s.tellDrop(d, k, []stint.Range{{To: uint32(len(st.ops))}})
	}
}

// safe reports whether the output of a completed stage outlives the loss of a
// node, or is not needed itself.
func (s *State) safe(k int) bool {
	st := &s.stages[k]
	if !s.keepsBlocks(k) || st.dropped || st.saved == st.counts[done] {
		return true
	}
	copied := 0
	for _, list := range st.copies {
		copied += stint.CountRanges(list)
	}
	if st.saved+copied < st.counts[done] {
		return false
	}
	further := st.countCopies(anyNode)
	for n := range st.ops {
		if o := &st.ops[n]; o.state == done && !o.saved && (o.gone || further[n] == 0) {
			return false
		}
	}
	return true
}

// tellDrop tells nodes that output which they hold is not needed any more.
func (s *State) tellDrop(d *Delta, k int, ops []stint.Range) {
	st := &s.stages[k]
	by := make([][]stint.Range, len(s.nodes))
	for _, r := range ops {
		for n := r.From; n < r.To; n++ {
			if o := &st.ops[n]; o.state == done && !o.gone {
				by[o.node] = stint.AddToRanges(by[o.node], n)
			}
		}
	}
	for i := range by {
		for _, r := range common(st.copiesOn(uint16(i)), ops) {
			by[i] = stint.UnionRange(by[i], r)
		}
		if by[i] != nil && s.nodes[i].status == nodeReady {
			d.Messages = append(d.Messages, Message{Node: s.nodes[i].id, Drop: []stint.StageOps{{Stage: k, Ops: by[i]}}})
		}
	}
}
