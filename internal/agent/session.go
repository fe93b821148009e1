package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/link"
	"stint/internal/object"
)

// Refused is the error of a node that its service will have nothing to do with any
// more: it was removed, and its folder is never welcome again.
type Refused struct {
	Attached bool // it was welcome until then
	Err      error
}

func (r *Refused) Error() string { return r.Err.Error() }

func (r *Refused) Unwrap() error { return r.Err }

// keepAttached dials the server, serves the session to its end, waits, and so on
// until ctx is done, or the server refuses this node for good. It ends, with
// [stint.Unavailable], when the server knows a later start of a node that was not welcome
// yet: the clock of that one was ahead, or the folder was put back from a copy, and
// the next start will be welcome. Of a node that was welcome the later start is on
// a copy of its folder: if both began anew they would take turns for ever, so this one
// goes on asking.
//
// A session that ends sooner than the wait before the next one counts as a failure: a
// server that welcomes everybody and ends every session is not dialled all the time.
func (s *site) keepAttached(ctx context.Context, dialer *link.Dialer) error {
	welcome, outrun := false, stint.Incarnation(0)
	for failures := 0; ; failures++ {
		if wait(ctx, link.Backoff(failures, rand.Float64())) != nil { //nolint:gosec // jitter
			return nil //nolint:nilerr // ctx has ended
		}
		began := time.Now()
		attached, err := s.attach(ctx, dialer)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // ctx has ended
		}
		welcome = welcome || attached
		if _, removed := errors.AsType[*stint.NodeRemoved](err); removed {
			return &Refused{Attached: welcome, Err: err}
		}
		if stint.CodeOf(err) == stint.Denied { // it is not who the server takes it for
			return err
		}
		if stale, ok := errors.AsType[*stint.StaleIncarnation](err); ok && stale.Known != outrun {
			outrun = stale.Known
			err := errors.Join(fmt.Errorf("%w; the next start on this folder is the latest", stale), s.folder.outrun(outrun))
			if !welcome {
				return &stint.Error{Code: stint.Unavailable, Err: err}
			}
			s.logger.ErrorContext(ctx, "two agents use copies of one data folder: end one of them and give it a folder of its own", "path", s.folder.dir, "incarnation", outrun, "err", err)
		}
		if attached && time.Since(began) >= link.Backoff(failures+1, 0) {
			failures = 0
		}
		if attached || failures == 0 {
			s.logger.WarnContext(ctx, "server not reached", "addr", dialer.URL, "err", err)
		} else {
			s.logger.DebugContext(ctx, "server not reached", "addr", dialer.URL, "count", failures, "err", err)
		}
	}
}

// attach makes one session and serves it to its end. It reports whether the
// server welcomed this node.
func (s *site) attach(ctx context.Context, dialer *link.Dialer) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer := make(chan link.Hello, 1)
	s.post(&helloWanted{answer: answer})
	var hello link.Hello
	select {
	case hello = <-answer:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	session, welcome, err := dialer.Dial(ctx, hello)
	if err != nil {
		return false, err
	}
	defer session.Close()
	learn := s.credentials()
	learn(welcome.Credentials)
	storage, err := s.agent.Access.FindStorage(ctx, welcome.Storage)
	if err != nil { // whatever it is: rights are mended and keys renewed, and the server has refused nothing
		return true, stint.Errorf(stint.Unavailable, "system storage: %w", err)
	}
	s.logger.InfoContext(ctx, "attached", "addr", dialer.URL, "node", hello.Node, "incarnation", hello.Incarnation)
	out := make(chan link.AgentMessage, 64)
	s.post(&attached{out: out, storage: storage})
	defer s.post(&detached{out: out})
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer cancel() // ends Receive
		return sendAll(gctx, session, out)
	})
	g.Go(func() error {
		for {
			m, err := session.Receive()
			if err != nil {
				return err
			}
			if m.Credentials != nil {
				learn(m.Credentials)
				continue
			}
			s.post(&arrived{message: m})
		}
	})
	return true, g.Wait()
}

// credentials returns what takes the sets of credentials that the server of a
// session tells: the latest count.
func (s *site) credentials() func(*link.Credentials) {
	var known uint64
	return func(c *link.Credentials) {
		if c != nil && c.Version >= known {
			known = c.Version
			s.agent.Access.SetCredentials(c.Sets)
		}
	}
}

func sendAll(ctx context.Context, session *link.AgentSession, out <-chan link.AgentMessage) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-out:
			if err := session.Send(m); err != nil {
				return err
			}
		}
	}
}

// helloWanted asks for what this node says when it attaches.
type helloWanted struct{ answer chan<- link.Hello }

func (h *helloWanted) apply(l *loop, _ time.Time) {
	hello := l.hello
	hello.Holdings = l.ledger.Holdings()
	h.answer <- hello // has room for one
}

// attached says that there is a session. Reports that are not acknowledged are
// sent again in it, in order, before new ones.
type attached struct {
	out     chan<- link.AgentMessage
	storage *object.Storage
}

func (a *attached) apply(l *loop, _ time.Time) {
	l.session = session{out: a.out}
	l.storage = a.storage
	l.storages.welcome(a.storage)
	l.beat = time.Time{}
	for _, e := range l.executions {
		e.told = told{}
	}
}

// detached says that a session has ended.
type detached struct{ out chan<- link.AgentMessage }

func (d *detached) apply(l *loop, now time.Time) {
	if l.session.out == d.out {
		l.session = session{away: now}
	}
}
