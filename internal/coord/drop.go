package coord

import "stint"

// dropGathered tells nodes of output that no operation will read any more,
// because parts were made of it that a report tells of.
func (s *State) dropGathered(d *Delta, r *stint.Report) {
	if s.over() {
		return
	}
	for _, list := range r.Done {
		k := list.Stage
		if k < 0 || k >= len(s.stages) || !s.stages[k].spec.Part {
			continue
		}
		var ops []stint.Range
		for _, u := range list.Ops {
			if int(u.Op) < len(s.stages[k].ops) && s.stages[k].ops[u.Op].state == done && !s.redone(k, u.Op) {
				ops = stint.UnionRange(ops, stint.Range{From: u.Op, To: u.Op + 1})
			}
		}
		s.dropBehind(k, ops, func(from int, read []stint.Range) { s.tellDrop(d, from, read) })
	}
}

// dropBehind tells of what only operations have read whose output is a part or is
// dropped itself, and what only that was made of.
func (s *State) dropBehind(k int, ops []stint.Range, tell func(stage int, ops []stint.Range)) {
	for len(ops) > 0 && s.counting(k) {
		from := s.plan.Upstream(k, 0)
		if !s.keepsBlocks(from) || len(s.plan.Readers(from)) > 1 {
			return // when all have read it, dropRead tells of it
		}
		var read []stint.Range
		for _, r := range ops {
			read = stint.UnionRange(read, s.span(k, 0, r))
		}
		tell(from, read)
		k, ops = from, s.doneAmong(from, read)
	}
}

// doneAmong returns those operations that are done. One that is being performed again,
// for a copy that could not be read the first time, has still to read what it is made of.
func (s *State) doneAmong(k int, ops []stint.Range) (out []stint.Range) {
	for _, r := range ops {
		for n := r.From; n < r.To; n++ {
			if s.stages[k].ops[n].state == done {
				out = stint.AddToRanges(out, n)
			}
		}
	}
	return out
}

// dropRead tells nodes of the output of stages that all their readers have read to
// the end, once what was made of it is safe.
func (s *State) dropRead(d *Delta) {
	known := make(map[int]bool)
	for k := range s.stages {
		st := &s.stages[k]
		if st.dropped || !s.readToTheEnd(k, known) {
			continue
		}
		st.dropped = true
		s.tellDrop(d, k, []stint.Range{{To: uint32(len(st.ops))}})
	}
}

// readToTheEnd reports whether no operation will read the output of a stage any
// more, not even in a retry.
func (s *State) readToTheEnd(k int, known map[int]bool) bool {
	return s.keepsBlocks(k) && len(s.stages[k].ops) > 0 && !s.retryReads(k) && s.readSafely(k, known)
}

// tellDropped tells a node that attached which of the output that it announces is
// not needed any more: an agent keeps in memory alone what it was told, and one that
// was away was not told. What cannot be dropped any more, since what was made of it
// is not safe now, all are told of when it can be.
func (s *State) tellDropped(d *Delta, i uint16, h *stint.Holding) {
	unneeded := make([][]stint.Range, len(s.stages))
	add := func(k int, ops []stint.Range) {
		for _, r := range ops {
			unneeded[k] = stint.UnionRange(unneeded[k], r)
		}
	}
	known := make(map[int]bool)
	for k := range s.stages {
		st := &s.stages[k]
		if st.dropped = st.dropped && s.readToTheEnd(k, known); st.dropped {
			add(k, []stint.Range{{To: uint32(len(st.ops))}})
		}
		if st.spec.Part {
			s.dropBehind(k, s.gathered(k), add)
		}
	}
	var drop []stint.StageOps
	for k, has := range s.announced(h) {
		if ops := s.doneAmong(k, common(has, unneeded[k])); ops != nil {
			drop = append(drop, stint.StageOps{Stage: k, Ops: ops})
		}
	}
	if drop != nil {
		d.Messages = append(d.Messages, Message{Node: s.nodes[i].id, Drop: drop})
	}
}

// gathered returns the operations of a stage that have made parts which stay.
func (s *State) gathered(k int) (ops []stint.Range) {
	for n := range uint32(len(s.stages[k].ops)) {
		if s.stages[k].ops[n].state == done && !s.redone(k, n) {
			ops = stint.AddToRanges(ops, n)
		}
	}
	return ops
}

// readSafely reports whether all readers of a stage are complete, and what they
// made of it is safe: it outlives the loss of a node, or what was made of it does.
// known is what was found out of other stages.
func (s *State) readSafely(k int, known map[int]bool) bool {
	readers := s.plan.Readers(k)
	for _, r := range readers {
		safe, found := known[r.Stage]
		if !found {
			safe = s.complete(r.Stage) && (s.outlives(r.Stage) || !s.retryReads(r.Stage) && s.readSafely(r.Stage, known))
			known[r.Stage] = safe
		}
		if !safe {
			return false
		}
	}
	return len(readers) > 0
}

// outlives reports whether the output of a completed stage outlives the loss of a
// node.
func (s *State) outlives(k int) bool {
	st := &s.stages[k]
	if !s.keepsBlocks(k) || st.saved == st.counts[done] {
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
