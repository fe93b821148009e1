package memnet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"stint/internal/memnet"
)

const port = "127.0.0.1:7000"

// pair returns both ends of a connection.
func pair(t *testing.T) (n *memnet.Network, dialled, accepted net.Conn) {
	t.Helper()
	n = memnet.New()
	l, err := n.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	accept := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accept <- c
	}()
	dialled, err = n.DialContext(t.Context(), "tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	return n, dialled, <-accept
}

func TestBytesArriveInOrderAndThenTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t)
		go func() {
			for _, text := range []string{"one ", "two ", "three"} {
				if _, err := a.Write([]byte(text)); err != nil {
					t.Error(err)
				}
			}
			_ = a.Close()
		}()
		got, err := io.ReadAll(b)
		if string(got) != "one two three" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("written to an end that is closed: %v", err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read from an end that is closed: %v", err)
		}
		if n.Open(port) != 0 {
			t.Errorf("%d connections are open", n.Open(port))
		}
	})
}

func TestWhoWritesToAPeerThatDoesNotReadWaitsUntilTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		start := time.Now()
		_ = a.SetWriteDeadline(start.Add(3 * time.Second))
		n, err := a.Write(make([]byte, 1<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == 1<<20 || time.Since(start) != 3*time.Second {
			t.Errorf("%d bytes, %v after %v", n, err, time.Since(start))
		}
		if _, err := io.ReadFull(b, make([]byte, n)); err != nil {
			t.Error(err)
		}
		_ = b.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 4*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		_ = a.SetWriteDeadline(time.Time{})
		if _, err := a.Write([]byte("x")); err != nil {
			t.Errorf("after the deadline was lifted: %v", err)
		}
	})
}

func TestACutConnectionSaysNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, a, b := pair(t)
		n.Cut(port)
		if _, err := a.Write(make([]byte, 1<<20)); err != nil {
			t.Error(err)
		}
		_ = a.Close()
		_ = b.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		if _, err := b.Write([]byte("x")); err != nil {
			t.Errorf("written to a peer that is gone: %v", err)
		}
	})
}

func TestAPortAnswersRefusesOrIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		if _, err := n.DialContext(t.Context(), "tcp", port); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		l, err := n.Listen(port)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen(port); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("taken twice: %v", err)
		}
		n.Silence(port, true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if _, err := n.DialContext(ctx, "tcp", port); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("silent: %v after %v", err, time.Since(start))
		}
		if got := n.Dialled(port); len(got) != 2 {
			t.Errorf("dialled %v", got)
		}
		n.Silence(port, false)
		_ = l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
	})
}
