package sim

import (
	"fmt"
	"slices"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
	"stint/internal/wire"
)

// relisted is an input that was listed anew, and what an execution goes on with then.
type relisted struct {
	plan    *planned
	content contentFunc
}

// planNow is the plan that the resumption goes on from.
func (t *resumption) planNow() *planned {
	if t.was.rec != nil {
		return t.was.rec.plan
	}
	return t.here.row.plan
}

// stateNow makes the state that the resumption goes on from.
func (t *resumption) stateNow() *coord.State {
	if t.was.state != nil {
		return t.was.state
	}
	state, _ := t.server.service.store.load(t.here.row, t.server.epoch)
	return state
}

// lookAtInput finds out whether the input is what it was. What was only touched is
// no change, but operations must be told its new version.
func (t *resumption) lookAtInput(then func()) {
	s, w := t.server, t.server.world
	t.anew = nil
	if !t.run.input.differs(t.planNow()) {
		then()
		return
	}
	s.tries++
	e := stint.Errand{ID: fmt.Sprintf("%s/list/%d-%d", t.run.id, s.epoch, s.tries), Kind: stint.ErrandList, Execution: t.run.id}
	s.runErrand(e, "", errandWait, func(listed stint.ErrandResult) {
		if listed.Error != nil {
			t.done(listed.Error)
			return
		}
		was := t.planNow()
		p, err := plan.Make(t.run.id, t.run.request, t.run.input.blob(listed.Digest), was.Choice)
		if err != nil {
			t.done(err)
			return
		}
		s.content(t.run, t.stateNow(), p, func(content contentFunc, err *stint.Error) {
			switch {
			case err != nil:
				t.done(err)
			case changed(was.Listing, p.Listing, content) && !t.run.generous && !w.healed:
				w.count(redoRefused)
				t.done(stint.Errorf(stint.Conflict, "input_changed"))
			default:
				t.anew = &relisted{plan: newPlanned(p), content: content}
				then()
			}
		})
	})
}

// changed reports whether a listing has another content than one before.
func changed(was, now stint.Listing, content contentFunc) bool {
	if len(was.Objects) != len(now.Objects) {
		return true
	}
	for i, o := range was.Objects {
		n := now.Objects[i]
		if o != n && (o.URL != n.URL || o.Input != n.Input || o.Size != n.Size || !content(o, n)) {
			return true
		}
	}
	return false
}

// rebase makes the state in which an execution goes on with another input, and the
// book that goes with it.
func (t *resumption) rebase(old *coord.State, was *book) (*coord.State, *book) {
	w, now := t.server.world, t.server.millisOf(old)
	lost := coord.Record{At: now, Bad: &coord.BadRecord{Copies: t.redo.Bad, Checkpoints: t.redo.LostCheckpoints, Parts: t.redo.LostParts}}
	old.Apply(lost)
	was.version++
	w.books.take(was, lost)
	state, _ := coord.Adopt(old, t.anew.plan.Plan, t.run.request, t.server.epoch, now, coord.Kept{}, t.anew.content)
	e := w.books.fork(was, nil)
	e.plan, e.ops, e.redone = t.anew.plan, nil, nil
	for _, st := range t.anew.plan.Spec.Stages {
		e.ops = append(e.ops, make([]opEntry, st.Operations))
	}
	stages := len(e.ops) // there may be one more that gathers parts, or one less
	e.performed = append(e.performed, make([]int64, stages)...)[:stages]
	e.sums = append(e.sums, make([]stint.OpDone, stages)...)[:stages]
	w.books.inherit(e, was, state, func(key string) string { return key })
	w.books.checkKept(e, was)
	for _, n := range e.nodes {
		n.outdated = true
	}
	e.renumbered, e.version = true, state.Version()
	t.run.rebased = true
	w.count(redoneRuns)
	return state, e
}

// checkKept checks that operations are not performed again that are what they were
// and whose output is in a pack or staged.
func (b *books) checkKept(e, was *book) {
	strict := e.plan.sameAs(was.plan, versioned)
	for k := range e.ops {
		for n := range e.ops[k] {
			m := strict[k][n]
			if m == noMatch || e.ops[k][n].done {
				continue
			}
			o := &was.ops[k][m]
			if o.done && !was.isRedone(k, uint32(m)) && (o.part != "" || len(o.packs) > 0) {
				b.world.breaks("reuse", "%s performs operation %d of stage %d again, which is the same and saved", e.run.id, n, k)
			}
		}
	}
}

// stepIn has a state take in an event before anybody else has it, with its book.
func (t *resumption) stepIn(state *coord.State, e *book, ev coord.Event) {
	ev.At = t.server.millisOf(state)
	for _, rec := range state.Step(ev).Records {
		e.version++
		t.server.world.books.take(e, rec)
	}
}

// goOnAnew has an execution of this service go on with another input.
func (t *resumption) goOnAnew(generation uint64) {
	s, w, d := t.server, t.server.world, t.here
	if d.state == nil || d.flying != nil || len(d.next.records) > 0 || d.state.Status() != stint.Suspended {
		t.done(errUnknown)
		return
	}
	at := d.row.version
	state, e := t.rebase(t.stateNow(), w.books.fork(d.row.book, nil))
	ask := coord.ResumeAsk{Generation: generation}
	if err := state.Refusal(coord.Event{Resume: &ask}); err != nil {
		t.done(err)
		return
	}
	t.stepIn(state, e, coord.Event{Resume: &ask})
	w.after(w.between(500, 20*millisecond), "rebase", func() {
		if s.dead {
			return
		}
		if d.state == nil || d.row.version != at || d.row.epoch != s.epoch || d.flying != nil || len(d.next.records) > 0 {
			t.done(stint.Errorf(stint.Conflict, "it has moved on"))
			return
		}
		snap, err := wire.Marshal(state.SnapshotAll())
		w.must(err)
		fresh := &row{plan: t.anew.plan, request: t.run.request, created: d.row.created, epoch: s.epoch, book: e, home: d.row.home}
		fresh.core, fresh.origin, fresh.coreAt, fresh.base, fresh.version = snap, snap, state.Version(), state.Version(), state.Version()
		w.books.compare(fresh, state)
		t.exchange(fresh)
		w.count(resumedRuns)
		t.done(nil)
	})
}

// exchange puts a record in the place of what this service has, which is read anew.
func (t *resumption) exchange(fresh *row) {
	d, w := t.here, t.server.world
	old := d.row
	at := slices.Index(w.books.all, old.book)
	w.books.all[at] = fresh.book
	fresh.book.told, fresh.book.terminated = old.book.told, old.book.terminated
	*old = *fresh
	old.book.row = old
	d.drop(&flight{})
}
