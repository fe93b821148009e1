package agent

import (
	"context"
	"iter"
	"slices"
	"time"

	"stint"
	"stint/internal/worker"
)

// prepare has operations made ready for the slots that will want them: one
// ahead of each, and as many as a worker of short operations takes at a time.
func (l *loop) prepare() {
	for _, e := range l.each() {
		if e.spec == nil {
			continue
		}
		// What is brought here takes its time, and is no reason not to have others ready.
		want := min(e.fetching, fetchesPerSlot*len(l.slots)) - len(e.ready) - e.preparing
		for _, s := range l.slots {
			if s.execution == e.id && !s.drain && s.process != nil {
				want += max(0, s.pace.room(len(s.queue))) + 1
			}
		}
		for want > 0 {
			n := l.prepareRun(e, want)
			if n == 0 {
				break
			}
			want -= n
		}
	}
}

// prepareRun takes at most want operations from the ledger and returns how many.
func (l *loop) prepareRun(e *execution, want int) int {
	run, ok := l.ledger.Next(e.id, l.limit(e, want))
	if !ok {
		return 0
	}
	n := run.Ops.Len()
	stage := &e.spec.Stages[run.Grant.Stage]
	if bare(stage, run.Grant) && len(run.Grant.Checkpoints) == 0 {
		for op := run.Ops.From; op < run.Ops.To; op++ {
			e.ready = append(e.ready, &order{grant: run.Grant, wire: worker.Order{Op: op, Subset: subsetOf(stage, run.Grant, op)}})
		}
		return n
	}
	e.preparing += n
	for part := range portions(run) {
		l.prepareAside(e, part)
	}
	return n
}

// portions yields the operations of a run that are made ready one after the other:
// those whose input has to be brought here are beside all others.
func portions(run Run) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		for from := run.Ops.From; from < run.Ops.To; {
			to := from + 1
			for !fetches(run.Grant, from) && to < run.Ops.To && !fetches(run.Grant, to) {
				to++
			}
			if !yield(Run{Grant: run.Grant, Ops: stint.Range{From: from, To: to}}) {
				return
			}
			from = to
		}
	}
}

// prepareAside has the operations of a run be made ready in a task.
func (l *loop) prepareAside(e *execution, run Run) {
	fetched := 0
	if fetches(run.Grant, run.Ops.From) {
		fetched = run.Ops.Len()
	}
	e.fetching += fetched
	p := &preparation{job: run.Grant.Job, scope: l.open()}
	e.preparations = append(e.preparations, p)
	e.tasks++
	spec, prepare, restored, checkpoints, post := e.spec, l.preparer.prepare, l.restored, l.checkpoints(e.id), l.post
	p.scope.start(func(ctx context.Context) {
		failures := restored(ctx, checkpoints, run)
		orders := prepare(ctx, spec, run)
		for _, o := range orders {
			if f := failures[o.wire.Op]; f != nil {
				o.close()
				o.failure = f
			}
		}
		post(&prepared{execution: e.id, run: run, orders: orders, preparation: p, fetched: fetched})
	})
}

// limit bounds the operations of one task and, where they have descriptors, of
// all that are ready.
func (l *loop) limit(e *execution, want int) int {
	g, ok := l.ledger.Front(e.id)
	if !ok || bare(&e.spec.Stages[g.Stage], g) && len(g.Checkpoints) == 0 {
		return want
	}
	room := max(maxOpen-len(e.ready)-e.preparing, 0)
	if len(e.ready)+e.preparing == 0 {
		room = max(room, 1)
	}
	if e.spec.Stages[g.Stage].Input.Kind != stint.FromInput {
		return min(want, room, 1) // fetched beside each other
	}
	return min(want, room, preparedBy)
}

// prepared says that operations are ready, or why not.
type prepared struct {
	execution   stint.ExecutionID
	run         Run
	orders      []*order
	preparation *preparation
	fetched     int // operations whose input was brought here
}

func (p *prepared) apply(l *loop, _ time.Time) {
	e := l.executions[p.execution]
	e.tasks--
	e.preparing -= p.run.Ops.Len()
	e.fetching -= p.fetched
	p.preparation.scope.cancel(nil)
	e.preparations = slices.DeleteFunc(e.preparations, func(other *preparation) bool { return other == p.preparation })
	rest := p.run.Ops
	for _, o := range p.orders {
		rest.From = o.wire.Op + 1
		switch {
		case o.failure != nil:
			l.ledger.Fail(e.id, *o.failure)
		case e.forgotten != nil || l.session.lapsed:
			o.close()
			l.ledger.PutBack(e.id, o.grant.Job, stint.Range{From: o.wire.Op, To: o.wire.Op + 1})
		default:
			e.ready = append(e.ready, o)
		}
	}
	l.ledger.PutBack(e.id, p.run.Grant.Job, rest)
}

// dropReady makes operations that are ready wait again.
func (l *loop) dropReady(e *execution) {
	for _, o := range e.ready {
		o.close()
		l.ledger.PutBack(e.id, o.grant.Job, stint.Range{From: o.wire.Op, To: o.wire.Op + 1})
	}
	e.ready = nil
}

// provide has the program's files put into their folder.
func (l *loop) provide(e *execution) {
	if e.files != notProvided {
		return
	}
	e.files = providing
	storage, files, dir, folder, post := l.storage, e.spec.Program.Files, l.folder.work(e.id, "files"), l.folder, l.post
	e.task(func(ctx context.Context) {
		post(&filesProvided{execution: e.id, err: folder.provide(ctx, storage, files, dir)})
	})
}

// filesProvided says that the program's files are in their folder, or why not.
type filesProvided struct {
	execution stint.ExecutionID
	err       error
}

func (f *filesProvided) apply(l *loop, now time.Time) {
	e := l.executions[f.execution]
	e.tasks--
	if f.err == nil {
		e.files = provided
		return
	}
	e.files = notProvided
	e.retryAt = now.Add(retryAfter)
	if e.forgotten == nil && !l.session.lapsed {
		l.failOne(&slot{}, e, f.err, now)
	}
}
