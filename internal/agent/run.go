package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/link"
)

// run starts the loop and what it talks to, and returns when all of it has ended.
func (s *site) run(ctx context.Context, ledger *Ledger, identity Identity, listener net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	notices := make(chan notice, 256)
	s.post = func(n notice) {
		select {
		case notices <- n:
		case <-ctx.Done():
		}
	}
	s.preparer.missed = func(x stint.ExecutionID, stage int, ops []stint.Range) {
		if err := s.store.Condemn(x, []stint.StageOps{{Stage: stage, Ops: ops}}); err != nil {
			s.logger.ErrorContext(ctx, "damaged blocks not noted", "execution", x, "err", err)
		}
		s.post(&blocksMissed{execution: x, stage: stage, ops: ops})
	}
	s.preparer.bad = func(x stint.ExecutionID, bad stint.BadCopy) {
		s.post(&copySpoiled{execution: x, bad: bad})
	}
	s.open = func() scope {
		ctx, cancel := context.WithCancelCause(ctx)
		return scope{cancel: cancel, start: func(task func(context.Context)) {
			g.Go(func() error {
				task(ctx)
				return nil
			})
		}}
	}
	s.tasks = s.open()
	spawned := make(chan struct{})
	go func() { // outlives the group: its thread is the parent of the workers
		defer close(spawned)
		s.spawner.run()
	}()
	server := s.dataPlane(identity.Serve)
	g.Go(func() error {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	g.Go(func() error { return s.folder.watch(ctx) })
	g.Go(func() error {
		s.cache.watch(ctx, s.post)
		return nil
	})
	g.Go(func() error {
		return s.keepAttached(ctx, &link.Dialer{URL: s.agent.ServerURL, TLS: identity.Link, DialContext: s.agent.network.dial})
	})
	g.Go(func() error {
		newLoop(s, ledger).run(ctx, notices)
		return nil
	})
	err := g.Wait()
	s.spawner.close()
	<-spawned
	return err
}

func newLoop(s *site, ledger *Ledger) *loop {
	l := &loop{site: *s, ledger: ledger, executions: make(map[stint.ExecutionID]*execution), session: session{away: time.Now()}}
	for range s.agent.Slots {
		l.slots = append(l.slots, &slot{})
	}
	return l
}
