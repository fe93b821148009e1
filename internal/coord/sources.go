package coord

import (
	"slices"

	"stint"
)

// mostAlternates bounds the runs of operations in a list of sources that name
// further copies of what has a source already.
const mostAlternates = 1000

// originRun says under which name the output of operations is kept that was
// taken over: on nodes for operations marked as renamed, and in packs so marked.
type originRun struct {
	ops  stint.Range
	from stint.Origin // of the first of them
}

// sourceList says where the output of operations can be had.
type sourceList struct {
	list        []stint.Source
	unreachable []stint.Range // operations whose output cannot be had now
	away        []uint16      // nodes that hold it
}

// sourcesOf says where the output of all completed operations of a stage can be had.
func (s *State) sourcesOf(k int) *sourceList {
	st := &s.stages[k]
	if st.sources == nil {
		st.sources = s.findSources(k, []stint.Range{{To: uint32(len(st.ops))}})
	}
	return st.sources
}

// place is where an operation's output can best be had.
type place uint8

const (
	onNode place = iota
	inPack
	away   // on a node that cannot be asked now
	absent // or not completed
)

// bestPlace finds the best copy of the output of operation n, and its node.
func (s *State) bestPlace(k int, n uint32) (place, uint16) {
	st := &s.stages[k]
	o := &st.ops[n]
	switch {
	case o.state != done:
		return absent, 0
	case o.gone && o.saved:
		return inPack, 0
	case o.gone:
		return absent, 0
	case s.nodes[o.node].status == nodeReady:
		return onNode, o.node
	}
	for i, list := range st.copies {
		if s.nodes[i].status == nodeReady && stint.RangesContain(list, n) {
			return onNode, uint16(i)
		}
	}
	if o.saved {
		return inPack, 0
	}
	return away, o.node
}

// findSources lists sources: nodes that are ready, in the order in which they
// first hold something; packs; further copies on ready nodes; nodes that are away.
func (s *State) findSources(k int, within []stint.Range) *sourceList {
	st := &s.stages[k]
	var ready, gone sourcesByNode
	out := &sourceList{}
	for _, r := range within {
		for n := r.From; n < min(r.To, uint32(len(st.ops))); n++ {
			switch where, i := s.bestPlace(k, n); where {
			case onNode:
				ready.add(i, n, s.originOf(st, i, n))
			case away:
				gone.add(i, n, s.originOf(st, i, n))
				out.unreachable = stint.AddToRanges(out.unreachable, n)
			case inPack, absent:
			}
		}
	}
	out.list = s.appendNodes(nil, &ready)
	out.list = s.appendPacks(out.list, st, within)
	out.list = s.appendCopies(out.list, st, &ready, within)
	out.list = s.appendNodes(out.list, &gone)
	out.away = gone.nodes
	return out
}

// sourcesByNode gathers operations by the node they can be had from.
type sourcesByNode struct {
	nodes   []uint16 // as first seen
	ops     map[uint16][]stint.Range
	renamed map[uint16][]originRun
}

func (b *sourcesByNode) add(i uint16, n uint32, origin *stint.Origin) {
	if b.ops == nil {
		b.ops, b.renamed = make(map[uint16][]stint.Range), make(map[uint16][]originRun)
	}
	if len(b.nodes) == 0 || b.nodes[len(b.nodes)-1] != i && !slices.Contains(b.nodes, i) {
		b.nodes = append(b.nodes, i)
	}
	if origin == nil {
		b.ops[i] = stint.AddToRanges(b.ops[i], n)
		return
	}
	b.renamed[i] = addOrigin(b.renamed[i], n, *origin)
}

// addOrigin adds an operation to a list of runs, to the last if it continues that.
func addOrigin(list []originRun, n uint32, from stint.Origin) []originRun {
	if at := len(list) - 1; at >= 0 && list[at].ops.To == n {
		next := list[at].from
		if next.First += uint32(list[at].ops.Len()); next == from {
			list[at].ops.To++
			return list
		}
	}
	return append(list, originRun{ops: stint.Range{From: n, To: n + 1}, from: from})
}

// originOf returns under which name node i keeps the output of operation n, nil
// if under its own.
func (*State) originOf(st *stage, i uint16, n uint32) *stint.Origin {
	if o := &st.ops[n]; !o.renamed || o.node != i {
		return nil
	}
	return st.origin(n)
}

// origin returns the name under which the output of operation n was taken over.
func (st *stage) origin(n uint32) *stint.Origin {
	at, found := slices.BinarySearchFunc(st.origins, n, func(r originRun, n uint32) int {
		switch {
		case r.ops.To <= n:
			return -1
		case r.ops.From > n:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	from := st.origins[at].from
	from.First += n - st.origins[at].ops.From
	return &from
}

func (s *State) appendNodes(list []stint.Source, b *sourcesByNode) []stint.Source {
	for _, i := range b.nodes {
		src := stint.Source{Node: s.nodes[i].id, Address: s.nodes[i].address}
		if src.Ops = b.ops[i]; src.Ops != nil {
			list = append(list, src)
		}
		list = appendRenamed(list, src, b.renamed[i])
	}
	return list
}

func appendRenamed(list []stint.Source, src stint.Source, runs []originRun) []stint.Source {
	for _, r := range runs {
		from := r.from
		src.Ops, src.Origin = []stint.Range{r.ops}, &from
		list = append(list, src)
	}
	return list
}

func (s *State) appendPacks(list []stint.Source, st *stage, within []stint.Range) []stint.Source {
	for p := range st.packs {
		ops := common(st.packs[p].ops, within)
		if len(ops) == 0 {
			continue
		}
		pack := st.packs[p].Pack
		src := stint.Source{Pack: &pack, Storage: s.home, Ops: ops}
		if !st.packs[p].renamed {
			list = append(list, src)
			continue
		}
		var runs []originRun
		for _, r := range ops {
			for n := r.From; n < r.To; n++ {
				if from := st.origin(n); from != nil {
					runs = addOrigin(runs, n, *from)
				}
			}
		}
		list = appendRenamed(list, src, runs)
	}
	return list
}

// appendCopies lists further copies of what is in no pack.
func (s *State) appendCopies(list []stint.Source, st *stage, best *sourcesByNode, within []stint.Range) []stint.Source {
	runs := 0
	for i := range s.nodes {
		if s.nodes[i].status != nodeReady || len(st.copiesOn(uint16(i))) == 0 {
			continue
		}
		ops := common(st.copiesOn(uint16(i)), within)
		for _, r := range best.ops[uint16(i)] {
			ops = stint.SubtractRange(ops, r)
		}
		for p := range st.packs {
			ops = without(ops, st.packs[p].ops)
		}
		if runs += len(ops); runs > mostAlternates {
			break
		}
		if len(ops) > 0 {
			list = append(list, stint.Source{Node: s.nodes[i].id, Address: s.nodes[i].address, Ops: ops})
		}
	}
	return list
}
