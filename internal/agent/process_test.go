package agent

import (
	"errors"
	"io"
	"net"
	"testing"

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

// conversation returns a process with both ends of its connection.
func conversation(t *testing.T) (*process, *worker.Conn, io.Closer) {
	t.Helper()
	conn, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	return &process{orders: make(chan batch)}, conn, theirs
}
