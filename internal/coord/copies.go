package coord

import (
	"slices"

	"stint"
	"stint/internal/plan"
)

// Output of a completed operation lies on the operation's node, unless it is
// gone from there, on further nodes, and in packs of long-term storage. When it
// is gone there is no copy on a node at all: the first of the others takes the
// place of one that is lost.

// nowhere reports whether the output of a completed operation is lost.
func (o *op) nowhere() bool { return o.gone && !o.saved }

// countHold counts an operation for the node that holds its output first of all.
func (s *State) countHold(k int, o *op, by int) {
	st := &s.stages[k]
	if o.state != done || o.gone || !s.keepsBlocks(k) {
		return
	}
	for len(st.holds) <= int(o.node) {
		st.holds = append(st.holds, 0)
	}
	st.holds[o.node] += by
}

// held reports how many operations of a stage node i holds first of all.
func (st *stage) heldOn(i uint16) int {
	if int(i) >= len(st.holds) {
		return 0
	}
	return st.holds[i]
}

// copiesOn returns the operations whose output node i holds beside their own nodes.
func (st *stage) copiesOn(i uint16) []stint.Range {
	if int(i) >= len(st.copies) {
		return nil
	}
	return st.copies[i]
}

func (st *stage) setCopies(i uint16, ops []stint.Range) {
	for len(st.copies) <= int(i) {
		st.copies = append(st.copies, nil)
	}
	if st.copies[i] = ops; len(ops) > 0 {
		return
	}
	st.copies[i] = nil
	for last := len(st.copies) - 1; last >= 0 && st.copies[last] == nil; last-- {
		st.copies = st.copies[:last]
	}
}

// copyOn reports whether node i holds the output of operation n beside its node.
func (st *stage) copyOn(i uint16, n uint32) bool {
	return stint.RangesContain(st.copiesOn(i), n)
}

// holders returns the nodes that hold the output of a completed operation, its
// own node first.
func (s *State) holders(k int, n uint32) []uint16 {
	st := &s.stages[k]
	o := &st.ops[n]
	if o.gone {
		return nil
	}
	out := []uint16{o.node}
	for i, list := range st.copies {
		if stint.RangesContain(list, n) {
			out = append(out, uint16(i))
		}
	}
	return out
}

// vacate notes that the output of operation n is not on its node any more: a
// copy takes its place, if there is one.
func (s *State) vacate(k int, n uint32) {
	st := &s.stages[k]
	o := &st.ops[n]
	s.countHold(k, o, -1)
	o.gone, o.renamed = true, false
	for i, list := range st.copies {
		if stint.RangesContain(list, n) {
			st.removeCopies(uint16(i), stint.Range{From: n, To: n + 1})
			o.gone, o.node = false, uint16(i)
			break
		}
	}
	s.countHold(k, o, 1)
	st.sources = nil
	st.touch(n)
}

// occupy notes that node i holds the output of operation n under its own name.
func (s *State) occupy(i uint16, k int, n uint32) {
	st := &s.stages[k]
	o := &st.ops[n]
	switch {
	case o.gone:
		o.gone, o.node = false, i
		s.countHold(k, o, 1)
		st.sources = nil
	case o.node == i:
		o.renamed = false
		st.sources = nil
	default:
		st.setCopies(i, stint.AddToRanges(st.copiesOn(i), n))
		if st.sources != nil && len(st.sources.unreachable) > 0 {
			st.sources = nil
		}
	}
	st.touch(n)
}

func (st *stage) removeCopies(i uint16, r stint.Range) {
	if list := st.copiesOn(i); list != nil {
		st.setCopies(i, stint.SubtractRange(list, r))
	}
}

// loseCopies forgets of the copies on node i those that are gone.
func (st *stage) loseCopies(i uint16, gone func(n uint32) bool) {
	var kept []stint.Range
	for _, r := range st.copiesOn(i) {
		for n := r.From; n < r.To; n++ {
			if !gone(n) {
				kept = stint.AddToRanges(kept, n)
			}
		}
	}
	st.setCopies(i, kept)
	st.sources = nil
}

// withdraw forgets where the output of an operation lies that is not done any more.
func (s *State) withdraw(k int, n uint32) {
	st := &s.stages[k]
	o := &st.ops[n]
	one := stint.Range{From: n, To: n + 1}
	if !o.gone {
		for i := range len(st.copies) { // which gets shorter
			st.removeCopies(uint16(i), one)
		}
	}
	if o.saved {
		st.saved--
		for p := range st.packs {
			st.packs[p].ops = stint.SubtractRange(st.packs[p].ops, one)
		}
		st.dropPacks()
	}
	if o.reused {
		st.reused--
	}
	for f := range s.flights {
		if s.flights[f].stage == k {
			s.flights[f].ops = stint.SubtractRange(s.flights[f].ops, one)
		}
	}
	if st.spec.Part {
		s.parts[n] = stint.Part{}
	}
	for e := range s.plan.Edges(k) {
		if from := s.plan.Upstream(k, e); from != plan.Input {
			s.stages[from].dropped = false
		}
	}
	o.saved, o.reused, o.renamed = false, false, false
}

func anyNode(uint16) bool { return true }

func (s *State) applyCopied(r *CopiedRecord) {
	i, known := s.nodeIndex(r.Node)
	if !known {
		return
	}
	s.eachOp(stint.StageOps{Stage: r.Stage, Ops: r.Ops}, func(_ *stage, n uint32, o *op) {
		if o.state != done || !s.keepsBlocks(r.Stage) {
			return
		}
		s.occupy(i, r.Stage, n)
		s.addChore(r.Stage, n)
	})
}

// applyBad takes in that copies, checkpoints or staged parts are not what they
// should be. Operations whose last copy that was are to be performed again.
func (s *State) applyBad(r *BadRecord) {
	for _, b := range r.Copies {
		s.loseCopy(b)
	}
	for key, c := range s.checkpoints {
		if slices.Contains(r.Checkpoints, c.Key) {
			delete(s.checkpoints, key)
		}
	}
	last := len(s.stages) - 1
	for _, n := range r.Parts {
		if st := &s.stages[last]; st.spec.Part && int(n) < len(st.ops) && st.ops[n].state == done {
			s.undo(last, n)
		}
	}
	s.undoGone()
	s.chores = nil
}

func (s *State) loseCopy(b stint.BadCopy) {
	i, known := s.nodeIndex(b.Node)
	if b.Pack != "" && len(b.Ops) == 0 {
		b.Ops = s.usedOf(b)
	}
	s.eachOp(stint.StageOps{Stage: b.Stage, Ops: b.Ops}, func(st *stage, n uint32, o *op) {
		if o.state != done || !s.keepsBlocks(b.Stage) {
			return
		}
		one := stint.Range{From: n, To: n + 1}
		if known && st.copyOn(i, n) {
			st.removeCopies(i, one)
			st.sources = nil
			st.touch(n)
		} else if known && !o.gone && o.node == i {
			s.vacate(b.Stage, n)
		}
	})
	if b.Pack != "" && b.Stage >= 0 && b.Stage < len(s.stages) {
		s.stages[b.Stage].unpackFrom(b.Pack, b.Ops)
		s.stages[b.Stage].dropPacks()
	}
}

// usedOf returns the operations whose output can be had from a pack, whatever
// they are called in it.
func (s *State) usedOf(b stint.BadCopy) []stint.Range {
	if b.Stage < 0 || b.Stage >= len(s.stages) {
		return nil
	}
	for _, p := range s.stages[b.Stage].packs {
		if p.Key == b.Pack {
			return slices.Clone(p.ops)
		}
	}
	return nil
}

// good reports whether a node counts as one that keeps output: it is ready and
// stays, or was not heard of yet by this owner and is expected back. While a node
// is drained, nobody is expected: it may be gone before they are back.
func (s *State) good(i uint16) bool {
	n := &s.nodes[i]
	return s.target(i) || n.status == nodeUnseen && len(s.draining) == 0
}

// target reports whether a node may be given output to keep.
func (s *State) target(i uint16) bool {
	return s.nodes[i].status == nodeReady && !s.isDraining(i)
}

// replication returns how many nodes are to keep each output that is needed.
func (s *State) replication() int {
	good := 0
	for i := range s.nodes {
		if s.good(uint16(i)) {
			good++
		}
	}
	return min(max(s.request.Replication, 1), good)
}
