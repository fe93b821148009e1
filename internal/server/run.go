package server

import (
	"cmp"
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/link"
)

// Waits before a record is read again.
const (
	firstWait = 100 * time.Millisecond
	mostWait  = 10 * time.Second
	longWait  = 10 * time.Minute // of an execution whose drive fails: others must not have to do with it all the time
)

// errFenced says that this server's time is over: whatever it does from here on
// is refused.
var errFenced = errors.New("another server has taken over the record")

// Run takes over the record and serves until ctx ends, or another server takes
// over; it returns when all that it started has ended and closed all sessions.
// An execution whose record cannot be read is logged and tried again from time
// to time; the others go on.
func (s *Server) Run(ctx context.Context) error {
	s.Ready()
	defer close(s.done)
	defer s.fleet.close()
	epoch, err := s.DB.TakeOver(ctx)
	if err != nil {
		return err
	}
	s.epoch = epoch
	if s.service, err = s.DB.Service(ctx); err != nil {
		return err
	}
	if err := s.loadCredentials(ctx); err != nil {
		return err
	}
	if err := s.clearUploads(); err != nil {
		return err
	}
	nodes, err := s.DB.Nodes(ctx)
	if err != nil {
		return err
	}
	s.fleet.remember(nodes, time.Now())
	ids, err := s.DB.Unsettled(ctx)
	if err != nil {
		return err
	}
	drafts, err := s.DB.Drafts(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.DB.Run(ctx) })
	for _, d := range drafts {
		group.Go(func() error { return s.clearDraft(ctx, d) })
	}
	for _, id := range ids {
		d := newDrive(s, id)
		if err := s.reload(ctx, d); err != nil {
			s.quarantined(ctx, d, err)
		}
		s.fleet.add(d)
		group.Go(func() error { return s.runDrive(ctx, d) })
	}
	group.Go(func() error { return s.place(ctx) })
	group.Go(func() error { return s.watchFleet(ctx) })
	group.Go(func() error { return s.watchSchedule(ctx) })
	group.Go(func() error { return s.watchEnded(ctx) })
	close(s.ready)
	for {
		select {
		case task := <-s.tasks:
			group.Go(func() error { return task(ctx) })
		case <-ctx.Done():
			close(s.ending)
			err := group.Wait()
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
	}
}

// spawn has Run run a task, and wait for its end; false: Run is ending.
func (s *Server) spawn(task func(context.Context) error) bool {
	select {
	case s.tasks <- task:
		return true
	case <-s.ending:
		return false
	}
}

// start makes a new drive live.
func (s *Server) start(ctx context.Context, d *drive) error {
	nodes := s.fleet.add(d)
	if !s.spawn(func(ctx context.Context) error { return s.runDrive(ctx, d) }) {
		return errStopping()
	}
	for _, a := range nodes {
		if err := d.post(ctx, input{event: a.event(stint.Holding{Execution: d.id})}); err != nil {
			return err
		}
	}
	return nil
}

// runDrive runs a drive until its execution is settled, loading it again as
// often as its state had to be dropped.
func (s *Server) runDrive(ctx context.Context, d *drive) error {
	defer s.retire(d)
	most := mostWait
	for wait := firstWait; ; wait = min(2*wait, most) {
		if d.state != nil {
			began := time.Now()
			err := d.guard(ctx)
			if d.over = err == nil; d.over || ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, errReload) && s.reload(ctx, d) == nil {
				d.greet = s.fleet.attached()
				continue
			}
			most = mostWait
			if _, ok := errors.AsType[*panicked](err); ok {
				most = longWait
				s.Logger.ErrorContext(ctx, "execution quarantined", "execution", string(d.id), "err", logged(err))
			} else {
				s.Logger.WarnContext(ctx, "state dropped", "execution", string(d.id), "err", err)
			}
			d.drop()
			d.trouble = err
			if time.Since(began) > most {
				wait = firstWait
			}
		}
		if d.refuseFor(ctx, wait) != nil {
			return nil
		}
		err := s.reload(ctx, d)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errFenced):
			return err
		case err != nil:
			d.trouble = err
			s.quarantined(ctx, d, err)
		default:
			s.fleet.closeSessions("the record of an execution was read again")
		}
	}
}

// refuseFor waits, and refuses what comes meanwhile: it must not be in the way of
// other executions.
func (d *drive) refuseFor(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case in := <-d.inbox:
			d.refuse(in)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) quarantined(ctx context.Context, d *drive, err error) {
	s.Logger.ErrorContext(ctx, "execution quarantined: its record cannot be read", "execution", string(d.id), "err", err)
}

// retire ends a drive. One that is not settled stays known, so that nodes keep
// what they hold of it.
func (s *Server) retire(d *drive) {
	if d.over {
		now := nowMillis()
		s.fleet.removeDrive(d, d.keepUntil(now), now)
		if st := d.state; st != nil && st.Status() != stint.CompletedErrors && st.MayComeLate() {
			id, home := d.id, st.Home()
			s.spawn(func(ctx context.Context) error { return s.clearLate(ctx, id, home) })
		}
	} else {
		d.drop() // what was taken in may be committed yet
	}
	close(d.gone)
	for {
		select {
		case in := <-d.inbox:
			s.dismiss(d, in)
		default:
			return
		}
	}
}

// keepUntil returns until when nodes keep the blocks of an execution that has just
// been settled, for reuse by another.
func (d *drive) keepUntil(now int64) int64 {
	seconds := cmp.Or(d.entry.Request.Keep, int64(DefaultKeep.Seconds()))
	if d.state == nil || d.state.Status() == stint.Terminated || seconds < 0 {
		return 0
	}
	return now + seconds*1000
}

// dismiss answers an input that came too late.
func (s *Server) dismiss(d *drive, in input) {
	if in.released != nil {
		in.released(d.closed())
	}
	if !d.over || in.event == nil {
		return
	}
	if r := in.event.Report; r != nil {
		s.fleet.send(r.Node, d.id, s.farewell(r))
	}
	if a := in.event.Attach; a != nil {
		s.fleet.send(a.Node.ID, d.id, []link.ServerMessage{s.fleet.forget(d.id)})
	}
}

// reload puts what the record says in the place of a drive's state.
func (s *Server) reload(ctx context.Context, d *drive) error {
	loaded, err := s.DB.Load(ctx, d.id)
	if err != nil {
		return err
	}
	if d.revive != nil && loaded.Settled {
		loaded.Epoch = s.epoch // its owner's time is over: that it is revived is yet to be committed
	} else {
		d.revive = nil
	}
	if loaded.Epoch != s.epoch {
		return errFenced
	}
	state, err := s.restore(ctx, loaded)
	if err != nil {
		return err
	}
	s.fleet.reserve(loaded.Request.Output, d.id)
	d.adopt(loaded.Entry, state, loaded.Snapshot != nil)
	return nil
}

// watchFleet notices silent nodes, and that another server has taken over. A
// record that cannot be read just now shows itself at the next commit.
func (s *Server) watchFleet(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if epoch, err := s.DB.Epoch(ctx); err == nil && epoch != s.epoch {
				return errFenced
			}
		case <-s.noticed:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.fleet.askOthers(time.Now())
		for _, g := range s.fleet.silent(time.Now()) {
			s.declareGone(ctx, g)
		}
	}
}

// declareGone tells every live execution that a node is away or lost.
func (s *Server) declareGone(ctx context.Context, g goneNode) {
	for _, d := range s.fleet.liveDrives() {
		if err := d.post(ctx, input{event: g.event()}); err != nil && ctx.Err() != nil {
			return
		}
	}
}
