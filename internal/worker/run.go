package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"stint"
	"stint/internal/shuffle"
)

// Runner performs attempts. It is called by one goroutine, for one attempt at a
// time, always on the same thread, and leaves nothing running when it returns.
//
// in yields the operation's input as text and out takes its output as text. A
// runner may ask whether in is a [shuffle.Source], as it is for a stage behind a
// shuffle, and out a [shuffle.Sink], as it is for one before, and pass records. Of
// a source it may ask, by Edge() int, over which edge the last record came: that of
// Input is 0, that of Beside[i] is i+1. It need not read all. When ctx is done it returns soon. The code of its error
// says whose fault it is; errors of in and out are returned as they are, and an
// error that wraps [stint.ExitError] says how a process ended.
type Runner interface {
	Perform(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error
}

// Worker is a slot's process: what it can perform. It is frozen once it runs.
type Worker struct {
	Command    Runner                             // for actions that are commands
	Native     Runner                             // for actions that are built-in operators
	SDK        Runner                             // for actions that speak frames; nil: there are none. An [io.Closer] is closed in the end
	Combiners  map[string]func() shuffle.Combiner // built-in operators that combine while sorting
	CheckInput func(*os.File, stint.Object) error // says whether an opened object still is the listed one
	Trials     int                                // most of one operation in the search for bad records; 0: 20 000
}

// Run performs what the agent orders over conn, which it closes, until the
// agent closes it or ctx is done; what is in progress then is stopped. The error
// is nil if the agent closed, and otherwise says why this slot cannot go on:
// above all that its log cannot be written.
func (w *Worker) Run(ctx context.Context, conn *Conn) error {
	runtime.LockOSThread() // processes die with the thread that started them
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := newQueue()
	received := make(chan error, 1)
	go func() {
		err := q.receive(conn)
		cancel(stint.Errorf(stint.Canceled, "its execution has ended, or the agent is gone"))
		received <- err
	}()
	s := &slot{worker: w, queue: q, journal: newJournal(conn)}
	err := s.serve(ctx)
	s.close()
	err = errors.Join(err, conn.Close())
	rerr := <-received
	q.close()
	switch {
	case errors.Is(rerr, io.EOF):
		return nil
	case errors.Is(rerr, net.ErrClosed): // by us
		return err
	}
	return errors.Join(rerr, err)
}

// serve takes one item after another off the queue.
func (s *slot) serve(ctx context.Context) error {
	for {
		it, ok := s.queue.take()
		if !ok {
			if err := s.journal.idle(); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-s.queue.wake:
			}
			continue
		}
		if err := s.handle(ctx, &it); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func (s *slot) handle(ctx context.Context, it *item) error {
	switch {
	case it.setup != nil:
		return s.begin(it.setup)
	case it.segment != nil:
		return s.useSegment(it.segment, it.files)
	case s.blocks == nil:
		closeAll(it.files)
		return fmt.Errorf("operation %d was ordered before setup and segment", it.order.Op)
	}
	octx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	end := &ending{kill: cancel}
	defer end.over()
	defer s.queue.finished()
	if !s.queue.begin(end) {
		closeAll(it.files)
		return nil
	}
	return s.perform(octx, it, end)
}
