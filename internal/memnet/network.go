package memnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Network is a set of ports and the connections between them. The zero value is
// not one: see [New].
type Network struct {
	mu       sync.Mutex
	ports    map[string]*listener
	silent   map[string]bool
	dialled  map[string][]time.Time
	open     map[*conn]string // the dialling ends, and what they dialled
	lastPort uint16
}

// New returns a network at which nobody listens.
func New() *Network {
	return &Network{
		ports: make(map[string]*listener), silent: make(map[string]bool), dialled: make(map[string][]time.Time),
		open: make(map[*conn]string), lastPort: 40000,
	}
}

// Listen takes a port, as 127.0.0.1:7000; nobody else may have it.
func (n *Network) Listen(address string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports[address] != nil {
		return nil, fmt.Errorf("listen at %s: %w", address, syscall.EADDRINUSE)
	}
	l := &listener{network: n, address: net.TCPAddrFromAddrPort(at), conns: make(chan net.Conn), closed: make(chan struct{})}
	n.ports[address] = l
	return l, nil
}

// DialContext connects to a port. It is what dialers of the standard library are.
func (n *Network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	l, silent := n.dial(address)
	if silent {
		<-ctx.Done()
		return nil, refused(address, ctx.Err())
	}
	if l == nil {
		return nil, refused(address, syscall.ECONNREFUSED)
	}
	ours, theirs := n.pair(l.address)
	select {
	case l.conns <- theirs:
		n.mu.Lock()
		defer n.mu.Unlock()
		n.open[ours] = address
		return ours, nil
	case <-l.closed:
		return nil, refused(address, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, refused(address, ctx.Err())
	}
}

func refused(address string, err error) error {
	return &net.OpError{Op: "dial", Net: "mem", Err: fmt.Errorf("%s: %w", address, err)}
}

// dial notes an attempt and looks who listens.
func (n *Network) dial(address string) (l *listener, silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dialled[address] = append(n.dialled[address], time.Now())
	return n.ports[address], n.silent[address]
}

func (n *Network) pair(to *net.TCPAddr) (ours, theirs *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lastPort++
	from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), n.lastPort))
	there, back := newHalf(), newHalf()
	ours = &conn{in: back, out: there, local: from, remote: to, forget: n.forget}
	theirs = &conn{in: there, out: back, local: to, remote: from, forget: n.forget}
	return ours, theirs
}

func (n *Network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, c)
}

// Dialled returns when a port was dialled, with or without success.
func (n *Network) Dialled(address string) []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]time.Time(nil), n.dialled[address]...)
}

// Silence lets who dials a port wait, or not any more.
func (n *Network) Silence(address string, silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent[address] = silent
}

// Cut makes all connections to a port swallow what is written to them, as a cable
// does that was pulled out.
func (n *Network) Cut(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, to := range n.open {
		if to == address {
			c.in.set(func(h *half) { h.mute = true })
			c.out.set(func(h *half) { h.mute = true })
		}
	}
}

// Break ends all connections to a port, and both ends learn of it.
func (n *Network) Break(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, to := range n.open {
		if to == address {
			c.in.set(func(h *half) { h.closed, h.broken = true, true })
			c.out.set(func(h *half) { h.closed, h.broken = true, true })
		}
	}
}

// Open returns how many connections to a port are open at the end that dialled.
func (n *Network) Open(address string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for _, to := range n.open {
		if to == address {
			count++
		}
	}
	return count
}

// listener is a port that is taken.
type listener struct {
	network *Network
	address *net.TCPAddr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close frees the port.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		delete(l.network.ports, l.address.String())
	})
	return nil
}

func (l *listener) Addr() net.Addr { return l.address }
