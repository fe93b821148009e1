package link

import (
	"context"
	"sync"

	"stint"
)

// outbox is the bounded queue of a session. Any goroutine adds, one takes.
type outbox struct {
	mu     sync.Mutex
	queue  []*encoded
	bytes  int
	closed bool
	wake   chan struct{} // holds a value when there may be something to take
}

func (o *outbox) init() { o.wake = make(chan struct{}, 1) }

// add queues m. The error says that the queue is full or closed.
func (o *outbox) add(m *encoded) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return stint.Errorf(stint.Unavailable, "the session has ended")
	}
	if len(o.queue) >= maxQueue || o.bytes+len(m.bytes) > maxQueued {
		return stint.Errorf(stint.Unavailable, "agent is too slow: %d messages of %d bytes are queued; limits %d and %d",
			len(o.queue), o.bytes, maxQueue, maxQueued)
	}
	o.queue = append(o.queue, m)
	o.bytes += len(m.bytes)
	o.signal()
	return nil
}

// close lets next return nil once everything is taken.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// next waits for a message and takes it. It returns nil when ctx has ended, or
// the outbox is closed and empty.
func (o *outbox) next(ctx context.Context) *encoded {
	for {
		m, more := o.take()
		if m != nil || !more {
			return m
		}
		select {
		case <-ctx.Done():
			return nil
		case <-o.wake:
		}
	}
}

func (o *outbox) take() (m *encoded, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		o.queue = nil // the array of a burst is not kept
		return nil, !o.closed
	}
	m = o.queue[0]
	o.queue[0] = nil
	o.queue = o.queue[1:]
	o.bytes -= len(m.bytes)
	return m, true
}
