package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"time"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/link"
)

// arrived brings what the server said.
type arrived struct{ message link.ServerMessage }

func (a *arrived) apply(l *loop, now time.Time) {
	m := a.message
	if x := subjectOf(m); x != "" {
		e := l.executions[x]
		if (e == nil || e.forgotten == nil) && l.cache.has(x) { // it is retried: what is here of it is from before
			l.keepBlocks(x, 0)
			l.forget(x, true)
			e = l.executions[x]
		}
		if e != nil && e.forgotten != nil {
			e.forgotten.later = append(e.forgotten.later, m)
			return
		}
	}
	if m.Forget != nil && l.forgottenAgain(m) {
		return
	}
	switch {
	case m.Spec != nil:
		l.learn(m.Spec)
	case m.Grant != nil:
		l.accept(*m.Grant)
	case m.Retract != nil:
		l.retract(*m.Retract)
	case m.Ack != nil:
		failpoint.Reach("report.after-acknowledgement")
		l.ledger.Acked(m.Ack.Execution, m.Ack.Seq, m.Ack.Incarnation)
		l.retireSaved(m.Ack.Execution)
	case m.Resend != nil:
		l.resend(*m.Resend)
	case m.Forget != nil:
		l.keepBlocks(m.Forget.Execution, m.Forget.Keep)
		l.forget(m.Forget.Execution, m.Forget.Discard)
	case m.Errand != nil:
		l.errands.add(*m.Errand)
	case m.Suspend != nil:
		l.suspend(m.Suspend, now)
	case m.Drop != nil:
		l.dropBlocks(*m.Drop)
	}
}

// forgottenAgain puts off what says once more that an execution is to be forgotten,
// if it is being removed as was said before, or is to come back first.
func (l *loop) forgottenAgain(m link.ServerMessage) bool {
	e := l.executions[m.Forget.Execution]
	if e == nil || e.forgotten == nil || !e.forgotten.removing && len(e.forgotten.later) == 0 {
		return false
	}
	e.forgotten.later = append(e.forgotten.later, m)
	return true
}

// subjectOf returns the execution of a message that must wait while the
// execution is being removed.
func subjectOf(m link.ServerMessage) stint.ExecutionID {
	switch {
	case m.Spec != nil:
		return m.Spec.Execution
	case m.Grant != nil:
		return m.Grant.Execution
	case m.Retract != nil:
		return m.Retract.Execution
	case m.Suspend != nil:
		return m.Suspend.Execution
	case m.Drop != nil:
		return m.Drop.Execution
	case m.Errand != nil && needsBlocks(m.Errand.Kind):
		return m.Errand.Execution
	}
	return ""
}

func (l *loop) learn(spec *stint.Spec) {
	e := l.execution(spec.Execution)
	e.spec = spec
	if err := os.MkdirAll(l.folder.work(e.id), 0o700); err != nil {
		l.logger.Error("work folder not made", "execution", e.id, "err", err)
	}
}

// accept enters a grant. One that cannot be performed for want of a spec, or
// contradicts it, is given back whole.
func (l *loop) accept(g stint.Grant) {
	ok, why := l.ledger.Accept(g)
	if !ok {
		l.logger.Warn("grant refused", "execution", g.Execution, "job", g.Job, "incarnation", g.Incarnation, "status", why)
		return
	}
	e := l.execution(g.Execution)
	failpoint.Reach("grant.after-accepting")
	if !performable(e.spec, &g) {
		l.logger.Error("grant does not match its execution", "execution", g.Execution, "job", g.Job)
		l.ledger.Retract(stint.Retract{Execution: g.Execution, Job: g.Job, Count: g.Ops.Len()})
		return
	}
	e.keepSaved(&g)
}

func performable(spec *stint.Spec, g *stint.Grant) bool {
	if spec == nil || g.Stage < 0 || g.Stage >= len(spec.Stages) || g.Ops.To > spec.Stages[g.Stage].Operations {
		return false
	}
	stage := &spec.Stages[g.Stage]
	return len(g.Beside) == len(stage.Beside) && (stage.Input.Kind != stint.FromInput || len(g.Subsets) == g.Ops.Len() || len(g.Subsets) == 0)
}

// retract gives back operations of a job, those too that are ready and that no
// worker has in hand, from the end.
func (l *loop) retract(r stint.Retract) {
	e := l.execution(r.Execution)
	for i := len(e.ready) - 1; i >= 0 && l.ledger.WaitingIn(r.Execution, r.Job) < r.Count; i-- {
		if o := e.ready[i]; o.grant.Job == r.Job {
			o.close()
			l.ledger.PutBack(e.id, r.Job, stint.Range{From: o.wire.Op, To: o.wire.Op + 1})
			e.ready = append(e.ready[:i], e.ready[i+1:]...)
		}
	}
	l.ledger.Retract(r)
}

// resend reports completions again that the server misses, as the logs have them.
func (l *loop) resend(r link.Resend) {
	if e := l.execution(r.Execution); e.forgotten == nil {
		l.lookAgain(e, r.Ops, 0)
	}
}

// mostLooks is how often logs are read for what the server misses, over some minutes,
// until what is in those that cannot be opened or read is lost.
const mostLooks = 20

// lookAgain looks into the logs for what the server misses, after so many looks at
// which some could not be read.
func (l *loop) lookAgain(e *execution, missed []stint.StageOps, looks int) {
	x, store, post := e.id, l.store, l.post
	e.task(func(ctx context.Context) {
		f := &foundAgain{execution: x, missed: missed, looks: looks + 1}
		if f.err = wait(ctx, link.Backoff(looks, rand.Float64())); f.err == nil { //nolint:gosec // jitter
			f.list, f.err = again(store, x, missed)
		}
		post(f)
	})
}

// foundAgain brings completions from the logs.
type foundAgain struct {
	execution stint.ExecutionID
	missed    []stint.StageOps
	list      []stint.Done
	looks     int
	err       error
}

func (f *foundAgain) apply(l *loop, _ time.Time) {
	e := l.executions[f.execution]
	e.tasks--
	if f.err != nil {
		l.logger.Warn("log not read to its end", "execution", e.id, "err", f.err)
	}
	switch {
	case e.forgotten != nil:
	case f.err != nil && f.looks < mostLooks && mayBeRead(f.err):
		l.ledger.Again(e.id, nil, f.list)
		if rest := missing(f.missed, f.list); len(rest) > 0 {
			l.lookAgain(e, rest, f.looks)
		}
	default:
		l.ledger.Again(e.id, f.missed, f.list)
	}
}

// mayBeRead reports whether a log that was not read may be yet: most of what a system
// answers says nothing of what is in it, least of all for a disk in the network. One that
// is not there, or that nobody lets us open, is not waited for.
func mayBeRead(err error) bool {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return slices.ContainsFunc(several.Unwrap(), mayBeRead)
	}
	if inner := errors.Unwrap(err); inner != nil {
		return mayBeRead(inner)
	}
	lasting := []error{syscall.ENOENT, syscall.ENOTDIR, syscall.EISDIR, syscall.EACCES, syscall.EPERM, syscall.ELOOP, syscall.ENXIO}
	_, refused := err.(syscall.Errno) //nolint:errorlint // nothing is wrapped any more
	return refused && !slices.Contains(lasting, err) || errors.Is(err, context.Canceled)
}

// forget stops everything of an execution; what it left on disk is removed when
// all its tasks have ended, but for blocks that are to be kept. Its logs go to
// storage, unless they are to be discarded.
func (l *loop) forget(x stint.ExecutionID, discard bool) {
	e := l.execution(x)
	if e.forgotten != nil {
		return
	}
	l.dropReady(e)
	l.errands.giveUp(x)
	l.ledger.Forget(x)
	e.cancel(errForgotten)
	e.forgotten = &forgetting{discard: discard}
	for _, s := range l.slots {
		if s.execution == x {
			s.execution = ""
		}
	}
}

// remove removes what forgotten executions left, once nothing of them runs.
func (l *loop) remove() {
	for _, e := range l.executions {
		if e.forgotten == nil || e.forgotten.removing || e.tasks > 0 {
			continue
		}
		e.forgotten.removing = true
		x, discard, keepLogs, removeAll, post := e.id, e.forgotten.discard, l.keepLogs, l.removeAll, l.post
		l.tasks.start(func(ctx context.Context) {
			if !discard {
				keepLogs(ctx, x)
			}
			r := &removed{execution: x}
			r.blocks, r.work = removeAll(x)
			post(r)
		})
	}
}

// removed says that nothing of an execution is left on this node but what is cache, or
// why something is.
type removed struct {
	execution    stint.ExecutionID
	blocks, work error
}

func (r *removed) apply(l *loop, now time.Time) {
	if err := errors.Join(r.blocks, r.work); err != nil {
		l.logger.Error("execution not removed", "execution", r.execution, "err", err)
	}
	later := l.executions[r.execution].forgotten.later
	if r.blocks != nil && slices.ContainsFunc(later, func(m link.ServerMessage) bool { return subjectOf(m) != "" }) {
		l.cache.release(r.execution)
	}
	delete(l.executions, r.execution)
	for _, m := range later {
		(&arrived{message: m}).apply(l, now)
	}
}

// lapse stops everything and gives it back: the server was away for too long.
func (l *loop) lapse() {
	l.session.lapsed = true
	for _, e := range l.each() {
		l.dropReady(e)
		e.cancel(errLapsed)
		e.scope = l.open()
	}
	l.logger.Warn("work stopped for want of a server", "took", lease)
}
