package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"stint"
	"stint/internal/worker"
)

// What reads from the worker may see that the connection is closed before why it was closed is known.
func TestAWorkerThatHasNothingMoreToDoHasNotDied(t *testing.T) {
	t.Parallel()
	for range 5000 {
		for want, end := range map[error]func(*process){errClosed: (*process).finish, errOverdue: (*process).abandon} {
			p, conn, theirs := conversation(t)
			end(p)
			if err := p.converse(t.Context(), conn); !errors.Is(err, want) || errors.Is(err, net.ErrClosed) {
				t.Fatalf("it ended with %v, want %v", err, want)
			}
			_ = theirs.Close()
		}
	}
}

func TestAWorkerThatGoesAwayByItselfHasDied(t *testing.T) {
	t.Parallel()
	p, conn, theirs := conversation(t)
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.converse(t.Context(), conn); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("it ended with %v", err)
	}
}

// unreadable is a file of which every read is an EIO.
const unreadable = "/proc/self/mem"

// logOf makes a log which says that operation 0 of job 1 has completed, and has its
// place taken by what cannot be read.
func logOf(t *testing.T, l *loop) (path string) {
	t.Helper()
	_, data, log, err := l.store.CreateSegment(execX)
	if err != nil {
		t.Fatal(err)
	}
	path = log.Name()
	_, err = log.Write(must(worker.AppendRecord(nil, worker.Record{Done: &worker.DoneRecord{Job: 1}}))(t))
	if err = errors.Join(err, log.Close(), data.Close(), os.Rename(path, path+".away"), os.Symlink(unreadable, path)); err != nil {
		t.Fatal(err)
	}
	return path
}

// An operation that completed is not performed again since its worker died while the
// disk did not read its log.
func TestTheLogOfAWorkerThatDiedIsReadOnceItCanBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := logOf(t, newTestLoop(t))
		posted := make(chan notice, 2*mostLooks)
		p := &process{execution: execX, logs: []string{path}, post: func(n notice) { posted <- n }}
		told := func() (n int) {
			for len(posted) > 0 {
				n += len((<-posted).(*workerTold).events.Records)
			}
			return n
		}
		ended := make(chan error)
		go func() { ended <- p.retell(t.Context()) }()
		synctest.Wait() // until it has looked, and waits
		equal(t, "told of a log that cannot be read", told(), 0)
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		equal(t, "told", told(), 1)
		if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := p.retell(t.Context()); stint.CodeOf(err) != stint.Invalid || time.Since(start) > 0 {
			t.Errorf("an altered log: %v after %s", err, time.Since(start))
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := p.retell(t.Context()); !errors.Is(err, os.ErrNotExist) || time.Since(start) > 0 {
			t.Errorf("no log: %v after %s", err, time.Since(start))
		}
	})
}

func TestALogIsWaitedForWhileTheSystemIsShortOfSomething(t *testing.T) {
	t.Parallel()
	gone := &os.PathError{Op: "open", Path: "/x", Err: syscall.ENOENT}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&os.PathError{Op: "open", Path: "/x", Err: syscall.EMFILE}, true},
		{syscall.ENFILE, true},
		{syscall.ENOMEM, true},
		{syscall.EIO, true},
		{syscall.ESTALE, true}, // of a disk in the network
		{fmt.Errorf("read: %w", errors.Join(gone, &os.PathError{Op: "read", Path: "/x", Err: syscall.ENOTCONN})), true},
		{context.Canceled, true},
		{gone, false},
		{errors.Join(gone, syscall.EMFILE), true}, // of two logs
		{syscall.EACCES, false},
		{stint.Errorf(stint.Invalid, "log is not what its name says"), false},
	} {
		if got := mayBeRead(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

// While the log of a worker that died cannot be read, what that had taken waits for it,
// since it may have completed. All else goes to others.
func TestAWorkerThatDiedIsHandedNothingMore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		readable bool // in the end
		abandon  bool // the operations had to end long ago
		waiting  int  // operations in the end, of three
	}{
		"until its log is read":                  {readable: true, waiting: 2},
		"until it is abandoned":                  {abandon: true, waiting: 3},
		"and its log is read as it is abandoned": {readable: true, abandon: true, waiting: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newTestLoop(t, grant(execX, 1, 0, 3))
				run, _ := l.ledger.Next(execX, 3)
				e, s, released := l.execution(execX), l.slots[0], 0
				e.tasks++
				path := logOf(t, l)
				posted := make(chan notice, 2*mostLooks)
				hear := func() {
					for len(posted) > 0 {
						(<-posted).apply(l, time.Now())
					}
				}
				p := &process{execution: execX, logs: []string{path}, orders: make(chan batch, maxDepth), post: func(n notice) { posted <- n }}
				p.setup.Dir = filepath.Join(path+".away", "slot") // no worker can be started there
				s.execution, s.process, s.ready, s.told = execX, p, true, 1
				s.queue = []handed{{1, 0}, {1, 1}, {1, 2}}
				p.orders <- batch{perform: worker.Perform{Job: run.Grant.Job, Orders: []worker.Order{{Op: 2}}}, release: []func(){func() { released++ }}}
				ended, start := make(chan struct{}), time.Now()
				go func() {
					p.run(t.Context())
					close(ended)
				}()
				synctest.Wait() // until it has looked at the log, and waits
				hear()
				equal(t, "in its hands", fmt.Sprint(s.queue), "[{1 0} {1 1}]")
				if s.process != p || s.ready || released != 1 || l.ledger.WaitingIn(execX, 1) != 1 {
					t.Errorf("takes orders: %v, %d released, %d are to be handed out", s.ready, released, l.ledger.WaitingIn(execX, 1))
				}
				if c.readable {
					if err := os.Rename(path+".away", path); err != nil {
						t.Fatal(err)
					}
				}
				if c.abandon {
					p.abandon()
				}
				<-ended
				hear()
				if s.process != nil || l.ledger.WaitingIn(execX, 1) != c.waiting || c.abandon && time.Since(start) > 0 {
					t.Errorf("after %s %d are to be handed out", time.Since(start), l.ledger.WaitingIn(execX, 1))
				}
				if r, ok := l.ledger.Report(execX); ok != c.readable || ok && len(r.Done) != 1 {
					t.Errorf("reported: %+v", r)
				}
			})
		})
	}
}

// conversation returns a process with both ends of its connection.
func conversation(t *testing.T) (*process, *worker.Conn, io.Closer) {
	t.Helper()
	conn, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	return &process{orders: make(chan batch)}, conn, theirs
}
