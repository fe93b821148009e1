package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// room is how many bytes are on the way in one direction at the most.
const room = 256 << 10

// half is one direction of a connection.
type half struct {
	mu      sync.Mutex
	changed *sync.Cond
	data    []byte
	closed  bool // by the end that writes: what is on the way is read yet
	broken  bool // by the end that reads
	mute    bool // what is written vanishes
	read    deadline
	write   deadline
}

// deadline is until when one waits, and what wakes who waits then.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newHalf() *half {
	h := &half{}
	h.changed = sync.NewCond(&h.mu)
	return h
}

func (h *half) take(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.broken:
			return 0, net.ErrClosed
		case h.read.passed():
			return 0, os.ErrDeadlineExceeded
		case len(h.data) > 0:
			n := copy(p, h.data)
			h.data = h.data[n:]
			h.changed.Broadcast()
			return n, nil
		case h.closed && !h.mute:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *half) put(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.closed:
			return n, net.ErrClosed
		case h.write.passed():
			return n, os.ErrDeadlineExceeded
		case h.broken && !h.mute:
			return n, syscall.EPIPE
		}
		fits := len(p) - n
		if !h.mute {
			fits = min(fits, room-len(h.data))
			h.data = append(h.data, p[n:n+fits]...)
		}
		if n += fits; fits > 0 {
			h.changed.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		h.changed.Wait()
	}
}

func (h *half) set(change func(*half)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
	h.changed.Broadcast()
}

// limit sets one of the deadlines.
func (h *half) limit(which func(*half) *deadline, at time.Time) {
	h.set(func(h *half) {
		d := which(h)
		if d.timer != nil {
			d.timer.Stop()
		}
		d.at, d.timer = at, nil
		if left := time.Until(at); !at.IsZero() && left > 0 {
			d.timer = time.AfterFunc(left, func() { h.set(func(*half) {}) })
		}
	})
}

func readDeadline(h *half) *deadline  { return &h.read }
func writeDeadline(h *half) *deadline { return &h.write }

// conn is one end of a connection.
type conn struct {
	in, out       *half
	local, remote net.Addr
	forget        func(*conn)
}

func (c *conn) Read(p []byte) (int, error)  { return c.in.take(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.put(p) }
func (c *conn) LocalAddr() net.Addr         { return c.local }
func (c *conn) RemoteAddr() net.Addr        { return c.remote }

// Close ends both directions. Through a cut cable the peer learns nothing of it.
func (c *conn) Close() error {
	c.in.set(func(h *half) { h.broken = true })
	c.out.set(func(h *half) { h.closed = true })
	c.forget(c)
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t) // it always succeeds
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.limit(readDeadline, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.limit(writeDeadline, t)
	return nil
}
