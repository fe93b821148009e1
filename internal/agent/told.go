package agent

import (
	"errors"
	"slices"
	"time"

	"stint"
	"stint/internal/block"
	"stint/internal/failpoint"
	"stint/internal/worker"
)

// workerReady says that a worker takes orders.
type workerReady struct{ process *process }

func (w *workerReady) apply(l *loop, _ time.Time) {
	l.slots[w.process.slot].ready = !w.process.finished
}

// workerTold brings what a worker's log holds in addition.
type workerTold struct {
	process *process
	events  *worker.Events
}

func (w *workerTold) apply(l *loop, now time.Time) {
	s := l.slots[w.process.slot]
	l.dropped(s, w.process.execution, w.events.Dropped)
	ended := 0
	for i := range w.events.Records {
		ended += l.record(s, w.process.execution, &w.events.Records[i])
		l.leaves(w.process, &w.events.Records[i])
	}
	if ended > 0 {
		s.pace.ended(ended, now)
	}
	s.told += len(w.events.Records)
	s.segment += len(w.events.Records)
	s.rotate = s.rotate || s.segment > maxLog
	l.ledger.Status(w.process.execution, w.events.Status)
	failpoint.Reach("report.after-hearing")
}

// leaves gives up the segment that a worker wrote to before the one of this record:
// what it was handed before it goes on in the old one, though that is full, and it
// tells of its blocks in the order in which it writes them.
func (l *loop) leaves(p *process, r *worker.Record) {
	if r.Done == nil || r.Done.Block == nil || r.Done.Block.Segment <= p.toldOf { // as well of one that is told again
		return
	}
	l.store.GiveUp(p.execution, p.toldOf)
	p.toldOf = r.Done.Block.Segment
}

// record enters a record of a slot's log and returns how many operations ended
// with it.
func (l *loop) record(s *slot, x stint.ExecutionID, r *worker.Record) int {
	switch {
	case r.Begun != nil:
		l.ledger.Begun(x, *r.Begun)
	case r.Done != nil:
		return l.done(s, x, r.Done)
	case r.Interrupted != nil:
		s.ended(handed{r.Interrupted.Job, r.Interrupted.Op})
		l.interrupted(x, *r.Interrupted)
		return 1
	case r.Failed != nil:
		s.ended(handed{r.Failed.Job, r.Failed.Op})
		if r.Failed.Error.Code == stint.Canceled && l.interrupted(x, stint.Interrupted{Job: r.Failed.Job, Op: r.Failed.Op, Start: r.Failed.Start, End: r.Failed.End}) {
			return 1
		}
		if l.ledger.Fail(x, *r.Failed) {
			return 1
		}
	}
	return 0
}

func (l *loop) done(s *slot, x stint.ExecutionID, d *worker.DoneRecord) int {
	s.ended(handed{d.Job, d.Op.Op})
	if handed, _ := l.ledger.Outstanding(x, d.Job, d.Op.Op); !handed {
		return 0 // of a forgotten execution, or told before
	}
	if d.Block != nil {
		s.rotate = s.rotate || d.Block.Offset+d.Block.Length >= block.SegmentSize
	}
	if err := addBlock(l.store, x, d); err != nil {
		l.ledger.Fail(x, stint.Failure{Job: d.Job, Op: d.Op.Op, Start: d.Op.Start, End: d.Op.End, Error: &stint.Error{Code: stint.Lost, Message: err.Error()}})
		return 1
	}
	l.ledger.Done(x, d.Job, d.Op, d.Counters, d.Part)
	return 1
}

// blocksMissed says that blocks were asked for that this node should have and
// has not. The server is told, so that they are made again.
type blocksMissed struct {
	execution stint.ExecutionID
	stage     int
	ops       []stint.Range
}

func (b *blocksMissed) apply(l *loop, _ time.Time) {
	if slices.Contains(l.ledger.Executions(), b.execution) {
		l.ledger.Lost(b.execution, []stint.StageOps{{Stage: b.stage, Ops: b.ops}})
	}
}

// workerDied says that a worker takes no orders any more, though its log may have more
// than it told. What it has in hand stays there until that was read.
type workerDied struct{ process *process }

func (w *workerDied) apply(l *loop, _ time.Time) { l.slots[w.process.slot].ready = false }

// workerEnded says that a worker is gone, and why.
type workerEnded struct {
	process   *process
	err       error
	complaint string // the end of its stderr
}

func (w *workerEnded) apply(l *loop, now time.Time) {
	p := w.process
	s, e := l.slots[p.slot], l.executions[p.execution]
	e.tasks--
	p.finish()
	l.store.GiveUp(p.execution, p.segments...) // what the logs have was told before
	for b := range p.orders {
		b.close() // what it was handed and never took
	}
	died := w.err != nil && !errors.Is(w.err, errStopped)
	if died {
		l.logger.Warn("worker ended", "execution", e.id, "status", w.err.Error(), "count", len(s.queue), "err", w.complaint)
	}
	if died && s.told == 0 && e.forgotten == nil {
		e.retryAt = now.Add(retryAfter)
		l.failOne(s, e, w.err, now)
	}
	for _, h := range s.queue {
		if l.interrupted(e.id, stint.Interrupted{Job: h.job, Op: h.op, Start: now.UnixMilli(), End: now.UnixMilli()}) {
			continue
		}
		if _, begun := l.ledger.Outstanding(e.id, h.job, h.op); begun {
			l.ledger.Fail(e.id, stint.Failure{Job: h.job, Op: h.op, Start: now.UnixMilli(), End: now.UnixMilli(), Error: &stint.Error{Code: stint.Lost, Message: w.reason()}})
		} else {
			l.ledger.PutBack(e.id, h.job, stint.Range{From: h.op, To: h.op + 1})
		}
	}
	s.process, s.ready, s.queue = nil, false, nil
}

func (w *workerEnded) reason() string {
	if w.err == nil {
		return "worker ended"
	}
	return w.err.Error()
}

// failOne fails the operation that comes next, since no worker can be had for
// it: with others it would be the same, but they may be given to another node.
func (l *loop) failOne(s *slot, e *execution, err error, now time.Time) {
	var job stint.JobID
	var op uint32
	switch {
	case len(s.queue) > 0:
		job, op = s.queue[0].job, s.queue[0].op
		s.queue = s.queue[1:]
	case len(e.ready) > 0:
		job, op = e.ready[0].grant.Job, e.ready[0].wire.Op
		e.ready[0].close()
		e.ready = slices.Delete(e.ready, 0, 1)
	default:
		run, ok := l.ledger.Next(e.id, 1)
		if !ok {
			return
		}
		job, op = run.Grant.Job, run.Ops.From
	}
	l.ledger.Fail(e.id, stint.Failure{Job: job, Op: op, Start: now.UnixMilli(), End: now.UnixMilli(), Error: nodeFault(err, l.folder.dir)})
}
