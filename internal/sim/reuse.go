package sim

import (
	"fmt"
	"maps"
	"slices"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
	"stint/internal/wire"
)

const (
	programVersion = "VERSION"   // in the environment of a stage: its program is another one
	errandWait     = 60 * second // for a node to answer who submits or resumes
	inventoryWait  = 10 * second // for nodes to say what they still keep
	mostRuns       = 6           // of one seed
)

// runErrand has a node run an errand for somebody who waits for the result, for a
// while.
func (s *server) runErrand(e stint.Errand, target stint.NodeID, wait int64, done func(stint.ErrandResult)) {
	over := false
	end := func(r stint.ErrandResult) {
		if !over && !s.dead {
			over = true
			done(r)
		}
	}
	s.submitErrand(coord.Dispatch{Errand: e, Node: target}, end)
	s.world.after(wait, "patience", func() {
		if !over && !s.dead {
			s.cancelErrand(e.ID)
			end(stint.ErrandResult{ID: e.ID, Error: stint.Errorf(stint.Unavailable, "no node answered in time")})
		}
	})
}

// listInput lists the input of an execution as it is now.
func (a *agentProcess) listInput(e stint.Errand) {
	in := a.world.runOf(e.Execution).input
	in.listed = append(in.listed, in.list())
	n := len(in.listed) - 1
	a.answer(e, &stint.ErrandResult{Digest: stint.Digest{byte(n), byte(n >> 8)}})
}

// blob is the listing of a digest.
func (in *inputs) blob(d stint.Digest) stint.Listing { return in.listed[int(d[0])+int(d[1])<<8] }

// compare reads input that was touched.
func (a *agentProcess) compare(e stint.Errand) {
	result := &stint.ErrandResult{}
	in := a.world.runOf(e.Execution).input
	for i, subset := range e.Subsets {
		var c content
		whole := true
		for _, p := range subset.Pieces {
			now, there := in.find(p.Object)
			whole = whole && there && now == p.Object
			c.pieces = append(c.pieces, piece{contentOf(p.Object), p.Offset, p.Offset + p.Length})
		}
		if whole && sumRead(joined([]content{c})) == e.Sums[i] {
			result.Ops = stint.AddToRanges(result.Ops, uint32(i))
		}
	}
	a.world.count(comparedInputs)
	a.answer(e, result)
}

// inventory says what is kept here of an execution that has ended.
func (a *agentProcess) inventory(e stint.Errand) {
	result := &stint.ErrandResult{}
	keys := slices.SortedFunc(maps.Keys(a.machine.folder.blocks), compareKeys)
	for _, key := range keys {
		if b := a.machine.folder.blocks[key]; key.execution == e.Execution && !b.torn {
			result.Held = addOp(result.Held, key.stage, key.op)
		}
	}
	a.answer(e, result)
}

// adoptParts stages parts of an earlier output for another execution.
func (a *agentProcess) adoptParts(e stint.Errand) {
	w, result := a.world, &stint.ErrandResult{}
	r := w.runOf(e.Execution)
	for _, p := range e.Parts {
		c, there := r.reuses.output[p.Op]
		if !there || c.sum() != p.Sum {
			continue
		}
		p.Name = fmt.Sprintf("part-%05d.adopted", p.Op)
		r.staged[p.Name] = c
		w.count(reusedParts)
		result.Parts = append(result.Parts, p)
	}
	a.answer(e, result)
}

// nameAt is what a source calls a block.
func nameAt(src *stint.Source, key blockKey) blockKey {
	if o := src.Origin; o != nil {
		return blockKey{o.Execution, o.Stage, o.First + key.op - src.Ops[0].From}
	}
	return key
}

// checkReused checks that what an operation reads under another name is what the
// execution's own operation would have made.
func (a *agentProcess) checkReused(o *order, sources []stint.Source, k int, n uint32, c content, how finding) {
	if how != found || !slices.ContainsFunc(sources, func(s stint.Source) bool { return s.Origin != nil && stint.RangesContain(s.Ops, n) }) {
		return
	}
	w := a.world
	w.count(cacheRead)
	if e := a.bookOf(o.execution); e.plan != o.plan || e.someFailed() || e.run.completesErrors() {
		return
	}
	if want := o.plan.flawless()[k][n]; !c.equal(want) {
		w.breaks("reuse", "%s reads %v as operation %d of stage %d, which makes %v", o.execution, c, n, k, want)
	}
}

// flawless is what each operation makes if none fails.
func (p *planned) flawless() [][]content {
	if p.perfect == nil {
		p.perfect = p.performAll(func(int, uint32) bool { return false }, func(int, uint32, [][]content) {})
	}
	return p.perfect
}

// considerReuse has a person begin another execution on what one has completed
// that has ended, or is suspended.
func (w *world) considerReuse(r *run) {
	v := w.serviceOf(r)
	at := v.store.of(r.id)
	if !r.reusable || w.healed || at == nil || len(w.runs) >= mostRuns {
		return
	}
	suspended := at.book.status == stint.Suspended
	if !at.settled && !suspended || suspended && !w.chance(0.4) {
		return
	}
	chances, soon := 1, 3*second
	if suspended || at.book.status == stint.CompletedErrors {
		chances, soon = 3, 300*millisecond // it may go on
	}
	asked := false
	for range chances {
		asked = asked || w.befalls(reuseAsked, func() { w.after(w.between(0, soon), "reuse", func() { w.reuse(v, r) }) })
	}
	r.reusable = !asked && at.book.status != stint.Completed // what came to no good end, people come back to
}

// reuse draws the request of an execution that reuses another.
func (w *world) reuse(v *service, was *run) {
	at := v.store.of(was.id)
	if v.server == nil || at == nil || w.healed {
		return
	}
	r := &run{
		id:     stint.ExecutionID(fmt.Sprintf("x-%016d", 100+len(w.runs)+len(w.books.drafts))),
		staged: make(map[string]content), long: was.long, saves: was.saves, born: v, input: was.input, reuses: was, request: was.request,
	}
	r.request.Reuse, r.request.CompleteErrors = was.id, nil
	share := r.request.SkipBadRecords
	w.shapePolicy(r)
	if r.request.SkipBadRecords = share; share > 0 && w.chance(0.3) {
		r.request.SkipBadRecords = 0.3
	}
	if w.chance(0.3) {
		r.request.Nodes = w.rng.IntN(4)
	}
	if w.chance(0.2) {
		r.request.Replication = 1 + w.rng.IntN(3)
	}
	if w.chance(0.2) {
		r.request.Program.Stages = slices.Clone(r.request.Program.Stages)
		st := &r.request.Program.Stages[w.rng.IntN(len(r.request.Program.Stages))]
		st.Environment = map[string]string{programVersion: fmt.Sprint(len(w.runs))}
	}
	for range w.rng.IntN(3) {
		w.change(r)
	}
	w.books.drafts = append(w.books.drafts, r)
	r.draft = &submission{server: v.server, run: r, at: at}
	r.draft.list()
}

// submission is one try to begin an execution that reuses another.
type submission struct {
	server *server
	run    *run
	at     *row // of the other
	old    *coord.State
	book   *book // as the other was when its state was read
	plan   *planned
	packs  map[string]string
	held   map[stint.NodeID][]stint.StageOps
	parts  []stint.Part
}

func (t *submission) errand(kind stint.ErrandKind) stint.Errand {
	return stint.Errand{ID: fmt.Sprintf("%s/%s", t.run.id, kind), Kind: kind, Execution: t.run.id}
}

// drafting reports whether a submission is under way.
func (b *books) drafting() bool {
	return slices.ContainsFunc(b.drafts, func(r *run) bool { return r.draft != nil && !r.draft.server.dead })
}

// fail gives a submission up and clears what it has left.
func (t *submission) fail() {
	t.server.world.count(reuseRefused)
	t.server.runErrand(t.errand(stint.ErrandClear), "", errandWait, func(stint.ErrandResult) { t.run.draft = nil })
}

// list lists the input and makes the plan, cut as the other's.
func (t *submission) list() {
	s, w := t.server, t.server.world
	s.runErrand(t.errand(stint.ErrandList), "", errandWait, func(listed stint.ErrandResult) {
		if listed.Error != nil || t.at.book.status != stint.Suspended && !t.at.book.status.Final() {
			t.fail()
			return
		}
		t.old, _ = s.service.store.load(t.at, s.epoch)
		t.book = w.books.fork(t.at.book, nil)
		p, err := plan.Make(t.run.id, t.run.request, t.run.input.blob(listed.Digest), t.at.plan.Choice)
		if err != nil {
			t.fail()
			return
		}
		t.plan = newPlanned(p)
		s.runErrand(t.errand(stint.ErrandProbe), "", errandWait, func(probed stint.ErrandResult) {
			if probed.Error != nil {
				t.fail()
				return
			}
			s.content(t.run, t.old, p, func(content contentFunc, err *stint.Error) {
				if err != nil {
					t.fail()
					return
				}
				t.ask(content)
			})
		})
	})
}

// contentFunc says whether an object has the content of another.
type contentFunc func(before, now stint.Object) bool

// content finds out which objects of a plan's input were only touched since an
// earlier execution has read them.
func (s *server) content(r *run, old *coord.State, p *plan.Plan, done func(contentFunc, *stint.Error)) {
	t := old.Touched(p)
	if t.Len() == 0 {
		done(t.Content(), nil)
		return
	}
	s.tries++
	e := stint.Errand{ID: fmt.Sprintf("%s/compare/%d-%d", r.id, s.epoch, s.tries), Kind: stint.ErrandCompare, Execution: r.id}
	for i := range t.Len() {
		subset, sum := t.Compare(i)
		e.Subsets, e.Sums = append(e.Subsets, subset), append(e.Sums, sum)
	}
	s.runErrand(e, "", errandWait, func(result stint.ErrandResult) {
		for i := range t.Len() {
			if !stint.RangesContain(result.Ops, uint32(i)) {
				t.Different(i)
			}
		}
		done(t.Content(), result.Error)
	})
}

// ask asks every node that is there what it still keeps of the other.
func (t *submission) ask(content contentFunc) {
	s := t.server
	t.held = make(map[stint.NodeID][]stint.StageOps)
	left := 0
	for _, m := range s.members {
		if m.session == nil || s.isDraining(m.doc.ID) {
			continue
		}
		left++
		e := t.errand(stint.ErrandInventory)
		e.ID += "/" + string(m.doc.ID)
		e.Execution = t.at.plan.Spec.Execution
		s.runErrand(e, m.doc.ID, inventoryWait, func(r stint.ErrandResult) {
			if r.Error == nil && len(r.Held) > 0 {
				t.held[m.doc.ID] = r.Held
			}
			if left--; left == 0 {
				t.takePacks(coord.AdoptablePacks(t.old, t.plan.Plan, content), 0, content)
			}
		})
	}
	if left == 0 {
		t.takePacks(coord.AdoptablePacks(t.old, t.plan.Plan, content), 0, content)
	}
}

// takePacks gives the execution packs of the other, under names of its own.
func (t *submission) takePacks(packs []stint.Pack, i int, content contentFunc) {
	w := t.server.world
	if t.packs == nil {
		t.packs = make(map[string]string)
	}
	if i == len(packs) {
		t.stage(content)
		return
	}
	w.storage.do(func() *stint.Error {
		if p, there := w.storage.objects[packs[i].Key].(*pack); there {
			own := fmt.Sprintf("%sreused-%d", savedPrefix(t.run.id), i)
			w.storage.objects[own] = p
			t.packs[packs[i].Key] = own
			w.count(reusedPacks)
		}
		return nil
	}, func(err *stint.Error) {
		switch {
		case t.server.dead:
		case err != nil:
			t.fail()
		default:
			t.takePacks(packs, i+1, content)
		}
	})
}

// stage has parts of the other's output staged, and then makes the state.
func (t *submission) stage(content contentFunc) {
	parts := coord.AdoptableParts(t.old, t.plan.Plan, content)
	if len(parts) == 0 || !t.old.Status().Final() {
		t.adopt(content)
		return
	}
	e := t.errand(stint.ErrandAdopt)
	e.Parts = parts
	t.server.runErrand(e, "", errandWait, func(r stint.ErrandResult) {
		if r.Error != nil {
			t.fail()
			return
		}
		t.parts = r.Parts
		t.adopt(content)
	})
}

func (t *submission) adopt(content contentFunc) {
	s, w, r := t.server, t.server.world, t.run
	created := w.millis()
	kept := coord.Kept{Nodes: t.held, Parts: t.parts, Packs: t.packs}
	state, _ := coord.Adopt(t.old, t.plan.Plan, r.request, s.epoch, created, kept, content)
	w.after(w.between(500, 20*millisecond), "create", func() {
		if s.dead {
			return
		}
		if s.epoch != s.service.store.epoch { // another server has taken over
			t.fail()
			return
		}
		snap, err := wire.Marshal(state.SnapshotAll())
		w.must(err)
		fresh := &row{plan: t.plan, request: r.request, created: created, epoch: s.epoch}
		fresh.core, fresh.origin, fresh.coreAt, fresh.base, fresh.version = snap, snap, state.Version(), state.Version(), state.Version()
		s.service.store.rows = append(s.service.store.rows, fresh)
		w.runs = append(w.runs, r)
		w.books.drafts = slices.DeleteFunc(w.books.drafts, func(o *run) bool { return o == r })
		t.count()
		r.draft = nil
		e := w.books.open(s.service, r, fresh)
		e.version = state.Version()
		w.books.takeOver(e, t, state)
		w.books.compare(fresh, state)
		d := s.drive(fresh, state, true)
		for _, m := range s.members {
			if m.session != nil {
				d.post(input{event: &coord.Event{Attach: &coord.Attach{Node: m.doc, Holding: stint.Holding{Execution: d.id}, Session: m.number}}})
			}
		}
		d.post(input{event: &coord.Event{Begin: true}})
		w.after(w.between(0, 2*second), "care", func() { w.care(r) })
	})
}

func (t *submission) count() {
	w := t.server.world
	w.count(reusedRuns)
	if t.book.status == stint.Suspended {
		w.count(reusedSuspended)
	}
}
