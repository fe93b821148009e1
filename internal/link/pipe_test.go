package link_test

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// network is a listener and a dialer over buffered connections in memory, which
// let the clock of a bubble advance.
type network struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newNetwork() *network {
	return &network{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (*network) Addr() net.Addr { return memAddr{} }

// dial returns the client's end and gives the other to Accept.
func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := newHalf(), newHalf()
	select {
	case n.conns <- &memConn{in: a, out: b}:
		return &memConn{in: b, out: a}, nil
	case <-n.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type memAddr struct{}

func (memAddr) Network() string { return "mem" }
func (memAddr) String() string  { return "127.0.0.1:1" }

// half is one direction: an unbounded buffer.
type half struct {
	mu       sync.Mutex
	cond     *sync.Cond
	data     []byte
	closed   bool
	mute     bool // writes vanish, as on a cut cable
	deadline time.Time
}

func newHalf() *half {
	h := &half{}
	h.cond = sync.NewCond(&h.mu)
	return h
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case !h.deadline.IsZero() && !time.Now().Before(h.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(h.data) > 0:
			n := copy(p, h.data)
			h.data = h.data[n:]
			return n, nil
		case h.closed:
			return 0, io.EOF
		}
		h.cond.Wait()
	}
}

func (h *half) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, io.ErrClosedPipe
	}
	if !h.mute {
		h.data = append(h.data, p...)
	}
	h.cond.Broadcast()
	return len(p), nil
}

func (h *half) set(change func(*half)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
	h.cond.Broadcast()
}

type memConn struct{ in, out *half }

func (c *memConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (*memConn) LocalAddr() net.Addr           { return memAddr{} }
func (*memConn) RemoteAddr() net.Addr          { return memAddr{} }

func (c *memConn) Close() error {
	c.in.set(func(h *half) { h.closed = true })
	c.out.set(func(h *half) { h.closed = true })
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (*memConn) SetWriteDeadline(time.Time) error { return nil } // writes never block

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.set(func(h *half) { h.deadline = t })
	if d := time.Until(t); !t.IsZero() && d > 0 {
		time.AfterFunc(d, func() { c.in.set(func(*half) {}) })
	}
	return nil
}

// cut makes both directions swallow what is written, without any error.
func (c *memConn) cut() {
	c.in.set(func(h *half) { h.mute = true })
	c.out.set(func(h *half) { h.mute = true })
}
