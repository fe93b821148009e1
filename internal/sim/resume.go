package sim

import (
	"stint"
	"stint/internal/coord"
	"stint/internal/wire"
)

// wish has an execution take in what somebody wishes. done is told once that is
// committed, or why it is not done; if the server dies, nothing.
func (d *drive) wish(ev coord.Event, done func(error)) {
	refused := false
	d.post(input{
		event:   &ev,
		refused: func(err error) { refused = true; done(err) },
		released: func(ok bool) {
			switch {
			case refused:
			case ok:
				done(nil)
			default:
				done(errUnknown)
			}
		},
	})
}

// writeRecord is the server's own errand: it makes sure that the service owns
// the execution, and writes all that a fresh one needs.
func (d *drive) writeRecord(e stint.Errand, reply func(stint.ErrandResult)) {
	w, v, s := d.server.world, d.server.service, d.server
	r := w.runOf(d.id)
	snapshot, err := wire.Marshal(d.state.SnapshotAll())
	w.must(err)
	d.saved = false
	rec := &record{generation: max(e.Generation, 1), snapshot: snapshot, row: d.row, plan: d.row.plan, book: w.books.fork(d.row.book, d.next.records)}
	tell := func(result stint.ErrandResult) {
		s.awake(func() {
			reply(result)
			d.recordWritten()
		})
	}
	answer := func(err *stint.Error) { tell(stint.ErrandResult{ID: e.ID, Error: err}) }
	write := func() {
		w.storage.write(func() *stint.Error {
			if v.store.epoch != s.epoch {
				return stint.Errorf(stint.Unavailable, "another server has taken over the record")
			}
			w.storage.objects[recordKey(d.id, rec.generation)] = rec
			w.count(recordWritten)
			return nil
		}, answer)
	}
	var refusal *stint.Error
	claimed := uint64(0) // by this service, and not used
	assert := func() *stint.Error {
		switch highest, _ := w.storage.owner(d.id); {
		case highest == nil && rec.generation == 1:
			if err := w.storage.unwritable(); err != nil {
				return err
			}
			refusal = w.storage.claim(r, 1, s)
		case highest != nil && highest.generation > rec.generation && highest.service == v:
			claimed = highest.generation
			refusal = stint.Errorf(stint.Unavailable, "generation %d is claimed and not used", claimed)
		case highest == nil || highest.generation != rec.generation || highest.service != v:
			refusal = stint.Errorf(stint.Conflict, "owned_elsewhere")
		}
		return nil
	}
	w.befalls(endedAtSuspend, func() { w.after(w.between(0, 200*millisecond), "terminate", func() { w.terminate(r) }) })
	d.inTurn(func() {
		w.storage.do(assert, func(err *stint.Error) {
			s.awake(func() {
				switch {
				case err != nil:
					answer(err)
				case refusal != nil:
					tell(stint.ErrandResult{ID: e.ID, Error: refusal, Claimed: claimed})
				default:
					write()
				}
			})
		})
	})
}

// inTurn has a record written after those that are under way: that of an earlier
// state must not take the place of a later one's.
func (d *drive) inTurn(write func()) {
	if d.recording = append(d.recording, write); len(d.recording) == 1 {
		write()
	}
}

// recordWritten begins with the next record.
func (d *drive) recordWritten() {
	if d.recording = d.recording[1:]; len(d.recording) > 0 {
		d.recording[0]()
		return
	}
	held := d.held
	d.held = nil
	for _, submit := range held {
		submit()
	}
}

// afterRecords submits an errand: one that removes all that is saved when no record is
// on its way, which would come after it.
func (d *drive) afterRecords(e stint.Errand, submit func()) {
	if len(d.recording) > 0 && (e.Kind == stint.ErrandCommit || e.Kind == stint.ErrandClear) {
		d.server.world.count(errandHeld)
		d.held = append(d.held, submit)
		return
	}
	submit()
}

// withdrawUnused takes back a claim of this service that is higher than what the
// execution is in, which nobody will use any more.
func (d *drive) withdrawUnused(generation uint64) {
	s, w := d.server, d.server.world
	if s.seized[d.id] {
		return // somebody is about to use it
	}
	s.seized[d.id] = true
	unused := false
	look := func(st *coord.State) { unused = st.Status() != stint.Suspended && st.Generation() == generation }
	d.post(input{look: look, released: func(ok bool) {
		if !ok || !unused {
			delete(s.seized, d.id)
			return
		}
		w.storage.write(func() *stint.Error {
			if highest, _ := w.storage.owner(d.id); s.service.store.epoch == s.epoch && highest != nil && highest.service == s.service && highest.generation > generation {
				w.storage.withdraw(w.runOf(d.id), highest)
			}
			return nil
		}, func(*stint.Error) { s.awake(func() { delete(s.seized, d.id) }) })
	}})
}

// standing is what a resume must know of an execution.
type standing struct {
	state       *coord.State // of a record; nil: of a drive
	rec         *record
	status      stint.ExecutionStatus
	generation  uint64
	packs       []stint.Pack
	checkpoints []stint.Checkpoint
	parts       []stint.Part
	refusal     error
}

func standingOf(s *coord.State) standing {
	return standing{
		status: s.Status(), generation: s.Generation(), packs: s.Packs(), checkpoints: s.Checkpoints(), parts: s.StagedParts(),
		refusal: s.Refusal(coord.Event{Resume: &coord.ResumeAsk{Generation: s.Generation() + 1}}),
	}
}

// resumption is one try to have an execution go on in a service.
type resumption struct {
	server   *server
	run      *run
	takeOver bool
	here     *drive // nil: it is not known here
	was      standing
	redo     coord.ResumeAsk // names what is missing, and accepted
	anew     *relisted       // its input as it is now; nil: as it was
	done     func(error)
}

// resume tries to have an execution go on in this service.
func (s *server) resume(r *run, takeOver bool, done func(error)) {
	if s.seized[r.id] {
		done(errUnknown)
		return
	}
	s.seized[r.id] = true
	t := &resumption{server: s, run: r, takeOver: takeOver, here: s.live(r.id)}
	t.done = func(err error) {
		delete(s.seized, r.id)
		done(err)
	}
	if t.here == nil {
		if s.service.store.of(r.id) != nil {
			t.done(stint.Errorf(stint.Conflict, "it is over here"))
			return
		}
		t.look()
		return
	}
	t.here.post(input{look: func(st *coord.State) { t.was = standingOf(st) }, released: func(ok bool) {
		switch {
		case !ok:
			t.done(errUnknown)
		case t.was.refusal != nil:
			t.done(t.was.refusal)
		case t.was.status == stint.Suspending:
			t.here.wish(coord.Event{Resume: &coord.ResumeAsk{}}, t.done)
		default:
			t.look()
		}
	}})
}

// storage has storage do something for the resumption, unless that fails.
func (t *resumption) storage(act func() *stint.Error, then func()) {
	t.server.world.storage.do(act, func(err *stint.Error) {
		t.server.awake(func() {
			if err != nil {
				t.done(err)
			} else {
				then()
			}
		})
	})
}

// look finds out who owns the execution, and which record to go on from.
func (t *resumption) look() {
	w := t.server.world
	var owner *claim
	var recorded uint64
	t.storage(func() *stint.Error {
		owner, recorded = w.storage.owner(t.run.id)
		return nil
	}, func() {
		highest := uint64(0)
		if owner != nil {
			highest = owner.generation
		}
		foreign := owner != nil && owner.service != t.server.service
		switch {
		case t.here != nil && highest > t.was.generation && foreign:
			if recorded <= t.was.generation || recorded < highest && !t.takeOver {
				if !t.takeOver {
					t.done(stint.Errorf(stint.Conflict, "owned_elsewhere"))
					return
				}
				t.verify(highest)
				return
			}
			t.read(recorded, highest)
		case t.here != nil:
			t.verify(highest)
		case recorded == 0:
			t.done(stint.Errorf(stint.NotFound, "no saved state"))
		case recorded < highest && foreign && !t.takeOver:
			t.done(stint.Errorf(stint.Conflict, "owned_elsewhere"))
		default:
			t.read(recorded, highest)
		}
	})
}

// read makes the state that a record holds, as this service would have it.
func (t *resumption) read(generation, highest uint64) {
	w := t.server.world
	var rec *record
	t.storage(func() *stint.Error {
		rec = w.storage.recordOf(t.run.id, generation)
		return nil
	}, func() {
		if rec == nil {
			t.done(stint.Errorf(stint.NotFound, "no saved state"))
			return
		}
		var snap coord.Snapshot
		w.must(wire.Unmarshal(rec.snapshot, &snap))
		state, err := coord.Restore(rec.plan.Plan, t.run.request, t.server.epoch, snap)
		if err != nil {
			w.breaks("record", "of generation %d: %v", generation, err)
			return
		}
		t.was = standingOf(state)
		t.was.state, t.was.rec = state, rec
		t.verify(highest)
	})
}

// verify looks whether all that the execution goes on from is there.
func (t *resumption) verify(highest uint64) {
	w := t.server.world
	w.passes(verifying, t.server.service, nil)
	missing := ""
	t.storage(func() *stint.Error {
		missing = t.missing()
		return nil
	}, func() {
		owner := t.run.owner()
		mine := owner != nil && owner.service == t.server.service
		switch {
		case missing == "":
		case mine && !t.run.cleared && !w.storage.taken[missing]:
			w.breaks("saved", "%s resumes in generation %d and %s is not there", t.run.id, owner.generation, missing)
		case !w.healed && w.chance(0.5), t.run.cleared:
			w.count(verifyRefused)
			t.done(stint.Errorf(stint.NotFound, "saved_state_damaged: %s", missing))
			return
		}
		t.lookAtInput(func() { t.claim(max(highest, t.was.generation) + 1) })
	})
}

// missing lists what an execution is to go on from and cannot, and names the last.
func (t *resumption) missing() (name string) {
	objects := t.server.world.storage.objects
	t.redo = coord.ResumeAsk{}
	for _, p := range t.was.packs {
		if saved, there := objects[p.Key].(*pack); !there || saved.size() != p.Bytes {
			name = p.Key
			t.redo.Bad = append(t.redo.Bad, stint.BadCopy{Pack: p.Key, Stage: p.Stage})
		}
	}
	for _, c := range t.was.checkpoints {
		if _, there := objects[c.Key].(*checkpoint); !there {
			name = c.Key
			t.redo.LostCheckpoints = append(t.redo.LostCheckpoints, c.Key)
		}
	}
	for _, p := range t.was.parts {
		if _, there := t.run.staged[p.Name]; !there && !t.run.committed {
			name = p.Name
			t.redo.LostParts = append(t.redo.LostParts, p.Op)
		}
	}
	return name
}

// claim makes the execution this service's.
func (t *resumption) claim(generation uint64) {
	w := t.server.world
	var refusal *stint.Error
	t.storage(func() *stint.Error {
		if t.run.cleared {
			refusal = stint.Errorf(stint.NotFound, "no saved state")
			return nil
		}
		if err := w.storage.unwritable(); err != nil {
			return err
		}
		refusal = w.storage.claim(t.run, generation, t.server)
		return nil
	}, func() {
		switch {
		case refusal != nil:
			t.done(refusal)
		case t.was.state == nil && t.anew != nil:
			t.goOnAnew(generation)
		case t.was.state == nil:
			t.goOn(generation)
		default:
			t.server.later(w.between(500, 20*millisecond), "enter", func() { t.enter(generation) })
		}
	})
}

func (t *resumption) goOn(generation uint64) {
	ask := t.redo
	ask.Generation = generation
	t.here.wish(coord.Event{Resume: &ask}, func(err error) {
		if err == nil {
			t.server.world.count(resumedRuns)
		}
		t.done(err)
	})
}

// enter makes an execution that came from elsewhere live here: it goes on, or is to
// at a later time.
func (t *resumption) enter(generation uint64) {
	s, w, v, state := t.server, t.server.world, t.server.service, t.was.state
	if !s.owns() {
		return
	}
	state.SetHome("home")
	e := w.books.fork(t.was.rec.book, nil)
	fresh := &row{plan: t.was.rec.plan, request: t.run.request, created: t.was.rec.row.created, epoch: s.epoch, book: e, home: "home"}
	e.service = v
	enter := func(d coord.Delta) {
		for _, rec := range d.Records {
			e.version++
			w.books.take(e, rec)
		}
	}
	now := s.millisOf(state)
	begun := state.Resume(now)
	enter(begun)
	for _, d := range begun.Errands {
		if d.Errand.Kind == stint.ErrandRecord {
			enter(state.Step(coord.Event{At: now, Result: &stint.ErrandResult{ID: d.Errand.ID}}))
		}
	}
	if state.Status() != stint.Suspended {
		w.breaks("record", "%s is %s in the record of generation %d", t.run.id, state.Status(), t.was.rec.generation)
		return
	}
	if t.anew != nil {
		state, e = t.rebase(state, e)
		fresh.plan, fresh.book = t.anew.plan, e
	}
	for _, id := range state.Document(now).Nodes {
		if s.member(id) == nil {
			enter(state.Step(coord.Event{At: now, Gone: &coord.Gone{Node: id, Lost: true}}))
		}
	}
	ask := coord.ResumeAsk{Generation: generation}
	if t.anew == nil {
		ask = t.redo
		ask.Generation = generation
	}
	ev, counted := coord.Event{Resume: &ask}, fault(resumedRuns)
	if w.chance(0.3) {
		counted = broughtForLater
		t.run.scheduled = true
		if w.chance(0.3) {
			w.after(w.between(0, 3*second), "terminate", func() { w.terminate(t.run) })
		}
		ev = coord.Event{Schedule: &coord.ScheduleAsk{At: s.millis() + w.between(0, 3000), Generation: generation}}
	}
	if err := state.Refusal(ev); err != nil {
		t.done(err)
		return
	}
	t.stepIn(state, e, ev)
	w.count(counted)
	snap, err := wire.Marshal(state.SnapshotAll())
	w.must(err)
	e.row = fresh
	fresh.core, fresh.origin, fresh.coreAt, fresh.base, fresh.version = snap, snap, state.Version(), state.Version(), state.Version()
	w.books.compare(fresh, state)
	if t.here != nil {
		t.replace(fresh)
		return
	}
	v.store.rows = append(v.store.rows, fresh)
	w.books.all = append(w.books.all, e)
	w.count(resumedElsewhere)
	t.here = s.drive(fresh, state, true)
	for _, m := range s.members {
		if m.session != nil {
			t.here.post(input{event: &coord.Event{Attach: &coord.Attach{Node: m.doc, Holding: stint.Holding{Execution: t.run.id}, Session: m.number}}})
		}
	}
	t.done(nil)
}

// replace puts what came from elsewhere in the place of what this service had.
func (t *resumption) replace(fresh *row) {
	d, w := t.here, t.server.world
	old := d.row
	if old.version != d.state.Version() || d.flying != nil {
		t.done(errUnknown)
		return
	}
	for i, e := range w.books.all {
		if e == old.book {
			w.books.all[i] = fresh.book
		}
	}
	fresh.epoch = old.epoch
	*old = *fresh
	old.book.row = old
	w.count(replacedRuns)
	d.drop(&flight{})
	t.done(nil)
}

// watchSchedule resumes executions at their time.
func (s *server) watchSchedule() {
	for _, d := range s.drives {
		if d.state == nil || d.state.Status() != stint.Suspended {
			continue
		}
		if at := d.state.ResumeAt(); at > 0 && at <= s.millis() && s.world.chance(0.3) {
			s.world.count(resumedAtTime)
			s.resume(s.world.runOf(d.id), false, func(error) {})
		}
	}
}
