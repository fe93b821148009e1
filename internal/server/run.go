package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
)

// Run takes over the record and serves until ctx ends; it returns when all that
// it started has ended. An execution whose record cannot be read is left alone
// and logged; the others go on.
func (s *Server) Run(ctx context.Context) error {
	s.Ready()
	epoch, err := s.DB.TakeOver(ctx)
	if err != nil {
		return err
	}
	s.epoch = epoch
	nodes, err := s.DB.Nodes(ctx)
	if err != nil {
		return err
	}
	s.fleet.remember(nodes, time.Now())
	ids, err := s.DB.Unsettled(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.DB.Run(ctx) })
	for _, id := range ids {
		d, err := s.load(ctx, id)
		if err != nil {
			s.Logger.ErrorContext(ctx, "execution quarantined", "execution", string(id), "err", err)
			continue
		}
		s.fleet.add(d)
		group.Go(func() error { return s.runDrive(ctx, d) })
	}
	for _, n := range nodes {
		if n.Status == stint.NodeLost { // perhaps noted just before an end, and not yet told to all
			s.declareGone(ctx, goneNode{id: n.ID, lost: true})
		}
	}
	group.Go(func() error { return s.place(ctx) })
	group.Go(func() error { return s.watchFleet(ctx) })
	close(s.ready)
	for {
		select {
		case d := <-s.starts:
			group.Go(func() error { return s.runDrive(ctx, d) })
		case <-ctx.Done():
			err := group.Wait()
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
	}
}

// start makes a new drive live.
func (s *Server) start(ctx context.Context, d *drive) error {
	nodes := s.fleet.add(d)
	select {
	case s.starts <- d:
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, a := range nodes {
		if err := d.post(ctx, input{event: attachEvent(a, stint.Holding{Execution: d.id})}); err != nil {
			return err
		}
	}
	return nil
}

// runDrive runs a drive until its execution is settled, loading it again as
// often as its state had to be dropped.
func (s *Server) runDrive(ctx context.Context, d *drive) error {
	defer s.fleet.removeDrive(d)
	defer close(d.gone)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := d.run(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		s.lostWork.Add(1)
		s.Logger.WarnContext(ctx, "state dropped", "execution", string(d.id), "err", err)
		for {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil
			}
			if err = s.reload(ctx, d); err == nil {
				break
			}
			if stint.CodeOf(err) == stint.NotFound || stint.CodeOf(err) == stint.Conflict {
				return fmt.Errorf("drive %s: %w", d.id, err)
			}
			wait = min(2*wait, 10*time.Second)
		}
		if d.state.Settled() {
			return nil
		}
		s.fleet.closeSessions("the record of an execution was read again")
	}
}

// reload puts what the record says in place of a state that was dropped.
func (s *Server) reload(ctx context.Context, d *drive) error {
	loaded, err := s.DB.Load(ctx, d.id)
	if err != nil {
		return err
	}
	if loaded.Epoch != s.epoch {
		return stint.Errorf(stint.Conflict, "execution %s is owned in epoch %d, ours is %d", d.id, loaded.Epoch, s.epoch)
	}
	state, err := s.restore(ctx, loaded)
	if err != nil {
		return err
	}
	d.adopt(state, loaded.Snapshot != nil)
	return nil
}

// watchFleet notices silent nodes.
func (s *Server) watchFleet(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, g := range s.fleet.silent(time.Now()) {
				s.declareGone(ctx, g)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
