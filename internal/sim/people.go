package sim

import (
	"slices"

	"stint"
	"stint/internal/coord"
)

// serviceOf is where an execution is: with who owns it.
func (*world) serviceOf(r *run) *service {
	if o := r.owner(); o != nil {
		return o.service
	}
	return r.born
}

// anyDrive returns some execution that is live.
func (w *world) anyDrive() *drive {
	s := w.anyService().server
	if s == nil || len(s.drives) == 0 {
		return nil
	}
	if d := s.drives[w.rng.IntN(len(s.drives))]; d.state != nil {
		return d
	}
	return nil
}

// grace draws a grace period, in milliseconds.
func (w *world) grace() int64 {
	return []int64{0, 50, 500, 3000}[w.rng.IntN(4)]
}

// suspendRun has a person suspend an execution; now and then the server dies
// while it is being done.
func (w *world) suspendRun() bool {
	d := w.anyDrive()
	if d == nil || d.state.Status() != stint.InProgress {
		return false
	}
	w.wish(d, coord.Event{Suspend: &coord.SuspendAsk{Grace: w.grace(), By: "user"}})
	v := d.server.service
	w.befalls(killedAtSuspend, func() {
		w.after(w.between(0, 4*second), "kill at a suspend", func() {
			v.killing = v.killing || !w.healed && v.server != nil
		})
	})
	return true
}

// suspendJob has a person suspend a job, and release it some time later.
func (w *world) suspendJob() bool {
	d, id := w.anyJob()
	if d == nil {
		return false
	}
	d.wish(coord.Event{Suspend: &coord.SuspendAsk{Grace: w.grace(), Jobs: []stint.JobID{id}, By: "user"}}, func(err error) {
		if err != nil {
			return
		}
		w.count(heldJobs)
		w.after(w.between(0, 15*second), "release", func() { w.release(d.id) })
	})
	return true
}

// release lets jobs go on that were suspended by themselves.
func (w *world) release(x stint.ExecutionID) {
	v := w.serviceOf(w.runOf(x))
	if v.server == nil {
		return
	}
	d := v.server.live(x)
	if d == nil || d.state == nil {
		return
	}
	var jobs []stint.JobID
	for _, name := range d.state.Document(w.millis()).Held {
		id, err := stint.ParseJobID(name)
		w.must(err)
		jobs = append(jobs, id)
	}
	if len(jobs) > 0 {
		w.wish(d, coord.Event{Resume: &coord.ResumeAsk{Jobs: jobs}})
	}
}

// anyJob returns a job that has something to do.
func (w *world) anyJob() (*drive, stint.JobID) {
	d := w.anyDrive()
	if d == nil || d.state.Status() != stint.InProgress {
		return nil, 0
	}
	var jobs []stint.JobID
	for _, ops := range d.row.book.ops {
		for i := range ops {
			if id := ops[i].job; id != 0 && !slices.Contains(jobs, id) {
				jobs = append(jobs, id)
			}
		}
	}
	if len(jobs) == 0 {
		return nil, 0
	}
	return d, jobs[w.rng.IntN(len(jobs))]
}

// moveJob has a person move a job to other nodes.
func (w *world) moveJob() bool {
	d, id := w.anyJob()
	if d == nil {
		return false
	}
	w.wish(d, coord.Event{Move: &coord.MoveAsk{Jobs: []stint.JobID{id}, Grace: w.grace()}})
	return true
}

// drainNode has a person drain a node, by a time or without; when nothing is
// left there it is taken away, or it is used again.
func (w *world) drainNode() bool {
	m := w.anyMachine()
	v := m.service
	if v.server == nil || v.server.member(m.folder.node) == nil || v.server.isDraining(m.folder.node) {
		return false
	}
	ask := coord.DrainAsk{Node: m.folder.node}
	if w.chance(0.5) {
		ask.By = w.millis() + w.between(0, 10_000)
	}
	v.setDrain(ask)
	w.after(w.between(0, 12*second), "drain over", func() { v.setDrain(coord.DrainAsk{Node: ask.Node, Undo: true}) })
	w.after(w.between(100*millisecond, second), "drained", func() { w.lookDrained(m, ask.Node) })
	return true
}

// setDrain keeps what a node's drain is, and tells every execution.
func (v *service) setDrain(ask coord.DrainAsk) {
	v.world.passes(draining, v, v.machineOf(ask.Node))
	v.store.drains = slices.DeleteFunc(v.store.drains, func(d coord.DrainAsk) bool { return d.Node == ask.Node })
	if !ask.Undo {
		v.store.drains = append(v.store.drains, ask)
	}
	if v.server == nil {
		return // the next one reads it
	}
	for _, d := range v.server.drives {
		d.post(input{event: &coord.Event{Drain: &ask}})
	}
	v.server.want()
}

func (s *server) isDraining(id stint.NodeID) bool {
	return slices.ContainsFunc(s.service.store.drains, func(d coord.DrainAsk) bool { return d.Node == id })
}

// lookDrained looks whether a node is drained; if it is said to be, nothing that
// is needed may be there alone, and it is taken away.
func (w *world) lookDrained(m *machine, id stint.NodeID) {
	v := m.service
	w.passes(draining, v, m)
	if w.healed || m.folder.node != id || v.server == nil || !v.server.isDraining(id) {
		return
	}
	for _, d := range v.server.drives {
		if settled := d.flying == nil && len(d.next.records)+len(d.inbox) == 0; d.state == nil || !settled || !d.state.Drained(id) {
			w.after(w.between(100*millisecond, second), "drained", func() { w.lookDrained(m, id) })
			return
		}
	}
	w.count(drainedNodes)
	for _, d := range v.server.drives {
		w.books.checkDrained(d.row.book, id)
	}
	m.kill()
	m.replaceFolder()
	w.after(w.between(500*millisecond, 2*second), "restart", m.start)
}

// care has a person look after an execution until it is over: one that is
// suspended is resumed, here or elsewhere, or left as it is.
func (w *world) care(r *run) {
	w.considerReuse(r)
	if w.rests(r) {
		return
	}
	w.after(w.between(200*millisecond, 3*second), "care", func() { w.care(r) })
	v := w.serviceOf(r)
	if w.healed {
		w.endStale(r, v)
	}
	if r.left {
		return
	}
	at := v.store.of(r.id)
	if at == nil {
		v.resume(r, false) // it was claimed, and then the server died
		return
	}
	switch e := at.book; e.status {
	case stint.Suspended:
		w.passes(suspended, v, nil)
		w.changeInput(r)
		w.resumeSuspended(v, r)
	case stint.CompletedErrors:
		w.retry(v, r)
	case stint.Suspending:
		if w.chance(0.03) {
			v.resume(r, false)
		}
	case stint.InProgress:
		w.befalls(inputReplaced, func() { w.change(r) })
		if w.healed {
			w.release(r.id)
		} else if _, recorded := w.storage.owner(r.id); recorded > 0 {
			w.befalls(takenAway, func() { w.otherService(v).resume(r, true) })
		}
	case stint.Queued, stint.Resuming, stint.Completed, stint.ExecutionFailed, stint.Terminating, stint.Terminated:
	}
}

// resumeSuspended has one or two persons resume an execution.
func (w *world) resumeSuspended(v *service, r *run) {
	if !r.scheduled && w.happens(leftSuspended) {
		r.left = true
		return
	}
	if !w.happens(askedElsewhere) {
		if w.chance(0.2) {
			w.schedule(v, r)
			return
		}
		v.resume(r, false)
		return
	}
	w.otherService(v).resume(r, false)
	if w.chance(0.4) {
		w.after(w.between(0, 30*millisecond), "race", func() { v.resume(r, false) })
	}
}

// schedule has an execution resume by itself some time later.
func (w *world) schedule(v *service, r *run) {
	if s := v.server; s != nil && s.live(r.id) != nil {
		at := w.millis() + w.between(0, 3000)
		r.scheduled = true
		w.wish(s.live(r.id), coord.Event{Schedule: &coord.ScheduleAsk{At: at}})
	}
}

// resume has a person resume an execution in this service.
func (v *service) resume(r *run, takeOver bool) {
	if v.server != nil {
		v.server.resume(r, takeOver, func(error) {})
	}
}

// otherService returns a service that is not this one.
func (w *world) otherService(v *service) *service {
	if len(w.services) == 1 {
		w.newService(1 + w.rng.IntN(4))
	}
	return w.services[1-v.index]
}

// endStale has a person end what goes on where it is not owned any more.
func (w *world) endStale(r *run, owner *service) {
	for _, v := range w.services {
		if at := v.store.of(r.id); at != nil && v != owner && v.server != nil && !at.settled && w.chance(0.2) {
			if d := v.server.live(r.id); d != nil {
				w.count(staleEnded)
				d.post(input{event: &coord.Event{Terminate: true}})
			}
		}
	}
}

// rests reports whether nothing more will become of an execution, in any service.
func (w *world) rests(r *run) bool {
	owner := w.serviceOf(r).store.of(r.id)
	if owner == nil || !owner.settled && !r.left || owner.settled && r.retries > 0 && owner.book.canRetry() {
		return false
	}
	return !slices.ContainsFunc(w.books.all, func(e *book) bool { return e.run == r && !e.row.settled && e.status != stint.Suspended })
}

// over reports whether everything has come to rest.
func (w *world) over() bool {
	return len(w.runs) > 0 && !w.books.drafting() && !slices.ContainsFunc(w.runs, func(r *run) bool { return !w.rests(r) })
}
