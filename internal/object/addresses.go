package object

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stint"
)

// Addresses says which addresses of the network may be reached beside those that
// are public. Link-local ones never may: what answers there answers for the
// machine that asks.
type Addresses struct {
	Private bool           // those of this machine and of private networks
	Allowed []netip.Prefix // of them, if not all
}

// forbidden says why an address must not be reached, nothing if it may be.
func (a Addresses) forbidden(ip netip.Addr) string {
	ip = embedded(ip.Unmap().WithZone(""))
	switch {
	case ip.IsLinkLocalUnicast(), ip.IsMulticast(), slices.Contains(metadata, ip):
		return "link-local"
	case a.Private, slices.ContainsFunc(a.Allowed, func(p netip.Prefix) bool { return p.Contains(ip) }):
		return ""
	case ip.IsLoopback(), ip.IsUnspecified(), thisNetwork.Contains(ip):
		return "of this machine"
	case ip.IsPrivate(), slices.ContainsFunc(private, func(p netip.Prefix) bool { return p.Contains(ip) }):
		return "of a private network"
	}
	return ""
}

//nolint:gochecknoglobals // constants
var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	// private are networks that are none of the public's, beside those that
	// [netip.Addr.IsPrivate] knows.
	private = []netip.Prefix{
		netip.MustParsePrefix("100.64.0.0/10"), // behind the address translation of carriers
		netip.MustParsePrefix("192.0.0.0/24"),
		netip.MustParsePrefix("198.18.0.0/15"),
		netip.MustParsePrefix("fec0::/10"),
	}
	// metadata are addresses beside link-local ones that answer for the machine that asks.
	metadata = []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"),
		netip.MustParseAddr("100.100.100.200"),
		netip.MustParseAddr("168.63.129.16"),
		netip.MustParseAddr("192.0.0.192"),
	}
	// translated are networks whose addresses have one of IPv4 in them, from a byte on.
	translated = []struct {
		prefix netip.Prefix
		at     int
	}{
		{netip.MustParsePrefix("64:ff9b::/96"), 12},
		{netip.MustParsePrefix("64:ff9b:1::/48"), 12},
		{netip.MustParsePrefix("::ffff:0:0:0/96"), 12},
		{netip.MustParsePrefix("::/96"), 12},
		{netip.MustParsePrefix("2002::/16"), 2},
	}
	teredo = netip.MustParsePrefix("2001::/32") // with every bit the other way
)

// embedded returns the IPv4 address that an address of a translated network leads to.
func embedded(ip netip.Addr) netip.Addr {
	if ip.Is4() || ip.IsLoopback() || ip.IsUnspecified() {
		return ip
	}
	b := ip.As16()
	for _, t := range translated {
		if t.prefix.Contains(ip) {
			return netip.AddrFrom4([4]byte(b[t.at : t.at+4]))
		}
	}
	if teredo.Contains(ip) {
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
	}
	return ip
}

// forbiddenAddress is what a dialer says.
type forbiddenAddress struct{ ip, why string }

func (f *forbiddenAddress) Error() string {
	return fmt.Sprintf("resolved to %s, which is %s", f.ip, f.why)
}

// newTransport returns a transport that reaches only what a policy allows. It asks
// when the address is known, so that no name leads around it.
func newTransport(allowed Addresses, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	dialer := net.Dialer{
		Timeout:   15 * time.Second,
		KeepAlive: 15 * time.Second,
		Control: func(_, address string, conn syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return stint.Errorf(stint.Invalid, "forbidden_address: %q is no address", address)
			}
			if why := allowed.forbidden(to.Addr()); why != "" {
				return &forbiddenAddress{to.Addr().String(), why}
			}
			return endUnanswered(conn)
		},
	}
	return &http.Transport{
		Proxy: proxy,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return livingConn{c}, nil
		},
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: answerWait,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   64,
		DisableCompression:    true,
	}
}

// endUnanswered ends a connection of which the other side's machine has not
// acknowledged bytes for a while, however long an answer to them may take.
func endUnanswered(conn syscall.RawConn) error {
	var err error
	if controlErr := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(answerWait.Milliseconds()))
	}); controlErr != nil {
		return controlErr
	}
	return err
}

// livingConn ends a connection that takes no bytes.
type livingConn struct{ net.Conn }

// Write writes, or fails when the other side does not read.
func (c livingConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(answerWait)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
