package agent

import (
	"errors"
	"io"
	"net"
	"os"
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

// An operation that completed is not performed again since its worker died while this
// node had no descriptor left to open the log.
func TestTheLogOfAWorkerThatDiedIsReadOnceItCanBeOpened(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newTestLoop(t)
		id, data, log, err := l.store.CreateSegment(execX)
		if err != nil {
			t.Fatal(err)
		}
		path := log.Name()
		_, err = log.Write(must(worker.AppendRecord(nil, worker.Record{Done: &worker.DoneRecord{Job: 1, Op: stint.OpDone{Op: 7}}}))(t))
		if err = errors.Join(err, log.Close(), data.Close(), os.Rename(path, path+".away"), os.Symlink(path, path)); err != nil {
			t.Fatal(err)
		}
		told := 0
		p := &process{execution: execX, segments: []uint32{id}, logs: []string{path}, post: func(n notice) {
			told += len(n.(*workerTold).events.Records)
		}}
		ended := make(chan error)
		go func() { ended <- p.retell(t.Context()) }()
		synctest.Wait() // until it has looked, and waits
		equal(t, "told of a log that cannot be opened", told, 0)
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		equal(t, "told", told, 1)
		if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := p.retell(t.Context()); stint.CodeOf(err) != stint.Invalid || time.Since(start) > 0 {
			t.Errorf("an altered log: %v after %s", err, time.Since(start))
		}
	})
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
