package worker

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"stint"
)

// item is something the slot does in its turn: exactly one of setup, segment
// and job is set.
type item struct {
	setup   *Setup
	segment *SegmentFiles
	job     *Perform
	order   *Order // of job
	files   []*os.File
}

// queue holds what the agent sent and the slot has not begun. One goroutine
// receives, one takes.
type queue struct {
	wake chan struct{} // has an element when something came since the queue was empty

	mu      sync.Mutex
	items   []item
	head    int
	current item
	ending  *ending // of current; nil: not begun
	dropped bool    // current is not to begin
	awaited string  // name of the part that is to be stored; empty: none
	stored  chan *Stored
}

var errStopped = errors.New("the agent asked for it to stop")

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// receive fills the queue until the connection ends, and returns why.
func (q *queue) receive(conn *Conn) error {
	for {
		m, files, err := conn.Receive()
		if err != nil {
			return err
		}
		if err := q.accept(conn, m, files); err != nil {
			closeAll(files)
			return err
		}
	}
}

func (q *queue) accept(conn *Conn, m Message, files []*os.File) error {
	switch {
	case m.Setup != nil:
		q.add(item{setup: m.Setup})
	case m.Segment != nil:
		if len(files) != 2 {
			return fmt.Errorf("segment %d came with %d descriptors, not 2", m.Segment.ID, len(files))
		}
		q.add(item{segment: m.Segment, files: files})
	case m.Perform != nil:
		return q.addOrders(m.Perform, files)
	case m.Stored != nil:
		q.deliver(m.Stored)
	case m.Stop != nil:
		if dropped := q.stop(m.Stop); dropped != nil {
			return conn.Send(Message{Events: &Events{Dropped: []stint.Returned{{Job: m.Stop.Job, Ops: dropped}}}}, nil)
		}
	}
	return nil
}

func (q *queue) addOrders(p *Perform, files []*os.File) error {
	want := 0
	for i := range p.Orders {
		if p.Orders[i].Files < 0 {
			return fmt.Errorf("operation %d has %d descriptors", p.Orders[i].Op, p.Orders[i].Files)
		}
		want += p.Orders[i].Files
	}
	if want != len(files) {
		return fmt.Errorf("orders of %s speak of %d descriptors; %d came", p.Job, want, len(files))
	}
	items := make([]item, len(p.Orders))
	for i := range p.Orders {
		o := &p.Orders[i]
		items[i] = item{job: p, order: o, files: files[:o.Files:o.Files]}
		files = files[o.Files:]
	}
	q.add(items...)
	return nil
}

func (q *queue) add(items ...item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, items...)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the next item, false if there is none. An order is the current
// one from here to finished.
func (q *queue) take() (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		return item{}, false
	}
	it := q.items[q.head]
	q.items[q.head] = item{}
	q.head++
	q.current = it
	return it, true
}

// begin says how the current order is ended. It reports false if the order was
// dropped meanwhile.
func (q *queue) begin(e *ending) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.dropped {
		q.ending = e
	}
	return !q.dropped
}

func (q *queue) finished() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.current, q.ending, q.dropped = item{}, nil, false
}

// stop has the current order end in time and drops those that wait, where they
// are of the job. It returns those dropped.
func (q *queue) stop(s *Stop) (dropped []stint.Range) {
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := q.items[:q.head]
	for i := q.head; i < len(q.items); i++ {
		it := &q.items[i]
		if it.job == nil || it.job.Job != s.Job {
			kept = append(kept, *it)
			continue
		}
		closeAll(it.files)
		dropped = stint.AddToRanges(dropped, it.order.Op)
	}
	clear(q.items[len(kept):])
	q.items = kept
	switch {
	case s.Waiting || q.current.job == nil || q.current.job.Job != s.Job || q.dropped:
	case q.ending != nil:
		q.ending.stop(time.Duration(s.Grace) * time.Millisecond)
	default:
		q.dropped = true
		dropped = stint.AddToRanges(dropped, q.current.order.Op)
	}
	return dropped
}

// close drops everything that waits.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.items {
		closeAll(q.items[i].files)
	}
	q.items, q.head = nil, 0
}
