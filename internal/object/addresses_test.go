package object

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A machine that is cut off without a word does not answer, and the answer to a
// request that copies a lot may take long: the connection tells the two apart.
func TestConnectionsEndWhenTheOtherMachineIsSilent(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nobody is served
	c, err := newTransport(Addresses{Private: true}, nil).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // nothing was written
	raw, err := c.(livingConn).Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	millis := 0
	if controlErr := raw.Control(func(fd uintptr) {
		millis, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
	}); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	if int64(millis) != answerWait.Milliseconds() {
		t.Errorf("it ends after %d ms without a word, want %v", millis, answerWait)
	}
}
