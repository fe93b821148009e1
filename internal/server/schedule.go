package server

import (
	"context"
	"time"

	"stint"
	"stint/internal/coord"
)

// Waits before a resume that was not possible at its time is tried again.
const (
	firstRetry = time.Second
	mostRetry  = time.Minute
)

// schedule is when a suspended execution resumes by itself, and what came of it.
type schedule struct {
	coord.ScheduleAsk
	tried int64 // the time that was tried
	busy  bool
	next  time.Time // when it is tried again
	wait  time.Duration
	err   error // why it was not possible
}

// take reports how an execution is to resume, if that is due, and notes that
// somebody sees to it.
func (p *published) take(now time.Time) (ask coord.ScheduleAsk, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &p.due
	if p.status != stint.Suspended || d.At == 0 || d.busy || now.UnixMilli() < d.At {
		return ask, false
	}
	if d.tried != d.At {
		d.tried, d.next, d.wait, d.err = d.At, time.Time{}, firstRetry, nil
	}
	d.busy = !now.Before(d.next)
	return d.ScheduleAsk, d.busy
}

// tried takes in the outcome of a resume that was due.
func (p *published) tried(err error, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	due := &p.due
	due.busy, due.err = false, err
	due.next = now.Add(due.wait)
	due.wait = min(2*due.wait, mostRetry)
}

// explain adds to a document why an execution did not resume at its time.
func (p *published) explain(doc stint.Execution) stint.Execution {
	p.mu.Lock()
	defer p.mu.Unlock()
	if due := p.due; doc.Status == stint.Suspended && doc.ResumeAt != nil && due.err != nil && due.tried == doc.ResumeAt.UnixMilli() {
		doc.Waiting = "to resume, which was not possible: " + due.err.Error() + "; tried again at " + due.next.UTC().Format(time.RFC3339)
	}
	return doc
}

// watchSchedule resumes executions at their time.
func (s *Server) watchSchedule(ctx context.Context) error {
	tick := time.NewTicker(idleRound)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, d := range s.fleet.liveDrives() {
			if ask, due := d.public.take(time.Now()); due {
				s.spawn(func(ctx context.Context) error {
					_, err := s.Resume(ctx, d.id, stint.ResumeRequest{Nodes: ask.Nodes, Slots: ask.Slots})
					d.public.tried(err, time.Now())
					if err != nil {
						s.Logger.WarnContext(ctx, "resume at its time was not possible", "execution", string(d.id), "err", err)
					}
					return nil
				})
			}
		}
	}
}
