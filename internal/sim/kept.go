package sim

import (
	"maps"
	"slices"

	"stint"
	"stint/internal/coord"
)

// takeKept takes in records about where output lies, and about jobs that stop.
func (b *books) takeKept(e *book, rec *coord.Record) {
	switch {
	case rec.Saved != nil:
		for _, p := range rec.Saved.Packs {
			b.takePack(e, &p, rec.Saved.Ops)
		}
	case rec.Copied != nil:
		b.takeCopied(e, rec.Copied)
	case rec.Bad != nil:
		b.takeBad(e, rec.Bad.Copies)
		e.takeMissing(rec.Bad)
	case rec.Hold != nil:
		for _, id := range rec.Hold.Jobs {
			switch {
			case rec.Hold.Release:
				e.letGo(id)
			case !rec.Hold.Move:
				e.held[id] = true
			}
		}
	case rec.Void != nil:
		b.takeVoid(e, rec.Void)
	}
}

func (b *books) takeVoid(e *book, v *coord.VoidRecord) {
	if len(v.Jobs) == 0 {
		b.void(e, v.Node)
		return
	}
	for _, id := range v.Jobs {
		g := e.jobs[id]
		for op := g.Ops.From; op < g.Ops.To; op++ {
			if o := &e.ops[g.Stage][op]; o.job == id {
				e.leave(o)
			}
		}
		if n := e.node(v.Node); n.voided[id] == nil {
			n.voided[id] = []stint.Range{g.Ops}
		}
	}
}

// letGo ends that a job is held back, which it may be once more: what it has left then
// is no longer its.
func (e *book) letGo(id stint.JobID) {
	delete(e.held, id)
	g := e.jobs[id]
	for op := g.Ops.From; op < g.Ops.To; op++ {
		if o := &e.ops[g.Stage][op]; o.heldBy == id {
			o.heldBy = 0
		}
	}
}

// leave takes an operation from the job that it was of.
func (e *book) leave(o *opEntry) {
	if e.held[o.job] {
		o.heldBy = o.job
	}
	o.job, o.begun = 0, false
}

func (b *books) enterInterrupted(e *book, node stint.NodeID, in *stint.Interrupted) {
	b.tell(e, node, in.Job, in.Op)
	o := b.granted(e, in.Job, in.Op)
	if o == nil || o.node != node {
		return
	}
	e.leave(o)
	if in.Checkpoint != nil {
		o.checkpoint, o.doubted = in.Checkpoint.Key, false
	}
}

// takePack notes that a pack is in long-term storage; it must be.
func (b *books) takePack(e *book, p *stint.Pack, within []stint.Range) {
	saved, there := b.world.storage.objects[p.Key].(*pack)
	for _, r := range p.Ops {
		for op := r.From; op < r.To; op++ {
			o := &e.ops[p.Stage][op]
			if !o.done || !stint.RangesContain(within, op) || slices.Contains(o.packs, p.Key) {
				continue
			}
			if !e.run.cleared && !b.world.storage.taken[p.Key] && (!there || saved.blocks[op] == nil) {
				b.world.breaks("saved", "operation %d of stage %d is not in %s", op, p.Stage, p.Key)
			}
			o.packs = append(o.packs, p.Key)
			b.world.count(outputSaved)
		}
	}
}

// takeCopied notes that a node keeps output; it must not be one that was lost.
func (b *books) takeCopied(e *book, c *coord.CopiedRecord) {
	n := e.node(c.Node)
	if n.lost {
		b.world.breaks("copies", "a copy on %s counts, which is lost", c.Node)
	}
	for _, r := range c.Ops {
		for op := r.From; op < r.To; op++ {
			switch o := &e.ops[c.Stage][op]; {
			case !o.done || slices.Contains(o.copies, c.Node):
			case !o.lost && o.node == c.Node:
				o.renamed = false
			case o.lost:
				o.lost, o.node = false, c.Node
			default:
				o.copies = append(o.copies, c.Node)
			}
		}
	}
}

// badOfNow are the copies that jobs of this stint found to be bad.
func (e *book) badOfNow(list []stint.BadCopy) (out []stint.BadCopy) {
	for _, bad := range list {
		if bad.Job > e.closed {
			out = append(out, bad)
		}
	}
	return out
}

// takeBad notes which copies are no good.
func (b *books) takeBad(e *book, list []stint.BadCopy) {
	for _, bad := range list {
		for op := range e.ops[bad.Stage] {
			if whole := bad.Ops == nil; !whole && !stint.RangesContain(bad.Ops, uint32(op)) {
				continue
			}
			o := &e.ops[bad.Stage][op]
			o.packs = slices.DeleteFunc(o.packs, func(key string) bool { return key == bad.Pack })
			if bad.Node != "" {
				e.vacate(o, bad.Node)
			}
		}
	}
	if list != nil {
		b.undo(e)
	}
}

// takeMissing notes what a resume goes on without.
func (e *book) takeMissing(r *coord.BadRecord) {
	for k := range e.ops {
		for op := range e.ops[k] {
			if o := &e.ops[k][op]; slices.Contains(r.Checkpoints, o.checkpoint) {
				o.checkpoint = ""
			}
		}
	}
}

// vacate takes the output of an operation from a node: another that has it takes
// its place.
func (e *book) vacate(o *opEntry, id stint.NodeID) {
	switch {
	case !o.done || o.part != "":
	case slices.Contains(o.copies, id):
		o.copies = slices.DeleteFunc(o.copies, func(n stint.NodeID) bool { return n == id })
	case o.node == id && !o.lost && len(o.copies) > 0:
		first := slices.IndexFunc(e.order, func(n stint.NodeID) bool { return slices.Contains(o.copies, n) })
		o.node, o.renamed = e.order[first], false
		o.copies = slices.DeleteFunc(o.copies, func(n stint.NodeID) bool { return n == o.node })
	case o.node == id:
		o.lost, o.renamed = true, false
	}
}

// lose takes the output of a node away.
func (b *books) lose(e *book, id stint.NodeID, gone func(k int, op uint32) bool) {
	for k := range e.ops {
		for n := range e.ops[k] {
			if gone(k, uint32(n)) {
				e.vacate(&e.ops[k][n], id)
			}
		}
	}
	b.undo(e)
}

// undo has what is lost and needed not be done any more.
func (b *books) undo(e *book) {
	for k, ops := range slices.Backward(e.ops) {
		for n := range ops {
			o := &ops[n]
			if !o.done || !o.lost || len(o.packs) > 0 {
				continue
			}
			if !e.needed(k, uint32(n)) {
				b.world.count(outputNotNeeded)
				continue
			}
			b.world.count(outputLost)
			*o = opEntry{everDone: true, counted: o.counted, made: o.made, read: o.read}
		}
	}
}

// enterSuspended checks what a suspended execution must have: all output that is
// needed, and the record, are in long-term storage. The nodes have nothing more.
func (b *books) enterSuspended(e *book) {
	w := b.world
	w.count(suspendedRuns)
	for k := range e.ops {
		for n := range e.ops[k] {
			o := &e.ops[k][n]
			if o.done && o.part == "" && e.needed(k, uint32(n)) && !w.isSaved(e.run, o, uint32(n)) {
				w.breaks("saved", "%s is suspended; operation %d of stage %d is done and not in long-term storage", e.run.id, n, k)
			}
		}
	}
	if e.row != nil && e.run.owns(e.service) {
		rec := w.storage.recordOf(e.run.id, e.generation())
		if rec == nil {
			w.breaks("record", "%s is suspended in generation %d without a record", e.run.id, e.generation())
		} else if text := rec.book.differs(e); text != "" {
			w.breaks("record", "%s is suspended; its record says otherwise: %s", e.run.id, text)
		}
	}
	b.leaveNodes(e)
}

// leaveNodes notes that nothing is on nodes any more.
func (b *books) leaveNodes(e *book) {
	for k := range e.ops {
		for n := range e.ops[k] {
			o := &e.ops[k][n]
			o.lost, o.copies, o.renamed = o.part == "", nil, false
		}
	}
	for _, n := range e.nodes {
		n.gap = true
	}
	e.closed = e.latest
	b.undo(e)
}

// isSaved reports whether output is in a pack, or was until a fault took it away.
func (w *world) isSaved(r *run, o *opEntry, op uint32) bool {
	if r.cleared {
		return true
	}
	return slices.ContainsFunc(o.packs, func(key string) bool {
		p, there := w.storage.objects[key].(*pack)
		return there && p.blocks[o.nameIn(key, op)] != nil || w.storage.taken[key]
	})
}

// generation is the latest that the service has claimed of the execution.
func (e *book) generation() (highest uint64) {
	for _, c := range e.run.claims {
		if c.service == e.service {
			highest = c.generation
		}
	}
	return highest
}

// differs says in what another book has something else done or saved.
func (e *book) differs(o *book) string {
	for k := range e.ops {
		for n := range e.ops[k] {
			a, b := &e.ops[k][n], &o.ops[k][n]
			switch {
			case a.done != b.done:
				return "done or not"
			case a.done && !slices.Equal(a.packs, b.packs):
				return "packs"
			case a.checkpoint != b.checkpoint:
				return "checkpoint"
			}
		}
	}
	return ""
}

// risks counts by node the operations whose output is needed and nowhere else.
func (e *book) risks() map[stint.NodeID]int64 {
	out := make(map[stint.NodeID]int64)
	for k := range e.ops {
		for n := range e.ops[k] {
			o := &e.ops[k][n]
			if o.done && !o.lost && o.part == "" && len(o.packs)+len(o.copies) == 0 && e.needed(k, uint32(n)) {
				out[o.node]++
			}
		}
	}
	return out
}

// fork copies a book, with records that are decided and not committed.
func (b *books) fork(e *book, pending []coord.Record) *book {
	f := *e
	f.ops = nil
	for _, ops := range e.ops {
		own := slices.Clone(ops)
		for i := range own {
			own[i].copies, own[i].packs = slices.Clone(own[i].copies), slices.Clone(own[i].packs)
		}
		f.ops = append(f.ops, own)
	}
	f.nodes = make(map[stint.NodeID]*nodeEntry, len(e.nodes))
	for id, n := range e.nodes {
		own := *n
		own.voided = maps.Clone(n.voided)
		f.nodes[id] = &own
	}
	f.jobs, f.attempts, f.held = maps.Clone(e.jobs), maps.Clone(e.attempts), maps.Clone(e.held)
	f.performed, f.order, f.sums = slices.Clone(e.performed), slices.Clone(e.order), slices.Clone(e.sums)
	f.told, f.row, f.terminated = told{}, nil, false
	for _, rec := range pending {
		f.version++
		b.take(&f, rec)
	}
	return &f
}

// checkDrained checks that a node that is said to be drained has the only copy of
// nothing that is needed.
func (b *books) checkDrained(e *book, id stint.NodeID) {
	if e.stopped() {
		return
	}
	for k := range e.ops {
		for n := range e.ops[k] {
			o := &e.ops[k][n]
			if o.job != 0 && o.node == id {
				b.world.breaks("drained", "%s is drained and has operation %d of stage %d to perform", id, n, k)
			}
			if !o.done || o.lost || o.part != "" || !e.needed(k, uint32(n)) || o.node != id && !slices.Contains(o.copies, id) {
				continue
			}
			if !b.world.isSaved(e.run, o, uint32(n)) && !e.elsewhere(id, o) {
				b.world.breaks("drained", "%s is drained and has the only copy of operation %d of stage %d", id, n, k)
			}
		}
	}
}

// elsewhere reports whether output is on another node that stays, as far as
// anybody was told.
func (e *book) elsewhere(id stint.NodeID, o *opEntry) bool {
	return slices.ContainsFunc(append(slices.Clone(o.copies), o.node), func(n stint.NodeID) bool {
		return n != id && !e.nodes[n].lost && !e.service.server.isDraining(n)
	})
}

// safe reports whether all that was made of an operation's output can do without it.
func (e *book) safe(k int, n uint32) bool {
	readers := e.plan.out[k]
	for i := range readers {
		out := &readers[i]
		for op := range e.ops[out.to] {
			if r := e.plan.read(out, uint32(op)); n < r.From || n >= r.To {
				continue
			}
			o := &e.ops[out.to][op]
			switch {
			case e.run.completesErrors() && e.isRedone(out.to, uint32(op)):
				return false // a retry would read it
			case !o.done:
				return false
			case o.part != "" || len(o.packs) > 0 || !o.lost && len(o.copies) > 0:
			case !e.safe(out.to, uint32(op)):
				return false
			}
		}
	}
	return len(readers) > 0
}

// checkGrant checks that a grant names the checkpoints of its operations, and
// packs where they are.
func (b *books) checkGrant(e *book, g *stint.Grant) {
	b.checkMissing(e, g)
	b.checkNames(e, g)
	sources := slices.Clone(g.Sources)
	for _, beside := range g.Beside {
		sources = append(sources, beside.Sources...)
	}
	for _, src := range sources {
		if src.Pack != nil && src.Storage != e.row.home {
			b.world.breaks("saved", "%s names a pack in %q; the saved state is in %q", g.Job, src.Storage, e.row.home)
		}
	}
	for op := g.Ops.From; op < g.Ops.To; op++ {
		o := &e.ops[g.Stage][op]
		if o.job != g.Job || o.checkpoint == "" || o.doubted {
			continue
		}
		if !slices.ContainsFunc(g.Checkpoints, func(c stint.Checkpoint) bool { return c.Op == op && c.Key == o.checkpoint }) {
			b.world.breaks("checkpoint", "%s does not name the checkpoint of operation %d of stage %d", g.Job, op, g.Stage)
		}
	}
}

// checkMessage checks what a node is told to let go of.
func (b *books) checkMessage(e *book, f *flight, m *coord.Message) {
	if m.Suspend != nil && m.Suspend.Storage != e.row.home {
		b.world.breaks("saved", "checkpoints of %s are to go to %q; its saved state is in %q", e.run.id, m.Suspend.Storage, e.row.home)
	}
	if m.Forget != nil && !e.stopped() && e.resumed <= f.after && !e.node(m.Node).outdated {
		b.world.breaks("drop", "%s is to forget %s, which is %s", m.Node, e.run.id, e.status)
	}
}

// checkDrops checks what nodes are to be told to drop, when that is decided: what is
// lost after it may be performed again, and what it reads with it.
func (b *books) checkDrops(d *drive, messages []coord.Message) {
	if !slices.ContainsFunc(messages, func(m coord.Message) bool { return len(m.Drop) > 0 }) || d.row.epoch != d.state.Epoch() {
		return
	}
	pending := d.next.records
	if d.flying != nil {
		pending = slices.Concat(d.flying.records, pending)
	}
	e := b.fork(d.row.book, pending[len(pending)-int(d.state.Version()-d.row.book.version):])
	for _, m := range messages {
		for _, s := range m.Drop {
			for _, r := range s.Ops {
				for op := r.From; op < r.To; op++ {
					if !e.safe(s.Stage, op) {
						b.world.breaks("drop", "%s is to drop operation %d of stage %d, which may be needed", m.Node, op, s.Stage)
					}
				}
			}
		}
	}
}
