package worker

import (
	"fmt"
	"os"
	"sync"
	"time"

	"stint"
	"stint/internal/failpoint"
)

const (
	tellRecords = 256                   // told at once when so many records wait
	tellDelay   = 20 * time.Millisecond // no record waits longer
)

// journal writes the slot's log and tells the agent what is in it. Records are
// added and written by the slot's goroutine; the timer's tells too.
type journal struct {
	conn    *Conn
	log     *os.File
	pending []byte // added and not yet to be told
	added   int    // records in pending
	stored  int    // bytes of pending that are in the log
	failed  error  // of the log: it may end in a torn record

	mu     sync.Mutex
	told   []byte // in the log and not yet told
	count  int    // records in told
	status []stint.StatusText
	timer  *time.Timer
	armed  bool  // the timer runs
	err    error // of the connection
}

func newJournal(conn *Conn) *journal { return &journal{conn: conn} }

// add adds a record to what the next write takes along.
func (j *journal) add(r Record) error {
	var err error
	j.pending, err = AppendRecord(j.pending, r)
	j.added++
	return err
}

// store puts what was added into the log, in one system call. The agent is told with
// the next write. After an error the log may end in a torn record, and nobody reads what
// is behind that: nothing is written to it any more, nor told, and the slot ends.
func (j *journal) store() error {
	if j.failed != nil || j.stored == len(j.pending) {
		return j.failed
	}
	err := failpoint.Error("log.before-write")
	if err == nil {
		_, err = j.log.Write(j.pending[j.stored:])
	}
	if err != nil {
		j.failed = fmt.Errorf("write slot log: %w", err)
		return j.failed
	}
	j.stored = len(j.pending)
	failpoint.Reach("log.after-write-before-telling")
	return nil
}

// write stores what was added, and has the agent told. An error is that of store, or
// that of the connection.
func (j *journal) write() error {
	if len(j.pending) == 0 {
		return nil
	}
	if err := j.store(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.told = append(j.told, j.pending...)
	j.count += j.added
	j.pending, j.added, j.stored = j.pending[:0], 0, 0
	if j.count >= tellRecords {
		return j.tell()
	}
	j.arm()
	return j.err
}

// idle writes and tells everything: there is nothing to do for the slot.
func (j *journal) idle() error {
	if err := j.write(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.tell()
}

// say tells the agent what a program says of itself.
func (j *journal) say(t stint.StatusText) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.status); n > 0 && j.status[n-1].Job == t.Job && j.status[n-1].Op == t.Op {
		j.status[n-1] = t
	} else {
		j.status = append(j.status, t)
	}
	j.arm()
}

// arm lets the timer run if it does not, with the lock held.
func (j *journal) arm() {
	switch {
	case j.armed:
		return
	case j.timer == nil:
		j.timer = time.AfterFunc(tellDelay, j.late)
	default:
		j.timer.Reset(tellDelay)
	}
	j.armed = true
}

func (j *journal) late() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.armed = false
	_ = j.tell() // it is kept, and returned by the next write
}

// tell sends what was not told, with the lock held.
func (j *journal) tell() error {
	if j.armed {
		j.armed = !j.timer.Stop() // one that has fired finds nothing to do
	}
	if j.err != nil || len(j.told) == 0 && len(j.status) == 0 {
		return j.err
	}
	j.err = j.conn.send(packed{Events: true, Log: j.told, Status: j.status}, nil)
	j.told, j.count, j.status = j.told[:0], 0, nil
	return j.err
}

// close ends the timer.
func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.timer != nil {
		j.timer.Stop()
	}
	if j.err == nil {
		j.err = os.ErrClosed
	}
}
