package sim

import (
	"fmt"
	"slices"
	"strings"

	"stint"
	"stint/internal/coord"
)

// noMatch says that no operation before is the same.
const noMatch = -1

// sameAs says of each operation which operation of an earlier plan is the same, as
// far as can be seen: it does the same with the same. name says what distinguishes
// an object.
func (p *planned) sameAs(was *planned, name func(stint.Object) string) [][]int {
	out := make([][]int, len(p.Spec.Stages))
	same := make([]bool, len(p.Spec.Stages))
	for k := range p.Spec.Stages {
		out[k] = slices.Repeat([]int{noMatch}, int(p.Spec.Stages[k].Operations))
		if same[k] = k < len(was.Spec.Stages) && p.sameStage(was, k, same); same[k] && p.sameWhole(was, k, out) {
			p.match(was, k, out, name)
		}
	}
	return out
}

// sameStage reports whether a stage does what it did, on the output of such.
func (p *planned) sameStage(was *planned, k int, same []bool) bool {
	a, b := &p.Spec.Stages[k], &was.Spec.Stages[k]
	for _, e := range p.into[k] {
		if e.from >= 0 && !same[e.from] {
			return false
		}
	}
	return a.Name == b.Name && slices.Equal(p.into[k], was.into[k]) && a.Partitions == b.Partitions && a.Part == b.Part &&
		a.Environment[programVersion] == b.Environment[programVersion] && (p.Spec.SkipBadRecords > 0) == (was.Spec.SkipBadRecords > 0)
}

// sameWhole reports whether all stages that a stage reads as a whole are the same.
func (p *planned) sameWhole(was *planned, k int, out [][]int) bool {
	for _, e := range p.into[k] {
		if e.from < 0 || e.kind == stint.OneToOne || e.kind == stint.Gather {
			continue
		}
		if len(out[e.from]) != int(was.Spec.Stages[e.from].Operations) {
			return false
		}
		for n, m := range out[e.from] {
			if n != m {
				return false
			}
		}
	}
	return true
}

// match finds the operations of a stage that are the same, whose stage is.
func (p *planned) match(was *planned, k int, out [][]int, name func(stint.Object) string) {
	first := &p.into[k][0]
	ops := was.Spec.Stages[k].Operations
	switch first.kind {
	case stint.FromInput:
		before := make(map[string]int, ops)
		for m := range ops {
			before[subsetText(was.Subset(k, m), name)] = int(m)
		}
		for n := range out[k] {
			if m, there := before[subsetText(p.Subset(k, uint32(n)), name)]; there {
				out[k][n] = m
			}
		}
	case stint.OneToOne:
		copy(out[k], out[first.from])
	case stint.Shuffle, stint.Broadcast:
		for n := range out[k] {
			out[k][n] = n
		}
	case stint.Gather:
		before := make(map[stint.Range]int, ops)
		for m := range ops {
			before[was.read(first, m)] = int(m)
		}
		for n := range out[k] {
			reads := p.read(first, uint32(n))
			if m, there := before[matchedRun(out[first.from][reads.From:reads.To])]; there {
				out[k][n] = m
			}
		}
	}
}

// matchedRun is the run of operations that the operations of a run are the same as;
// an empty one far away if it is none.
func matchedRun(matched []int) stint.Range {
	for i, m := range matched {
		if m == noMatch || i > 0 && m != matched[i-1]+1 {
			return stint.Range{From: 1 << 30, To: 1 << 30}
		}
	}
	if len(matched) == 0 {
		return stint.Range{}
	}
	return stint.Range{From: uint32(matched[0]), To: uint32(matched[len(matched)-1] + 1)}
}

// subsetText says what a subset is.
func subsetText(s stint.Subset, name func(stint.Object) string) string {
	if s.Values != nil {
		return fmt.Sprint(*s.Values)
	}
	var b strings.Builder
	for _, p := range s.Pieces {
		fmt.Fprintf(&b, "%s %d %d;", name(p.Object), p.Offset, p.Length)
	}
	return b.String()
}

// nameIn is what an operation's output is called in a pack.
func (o *opEntry) nameIn(key string, op uint32) uint32 {
	if name, other := o.names[key]; other {
		return name
	}
	return op
}

// versioned tells objects apart by their versions, even if their content is the same.
func versioned(o stint.Object) string { return o.Input + o.URL + "@" + o.Version }

// takeOver enters what a new execution begins with, and checks that it is what it
// should be: nothing else, and no less.
func (b *books) takeOver(e *book, t *submission, state *coord.State) {
	b.inherit(e, t.book, state, func(key string) string { return t.packs[key] })
	strict := e.plan.sameAs(t.book.plan, versioned)
	for k := range e.ops {
		for n := range e.ops[k] {
			m := strict[k][n]
			if m == noMatch || e.ops[k][n].done {
				continue
			}
			o := &t.book.ops[k][m]
			if o.done && !t.book.isRedone(k, uint32(m)) && t.has(k, uint32(m), o) {
				b.world.breaks("reuse", "%s performs operation %d of stage %d again; what %s has of it is there", e.run.id, n, k, t.run.reuses.id)
			}
		}
	}
}

// has reports whether output of an earlier operation can be had.
func (t *submission) has(k int, m uint32, o *opEntry) bool {
	if o.part != "" {
		return slices.ContainsFunc(t.parts, func(p stint.Part) bool { return p.Op == m })
	}
	if slices.ContainsFunc(o.packs, func(key string) bool { return t.packs[key] != "" }) {
		return true
	}
	return !o.lost && !o.renamed && slices.ContainsFunc(append([]stint.NodeID{o.node}, o.copies...), func(id stint.NodeID) bool {
		return hasOp(t.held[id], k, m)
	})
}

// inherit enters what a state has taken over from an earlier one. own says what a
// pack of that is called here.
func (b *books) inherit(e, was *book, state *coord.State, own func(string) string) {
	same, strict := e.plan.sameAs(was.plan, contentOf), e.plan.sameAs(was.plan, versioned)
	rebase := e.run == was.run
	parts := make(map[uint32]string)
	for _, p := range state.StagedParts() {
		parts[p.Op] = p.Name
	}
	for k := range e.ops {
		for n := range e.ops[k] {
			op := uint32(n)
			m := same[k][n]
			doc := state.Operation(k, op)
			if rebase && m != noMatch && !was.ops[k][m].done { // of what was only touched, and not read yet, nobody knows that it is the same
				e.ops[k][n].checkpoint, e.ops[k][n].doubted = was.ops[k][m].checkpoint, was.ops[k][m].doubted || strict[k][n] == noMatch
			}
			if doc.Status != stint.OpCompleted {
				continue
			}
			if m == noMatch || !was.ops[k][m].done || was.isRedone(k, uint32(m)) {
				b.world.breaks("reuse", "%s takes over operation %d of stage %d; none before is the same and whole: %d", e.run.id, n, k, m)
				return
			}
			o := &was.ops[k][m]
			now := opEntry{done: true, everDone: true, lost: true, read: o.read}
			if e.plan.Spec.Stages[k].Part {
				now.part = parts[op]
			}
			if rebase {
				now.counted, now.made = o.counted, o.made
			} else {
				b.world.count(reusedOperations)
			}
			b.place(&now, o, &doc, uint32(m), own)
			if now.part != "" {
				now.lost = false
			}
			e.ops[k][n] = now
		}
	}
}

// place enters where the output of an operation lies that was taken over.
func (b *books) place(now, was *opEntry, doc *stint.Operation, m uint32, own func(string) string) {
	for _, c := range doc.Copies {
		if c != "saved" {
			now.node, now.lost, now.renamed = stint.NodeID(c), false, true
			continue
		}
		for _, key := range was.packs {
			if mine := own(key); mine != "" && now.packs == nil {
				now.packs, now.names = []string{mine}, map[string]uint32{mine: was.nameIn(key, m)}
			}
		}
		if now.packs == nil && now.part == "" {
			b.world.breaks("reuse", "%s is said to be saved; it is in no pack", doc.ID)
		}
	}
}

// startOver notes that a node is to forget the execution, and begins with nothing.
func (b *books) startOver(e *book, n *nodeEntry, a *coord.AttachRecord) {
	id := a.Node.ID
	if n.incarnation != a.Node.Incarnation {
		n.incarnation, n.seq = a.Node.Incarnation, 0
	}
	n.lost, n.gap = false, true
	b.void(e, id)
	n.settleAttempts(e, nil)
	b.lose(e, id, func(int, uint32) bool { return true })
}

// speaksOfJobs reports whether a report is about a job that its node has.
func (e *book) speaksOfJobs(r *stint.Report) bool {
	one := func(id stint.JobID) bool {
		g, known := e.jobs[id]
		return known && id > e.closed && g.Node == r.Node && slices.ContainsFunc(e.ops[g.Stage][g.Ops.From:g.Ops.To], func(o opEntry) bool { return o.job == id })
	}
	return slices.ContainsFunc(r.Begun, func(b stint.Begun) bool { return one(b.Job) }) ||
		slices.ContainsFunc(r.Done, func(d stint.Done) bool { return one(d.Job) }) ||
		slices.ContainsFunc(r.Failures, func(f stint.Failure) bool { return one(f.Job) }) ||
		slices.ContainsFunc(r.Interrupted, func(in stint.Interrupted) bool { return one(in.Job) }) ||
		slices.ContainsFunc(r.Returned, func(back stint.Returned) bool { return one(back.Job) })
}

// checkNames checks that a grant says under which names output is kept that was taken
// over.
func (b *books) checkNames(e *book, g *stint.Grant) {
	for _, in := range e.plan.into[g.Stage] {
		if in.from < 0 {
			continue
		}
		sources := g.Sources
		if in.place > 0 {
			sources = g.Beside[in.place-1].Sources
		}
		for _, src := range sources {
			for _, r := range src.Ops {
				for n := r.From; n < r.To; n++ {
					if o := &e.ops[in.from][n]; src.Origin == nil && o.renamed && o.node == src.Node {
						b.world.breaks("reuse", "%s has operation %d of stage %d read on %s, which keeps it under another name", g.Job, n, in.from, src.Node)
					}
				}
			}
		}
	}
}
