package agent

import (
	"context"
	"slices"
	"time"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/object"
	"stint/internal/worker"
)

// overdue is how long after the end of its grace period a worker may take to end
// an operation. Then the worker itself is ended.
const overdue = 15 * time.Second

// stop is why operations of a job begin no more, and when those in progress end.
type stop struct {
	by      time.Time
	storage string // where checkpoints go
}

// suspend enters that jobs are to stop: those of them that are here now. What it
// means for each of their operations follows in work.
func (l *loop) suspend(m *stint.Suspend, now time.Time) {
	e := l.executions[m.Execution]
	if e == nil || e.forgotten != nil {
		return
	}
	by := now.Add(time.Duration(m.Grace) * time.Millisecond)
	for _, job := range l.ledger.Jobs(m.Execution) {
		if len(m.Jobs) > 0 && !slices.Contains(m.Jobs, job) {
			continue
		}
		if before, ok := e.stops[job]; ok && before.by.Before(by) {
			continue
		}
		if e.stops == nil {
			e.stops = make(map[stint.JobID]stop)
		}
		e.stops[job] = stop{by: by, storage: m.Storage}
	}
}

// stopJobs gives back what has not begun of jobs that are to stop, and has
// workers end what is in progress.
func (l *loop) stopJobs(now time.Time) {
	for _, e := range l.executions {
		if len(e.stops) == 0 {
			continue
		}
		e.giveUpPreparing()
		l.giveUpReady(e)
		open := l.ledger.Jobs(e.id)
		for job := range e.stops {
			if n := l.ledger.WaitingIn(e.id, job); n > 0 {
				l.ledger.Retract(stint.Retract{Execution: e.id, Job: job, Count: n})
			}
			if !slices.Contains(open, job) {
				delete(e.stops, job) // nothing of it is left here
			}
		}
	}
	for _, s := range l.slots {
		if s.process != nil && !s.process.finished {
			s.tellStops(l.executions[s.process.execution].stops, now)
		}
	}
}

// giveUpPreparing ends the preparation of operations that are to stop.
func (e *execution) giveUpPreparing() {
	for _, p := range e.preparations {
		if _, ok := e.stops[p.job]; ok {
			p.scope.cancel(errSuspended)
		}
	}
}

// giveUpReady makes those operations wait again that are ready and are to stop.
func (l *loop) giveUpReady(e *execution) {
	e.ready = slices.DeleteFunc(e.ready, func(o *order) bool {
		_, ok := e.stops[o.grant.Job]
		if ok {
			o.close()
			l.ledger.PutBack(e.id, o.grant.Job, stint.Range{From: o.wire.Op, To: o.wire.Op + 1})
		}
		return ok
	})
}

// tellStops tells a slot's worker of the jobs in its hands that are to stop, if
// it does not know yet, and ends it if it does not come to an end.
func (s *slot) tellStops(stops map[stint.JobID]stop, now time.Time) {
	for _, h := range s.queue {
		stop, ok := stops[h.job]
		if !ok {
			continue
		}
		if now.Sub(stop.by) > overdue {
			s.ready = false
			s.process.abandon()
			return
		}
		if known, ok := s.stops[h.job]; ok && known.Equal(stop.by) {
			continue
		}
		order := batch{stop: &worker.Stop{Job: h.job, Grace: max(0, stop.by.Sub(now).Milliseconds())}}
		select {
		case s.process.orders <- order:
			s.stops[h.job] = stop.by
		default: // it has not taken what came before; next time
		}
	}
}

// dropped enters what a worker was handed and did not begin.
func (l *loop) dropped(s *slot, x stint.ExecutionID, list []stint.Returned) {
	for _, d := range list {
		for op := range each(d.Ops) {
			s.ended(handed{d.Job, op})
		}
		for _, ops := range d.Ops {
			l.ledger.PutBack(x, d.Job, ops)
		}
	}
}

// interrupted has the checkpoint archived of an operation that was ended since
// its job was to stop. It ends in the ledger when that is done. It reports
// whether this is so.
func (l *loop) interrupted(x stint.ExecutionID, i stint.Interrupted) bool {
	e, h := l.executions[x], handed{i.Job, i.Op}
	stop, ok := e.stops[i.Job]
	if _, begun := l.ledger.Outstanding(x, i.Job, i.Op); !begun || !ok || e.forgotten != nil {
		return false
	}
	if slices.Contains(e.saving, h) {
		return true
	}
	e.saving = append(e.saving, h)
	stage, _ := l.ledger.StageOf(x, i.Job)
	dir := worker.CheckpointDir(l.checkpoints(x), stage, i.Op)
	key := checkpointKey(x, stage, i.Op, i.Job, l.hello.Incarnation)
	open, post := l.storages.open, l.post
	e.task(func(ctx context.Context) {
		i.Checkpoint, i.Note = saveCheckpoint(ctx, open, stop.storage, key, dir)
		post(&checkpointSaved{execution: x, stage: stage, interrupted: i})
	})
	return true
}

// checkpoints returns the folder of the checkpoints of an execution.
func (l *loop) checkpoints(x stint.ExecutionID) string { return l.folder.work(x, "checkpoints") }

// saveCheckpoint archives a checkpoint folder. The folder stays until the server knows of
// the archive, see retireSaved.
func saveCheckpoint(ctx context.Context, open func(context.Context, string) (*object.Storage, error), url, key, dir string) (*stint.Checkpoint, string) {
	storage, err := open(ctx, url)
	if err != nil {
		return nil, "checkpoint not saved: " + err.Error()
	}
	c, note, err := archive(ctx, storage, key, dir)
	switch {
	case err != nil:
		return nil, "checkpoint not saved: " + err.Error()
	case c == nil:
		return nil, note
	}
	c.Storage = url
	failpoint.Reach("checkpoint.after-storing")
	return c, note
}

// savedFolder is a checkpoint folder of which the archive is in storage, and whose
// operation was not granted to this node again since.
type savedFolder struct {
	handed
	stage int
}

// retireSaved removes the checkpoint folders of an execution of which the server has on
// disk where their archives are: where their operations go on they are restored from
// there. Until then nobody else knows of an archive, and should this agent end, an
// operation can go on from its folder alone, which keeps the word of where it came from
// for that.
func (l *loop) retireSaved(x stint.ExecutionID) {
	e := l.executions[x]
	if e == nil || e.forgotten != nil {
		return
	}
	e.saved = slices.DeleteFunc(e.saved, func(s savedFolder) bool {
		if l.ledger.InterruptionOwed(x, s.job, s.op) {
			return false
		}
		failpoint.Reach("checkpoint.before-removing-origin")
		l.retire(e, worker.CheckpointDir(l.checkpoints(x), s.stage, s.op))
		return true
	})
}

// keepSaved has the folders stay of operations that were granted to this node again:
// they are replaced as the archive is restored, or go with the execution. From here on
// they are those of later attempts, and may hold more than the archive when the server
// says that it has that.
func (e *execution) keepSaved(g *stint.Grant) {
	e.saved = slices.DeleteFunc(e.saved, func(s savedFolder) bool {
		return s.stage == g.Stage && s.op >= g.Ops.From && s.op < g.Ops.To
	})
}

// retire removes a checkpoint folder. It has another name at once, since a grant of its
// operation may be the next that the server says; what is in it takes its time.
func (l *loop) retire(e *execution, dir string) {
	retired, err := worker.RetireCheckpoint(dir)
	switch {
	case err != nil: // it is replaced when the archive is restored
		l.logger.Warn("checkpoint folder not removed", "execution", e.id, "path", dir, "err", err)
	case retired != "":
		x, post := e.id, l.post
		e.task(func(context.Context) {
			post(&retiredRemoved{execution: x, err: removeTree(retired)})
		})
	}
}

// retiredRemoved says that what was in a checkpoint folder is gone, or why not.
type retiredRemoved struct {
	execution stint.ExecutionID
	err       error
}

func (r *retiredRemoved) apply(l *loop, _ time.Time) {
	l.executions[r.execution].tasks--
	if r.err != nil {
		l.logger.Warn("checkpoint folder not removed", "execution", r.execution, "err", r.err)
	}
}

// checkpointSaved says that an interrupted operation has ended, with a checkpoint
// or without.
type checkpointSaved struct {
	execution   stint.ExecutionID
	stage       int
	interrupted stint.Interrupted
}

func (c *checkpointSaved) apply(l *loop, _ time.Time) {
	e, i := l.executions[c.execution], c.interrupted
	e.tasks--
	e.saving = slices.DeleteFunc(e.saving, func(h handed) bool { return h == handed{i.Job, i.Op} })
	if i.Checkpoint != nil {
		i.Checkpoint.Op = i.Op
	}
	if i.Note != "" {
		l.logger.Warn("operation interrupted", "execution", e.id, "job", i.Job, "count", i.Op, "status", i.Note)
	}
	if l.ledger.Interrupted(e.id, i) && i.Checkpoint != nil && !l.ledger.Open(e.id, c.stage, i.Op) {
		e.saved = append(e.saved, savedFolder{handed: handed{i.Job, i.Op}, stage: c.stage})
	}
}

// restored puts the checkpoints of a run's operations into their folders. One
// that is lost cannot keep its operation from beginning anew; of others, failures
// has why they could not be restored now.
func (l *site) restored(ctx context.Context, checkpoints string, r Run) (failures map[uint32]*stint.Failure) {
	for i := range r.Grant.Checkpoints {
		c := &r.Grant.Checkpoints[i]
		if c.Op < r.Ops.From || c.Op >= r.Ops.To {
			continue
		}
		start := time.Now()
		storage, err := l.storages.open(ctx, c.Storage)
		if err == nil {
			err = restoreCheckpoint(ctx, storage, worker.CheckpointDir(checkpoints, r.Grant.Stage, c.Op), c)
		}
		switch {
		case stint.CodeOf(err) == stint.Lost:
			l.logger.WarnContext(ctx, "checkpoint lost", "execution", r.Grant.Execution, "job", r.Grant.Job, "err", err)
		case err != nil:
			if failures == nil {
				failures = make(map[uint32]*stint.Failure)
			}
			failures[c.Op] = failed(r.Grant, c.Op, start, stint.Errorf(stint.Unavailable, "restore checkpoint: %w", err))
		}
	}
	return failures
}
