package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stint/internal/auth"
	"stint/internal/memnet"
)

const bubblePort = "127.0.0.1:7843"

// port is a port on a network in memory that serveHTTP serves.
type port struct {
	net   *memnet.Network
	trust *tls.Config
	stop  func() error // ends it and waits for that
}

// servePort serves a handler until stop is called.
func servePort(t *testing.T, handler http.Handler) *port {
	t.Helper()
	ca, err := auth.LoadOrCreateCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config, err := ca.ServerTLS([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	p := &port{net: memnet.New(), trust: &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}}
	p.trust.RootCAs.AppendCertsFromPEM(ca.PEM())
	listener, err := p.net.Listen(bubblePort)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serveHTTP(ctx, listener, config, handler) }()
	p.stop = func() error {
		cancel()
		return <-served
	}
	synctest.Wait()
	return p
}

// dial connects and says text; the answer is not read.
func (p *port) dial(t *testing.T, text string) net.Conn {
	t.Helper()
	raw, err := p.net.DialContext(t.Context(), "tcp", bubblePort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	if text == "" {
		return raw
	}
	c := tls.Client(raw, p.trust)
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBubbleARequestInProgressIsAnsweredBeforeTheServiceEnds(t *testing.T) {
	t.Parallel()
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			p := servePort(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-r.Context().Done() // the service is to end
				<-time.After(drainTime / 2)
				fmt.Fprint(w, "committed") //nolint:errcheck // a test's own client
			}))
			c := p.dial(t, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			synctest.Wait()
			began := time.Now()
			if err := p.stop(); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took < drainTime/2 {
				t.Errorf("it ended after %v, and the request was in progress", took)
			}
			if b, err := io.ReadAll(c); err != nil || len(b) < 9 || string(b[len(b)-9:]) != "committed" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func TestBubbleAServiceEndsInTimeWhoeverIsConnected(t *testing.T) {
	t.Parallel()
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			var handlers sync.WaitGroup
			p := servePort(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handlers.Add(1)
				defer handlers.Done()
				_, _ = io.Copy(io.Discard, r.Body)
				for line := make([]byte, 1<<16); ; {
					if _, err := w.Write(line); err != nil {
						return
					}
				}
			}))
			p.dial(t, "")                                                            // says nothing
			p.dial(t, "GET / HTT")                                                   // half of a request
			p.dial(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf") // half of a body
			p.dial(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")                           // does not read the answer
			synctest.Wait()
			began := time.Now()
			if err := p.stop(); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > drainTime {
				t.Errorf("it took %v", took)
			}
			handlers.Wait()
		})
	}
}
