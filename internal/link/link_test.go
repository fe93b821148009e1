package link_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/link"
	"stint/internal/memnet"
)

const (
	node  = stint.NodeID("n-aaaaaaaaaaaa")
	other = stint.NodeID("n-bbbbbbbbbbbb")
	port  = "127.0.0.1:7000"
)

// authority signs the certificates of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) issue(name string) tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if strings.HasPrefix(name, "n-") {
		template.URIs = []*url.URL{{Scheme: "stint", Host: "node", Path: "/" + name}}
	} else {
		template.IPAddresses = []net.IP{net.ParseIP(name)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func peerNode(cs *tls.ConnectionState) (stint.NodeID, error) {
	if cs == nil || len(cs.VerifiedChains) == 0 {
		return "", stint.Errorf(stint.Denied, "no_credential: a node's certificate is needed")
	}
	return stint.NodeID(strings.TrimPrefix(cs.PeerCertificates[0].URIs[0].Path, "/")), nil
}

// rig is a server on a network in memory, and what is needed to dial it.
type rig struct {
	t    *testing.T
	ca   *authority
	net  *memnet.Network
	last net.Conn // the connection dialled last, the client's end
}

type accept func(context.Context, *link.Session) error

// newRig starts a server; it is gone at the end of the test.
func newRig(t *testing.T, accept accept) *rig {
	t.Helper()
	path, handler := link.NewHandler(peerNode, accept)
	return newRigWith(t, path, handler)
}

func newRigWith(t *testing.T, path string, handler http.Handler) *rig {
	t.Helper()
	r := &rig{t: t, ca: newAuthority(t), net: memnet.New()}
	listener, err := r.net.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	server := &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
		ReadTimeout: time.Second, WriteTimeout: time.Second, // of the API: a session must outlive them
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{r.ca.issue("127.0.0.1")}, MinVersion: tls.VersionTLS13,
			ClientCAs: r.ca.pool(), ClientAuth: tls.VerifyClientCertIfGiven,
		},
	}
	link.ConfigureServer(server)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.ServeTLS(listener, "", "") })
	t.Cleanup(func() {
		_ = server.Close()
		wg.Wait()
	})
	return r
}

func (r *rig) dialer(certs ...tls.Certificate) *link.Dialer {
	return &link.Dialer{
		URL: "https://" + port,
		TLS: &tls.Config{RootCAs: r.ca.pool(), Certificates: certs, MinVersion: tls.VersionTLS13},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := r.net.DialContext(ctx, network, address)
			if err == nil {
				r.last = c
			}
			return c, err
		},
	}
}

func (r *rig) dial(ctx context.Context) *link.AgentSession {
	r.t.Helper()
	s, _, err := r.dialer(r.ca.issue(string(node))).Dial(ctx, hello())
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func hello() link.Hello {
	return link.Hello{
		Version: "1.2.3", Node: node, Name: "node-1", Incarnation: 2, BootID: "b", Slots: 4, Cores: 2,
		Memory: 1 << 30, Address: "127.0.0.1:7001",
		Holdings: []stint.Holding{{
			Execution: "x-1", Jobs: []stint.JobID{1, 7},
			Completed: []stint.StageOps{{Stage: 0, Ops: []stint.Range{{From: 1, To: 9}}}}, LastSeq: 12,
		}},
	}
}

func report(seq uint64) link.AgentMessage {
	return link.AgentMessage{Report: &stint.Report{
		Execution: "x-1", Node: node, Incarnation: 2, Seq: seq,
		Done: []stint.Done{{Job: 1, Ops: []stint.OpDone{{Op: uint32(seq), Start: 1, End: 2}}}},
	}}
}

func welcome(s *link.Session) error {
	return s.Send(link.ServerMessage{Welcome: &link.Welcome{Version: "1.2.3", Epoch: 3, Storage: "file:///s", Time: 5}})
}

// receiveAll reads until the session ends.
func receiveAll(s *link.Session) error {
	for {
		if _, err := s.Receive(); err != nil {
			return err
		}
	}
}

func wantError(t *testing.T, err error, code stint.Code, text string) {
	t.Helper()
	if err == nil || stint.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Fatalf("got %q with code %q; want code %q and %q", err, stint.CodeOf(err), code, text)
	}
}

func TestEveryMessageArrivesAsItWasSentInOrder(t *testing.T) {
	t.Parallel()
	compare := cmp.AllowUnexported(stint.Range{}, stint.OpDone{})
	down := []link.ServerMessage{
		{Spec: &stint.Spec{Execution: "x-1", Program: stint.Program{Name: "p"}, Stages: []stint.StageSpec{{Operations: 4, Partitions: 2}}, Output: "file:///o"}},
		{Grant: &stint.Grant{Execution: "x-1", Job: 3, Ops: stint.Range{From: 2, To: 4}, Attempt: 1, Epoch: 1, Incarnation: 2, Subsets: []stint.Subset{{Values: &stint.Values{First: 1, Count: 5}}}}},
		{Retract: &stint.Retract{Execution: "x-1", Job: 3, Count: 1}},
		{Ack: &link.Ack{Execution: "x-1", Seq: 9, Incarnation: 2}},
		{Resend: &link.Resend{Execution: "x-1", Ops: []stint.StageOps{{Stage: 1, Ops: []stint.Range{{From: 0, To: 1}}}}}},
		{Forget: &link.Forget{Execution: "x-1"}},
		{Errand: &stint.Errand{ID: "e", Kind: stint.ErrandList, Inputs: []string{"a\xff"}}},
	}
	up := []link.AgentMessage{report(1), {Result: &stint.ErrandResult{ID: "e", Error: stint.Errorf(stint.NotFound, "no")}}, {Beat: &link.Beat{Time: 1, Free: 2, Busy: 3}}}
	synctest.Test(t, func(t *testing.T) {
		var gotUp []link.AgentMessage
		var gotHello link.Hello
		r := newRig(t, func(_ context.Context, s *link.Session) error {
			gotHello = s.Hello()
			if err := welcome(s); err != nil {
				return err
			}
			for range up {
				m, err := s.Receive()
				if err != nil {
					return err
				}
				gotUp = append(gotUp, m)
			}
			for _, m := range down {
				if err := s.Send(m); err != nil {
					return err
				}
			}
			return nil
		})
		s, w, err := r.dialer(r.ca.issue(string(node))).Dial(t.Context(), hello())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, m := range up {
			if err := s.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range down {
			got, err := s.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, compare); d != "" {
				t.Error(d)
			}
		}
		if _, err := s.Receive(); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %v", err)
		}
		wantHello := hello()
		wantHello.Protocol = link.Protocol
		if d := cmp.Diff(wantHello, gotHello, compare); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(up, gotUp, compare); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(link.Welcome{Protocol: link.Protocol, Version: "1.2.3", Epoch: 3, Storage: "file:///s", Time: 5}, w); d != "" {
			t.Error(d)
		}
	})
}

func TestRefusedHello(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		cert   string // name in the certificate; "": none
		change func(*link.Hello)
		code   stint.Code
		text   string
	}{
		{"another node", string(other), func(*link.Hello) {}, stint.Denied, "identity_mismatch: the certificate is of node n-bbbbbbbbbbbb"},
		{"no certificate", "", func(*link.Hello) {}, stint.Denied, "no_credential"},
		{"bad node", string(node), func(h *link.Hello) { h.Node = "n-1" }, stint.Invalid, "hello/node"},
		{"no name", string(node), func(h *link.Hello) { h.Name = "" }, stint.Invalid, "hello/name"},
		{"control character in the name", string(node), func(h *link.Hello) { h.Name = "a\x1b[2J" }, stint.Invalid, "hello/name"},
		{"no slots", string(node), func(h *link.Hello) { h.Slots = 0 }, stint.Invalid, "hello/slots"},
		{"no incarnation", string(node), func(h *link.Hello) { h.Incarnation = 0 }, stint.Invalid, "hello/incarnation"},
		{"no port", string(node), func(h *link.Hello) { h.Address = "host" }, stint.Invalid, "hello/address"},
		{"port 0", string(node), func(h *link.Hello) { h.Address = "host:0" }, stint.Invalid, "hello/address"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(context.Context, *link.Session) error {
					t.Error("accepted")
					return nil
				})
				var certs []tls.Certificate
				if test.cert != "" {
					certs = append(certs, r.ca.issue(test.cert))
				}
				h := hello()
				test.change(&h)
				_, _, err := r.dialer(certs...).Dial(t.Context(), h)
				wantError(t, err, test.code, test.text)
			})
		})
	}
}

func TestCertificateOfAnotherClusterIsRefusedInTheHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(context.Context, *link.Session) error {
			t.Error("accepted")
			return nil
		})
		// What the agent reads first is the alert or the closed connection.
		_, _, err := r.dialer(newAuthority(t).issue(string(node))).Dial(t.Context(), hello())
		wantError(t, err, stint.Unavailable, "")
	})
}

func TestAcceptsRefusalReachesTheAgentWithItsCode(t *testing.T) {
	t.Parallel()
	codes := []stint.Code{
		stint.Invalid, stint.NotFound, stint.Conflict, stint.Denied, stint.Unavailable,
		stint.Lost, stint.Failed, stint.Canceled, stint.Unknown, stint.Internal,
	}
	synctest.Test(t, func(t *testing.T) {
		n := 0
		r := newRig(t, func(context.Context, *link.Session) error {
			return stint.Errorf(codes[n], "because of %d", n)
		})
		for n = range codes {
			_, _, err := r.dialer(r.ca.issue(string(node))).Dial(t.Context(), hello())
			wantError(t, err, codes[n], fmt.Sprintf("server: because of %d", n))
		}
	})
}

// A node learns which of its starts is known from a field of the refusal, whatever the text says.
func TestARefusalCarriesTheIncarnationThatIsKnown(t *testing.T) {
	t.Parallel()
	stale := &stint.StaleIncarnation{Node: node, Known: 1_700_000_000_000, Own: 2}
	refused := func(s *link.AgentSession) error {
		_, err := s.Receive()
		s.Close()
		return err
	}
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			what     string
			refusal  error
			welcomed bool
			want     *stint.StaleIncarnation
		}{
			{"instead of a welcome", stint.Errorf(stint.Conflict, "node: %w", stale), false, stale},
			{"behind a welcome", stint.Errorf(stint.Conflict, "%w", stale), true, stale},
			{"the text alone", stint.Errorf(stint.Conflict, "%s", stale.Error()), true, nil},
			{"another conflict", stint.Errorf(stint.Conflict, "node %s has attached again", node), true, nil},
			{"another code", stint.Errorf(stint.Unavailable, "%w", stale), true, nil},
		} {
			r := newRig(t, func(_ context.Context, s *link.Session) error {
				if c.welcomed {
					if err := welcome(s); err != nil {
						return err
					}
				}
				return c.refusal
			})
			s, _, err := r.dialer(r.ca.issue(string(node))).Dial(t.Context(), hello())
			if err == nil {
				err = refused(s)
			}
			wantError(t, err, stint.CodeOf(c.refusal), "server: ")
			got, _ := errors.AsType[*stint.StaleIncarnation](err)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s: %v: %s", c.what, err, d)
			}
		}
	})
}

func TestMessagesThatMustNotBeEndTheSession(t *testing.T) {
	t.Parallel()
	h := hello()
	wrongNode, future, unnumbered := report(1), report(1), report(1)
	wrongNode.Report.Node = other
	future.Report.Incarnation = 3
	unnumbered.Report.Seq = 0
	tests := []struct {
		name string
		m    link.AgentMessage
		code stint.Code
		text string
	}{
		{"report of another node", wrongNode, stint.Denied, "identity_mismatch"},
		{"report of a later incarnation", future, stint.Invalid, "report/incarnation"},
		{"report without a number", unnumbered, stint.Invalid, "report/seq"},
		{"second hello", link.AgentMessage{Hello: &h}, stint.Invalid, "second hello"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ context.Context, s *link.Session) error {
					if err := welcome(s); err != nil {
						return err
					}
					return receiveAll(s)
				})
				s := r.dial(t.Context())
				defer s.Close()
				if err := s.Send(test.m); err != nil {
					t.Fatal(err)
				}
				_, err := s.Receive()
				wantError(t, err, test.code, test.text)
			})
		})
	}
}

func TestOversizedAndMalformedMessagesAreRefusedToTheirAuthor(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", link.MaxMessage)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, s *link.Session) error {
			if err := welcome(s); err != nil {
				return err
			}
			wantError(t, s.Send(link.ServerMessage{Errand: &stint.Errand{Output: big}}), stint.Invalid, "message_too_large")
			wantError(t, s.Send(link.ServerMessage{}), stint.Internal, "0 fields")
			if err := s.Send(link.ServerMessage{Forget: &link.Forget{Execution: "x-1"}}); err != nil {
				return err
			}
			return receiveAll(s)
		})
		s := r.dial(t.Context())
		defer s.Close()
		wantError(t, s.Send(link.AgentMessage{Result: &stint.ErrandResult{Logs: []stint.KeptLog{{Entry: stint.LogEntry{Text: big}}}}}), stint.Invalid, "message_too_large")
		wantError(t, s.Send(link.AgentMessage{}), stint.Internal, "0 fields")
		if m, err := s.Receive(); err != nil || m.Forget == nil {
			t.Fatal(m, err)
		}
	})
}

func TestBeatsKeepAnIdleSessionForHours(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, s *link.Session) error {
			if err := welcome(s); err != nil {
				return err
			}
			time.AfterFunc(2*time.Hour, func() { _ = s.Send(link.ServerMessage{Forget: &link.Forget{}}) })
			return receiveAll(s)
		})
		ctx, cancel := context.WithCancel(t.Context())
		s := r.dial(ctx)
		defer s.Close()
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := s.Send(link.AgentMessage{Beat: &link.Beat{}}); err != nil {
					return
				}
				time.Sleep(link.BeatInterval)
			}
		})
		start := time.Now()
		m, err := s.Receive()
		if err != nil || m.Forget == nil || time.Since(start) < 2*time.Hour {
			t.Errorf("after %v: %v %v", time.Since(start), m, err)
		}
		cancel()
		wg.Wait()
	})
}

func TestServerClosesTheSessionOfASilentAgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		r := newRig(t, func(ctx context.Context, s *link.Session) error {
			if err := welcome(s); err != nil {
				return err
			}
			err := receiveAll(s)
			<-ctx.Done() // loops of a server watch it
			ended <- err
			return err
		})
		s := r.dial(t.Context())
		defer s.Close()
		start := time.Now()
		wantError(t, <-ended, stint.Unavailable, "silent for 15s")
		if d := time.Since(start); d != link.SilenceTimeout {
			t.Errorf("after %v", d)
		}
		_, err := s.Receive()
		wantError(t, err, stint.Unavailable, "")
	})
}

func TestAgentClosesTheSessionOfASilentServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, s *link.Session) error {
			if err := welcome(s); err != nil {
				return err
			}
			<-ctx.Done() // neither receives nor sends
			return ctx.Err()
		})
		s := r.dial(t.Context())
		defer s.Close()
		start := time.Now()
		_, err := s.Receive()
		wantError(t, err, stint.Unavailable, "server was silent for 15s")
		if d := time.Since(start); d != link.SilenceTimeout {
			t.Errorf("after %v", d)
		}
		wantError(t, s.Send(report(1)), stint.Unavailable, "silent")
	})
}

func TestACutCableEndsBothEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		r := newRig(t, func(_ context.Context, s *link.Session) error {
			if err := welcome(s); err != nil {
				return err
			}
			err := receiveAll(s)
			ended <- err
			return err
		})
		s := r.dial(t.Context())
		defer s.Close()
		r.net.Cut(port)
		start := time.Now()
		_, err := s.Receive()
		wantError(t, err, stint.Unavailable, "")
		wantError(t, <-ended, stint.Unavailable, "")
		if d := time.Since(start); d > 2*link.SilenceTimeout {
			t.Errorf("after %v", d)
		}
		_ = r.last.Close()
	})
}

func TestDialGivesUpOnAServerThatSaysNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, _ *link.Session) error {
			<-ctx.Done()
			return ctx.Err()
		})
		start := time.Now()
		_, _, err := r.dialer(r.ca.issue(string(node))).Dial(t.Context(), hello())
		wantError(t, err, stint.Unavailable, "silent")
		if d := time.Since(start); d != link.SilenceTimeout {
			t.Errorf("after %v", d)
		}
	})
}

func TestAnAgentThatDoesNotReadIsCutOffAndSendNeverBlocks(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		fill int // messages of 1 MiB
		text string
	}{
		{"queue full", 100, "agent is too slow"},
		{"queue not full", 20, "read nothing for 15s"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := link.ServerMessage{Errand: &stint.Errand{Output: strings.Repeat("x", 1<<20)}}
				ended := make(chan error, 1)
				r := newRig(t, func(ctx context.Context, s *link.Session) error {
					if err := welcome(s); err != nil {
						return err
					}
					if _, err := s.Receive(); err != nil { // the welcome has arrived
						return err
					}
					for range test.fill {
						if err := s.Send(m); err != nil {
							break
						}
					}
					<-ctx.Done()
					ended <- context.Cause(ctx)
					return context.Cause(ctx)
				})
				s := r.dial(t.Context())
				defer s.Close()
				if err := s.Send(report(1)); err != nil {
					t.Fatal(err)
				}
				wantError(t, <-ended, stint.Unavailable, test.text)
			})
		})
	}
}

func TestTooManyBeatsEndTheSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, s *link.Session) error {
			if err := welcome(s); err != nil {
				return err
			}
			return receiveAll(s)
		})
		s := r.dial(t.Context())
		defer s.Close()
		for range 101 {
			if err := s.Send(link.AgentMessage{Beat: &link.Beat{}}); err != nil {
				break
			}
		}
		_, err := s.Receive()
		wantError(t, err, stint.Unavailable, "too many beats")
	})
}

// TestUnacknowledgedReportsArriveAgainInANewSession plays the agent's part: it
// keeps reports until their Ack, and sends the rest again after the Welcome.
func TestUnacknowledgedReportsArriveAgainInANewSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seen := make(chan uint64, 16)
		sessions := 0
		r := newRig(t, func(_ context.Context, s *link.Session) error {
			sessions++
			if err := welcome(s); err != nil {
				return err
			}
			for {
				m, err := s.Receive()
				if err != nil {
					return err
				}
				seen <- m.Report.Seq
				if sessions == 1 && m.Report.Seq > 1 {
					continue // is lost before its commit
				}
				if err := s.Send(link.ServerMessage{Ack: &link.Ack{Execution: "x-1", Seq: m.Report.Seq, Incarnation: 2}}); err != nil {
					return err
				}
			}
		})
		kept := []uint64{1, 2, 3}
		exchange := func(acks int) {
			s := r.dial(t.Context())
			for _, seq := range kept {
				if err := s.Send(report(seq)); err != nil {
					t.Fatal(err)
				}
			}
			for range acks {
				m, err := s.Receive()
				if err != nil {
					t.Fatal(err)
				}
				for len(kept) > 0 && kept[0] <= m.Ack.Seq {
					kept = kept[1:]
				}
			}
			synctest.Wait()
			_ = r.last.Close() // the connection breaks
			_, err := s.Receive()
			wantError(t, err, stint.Unavailable, "")
			s.Close()
		}
		exchange(1)
		exchange(2)
		close(seen)
		var got []uint64
		for seq := range seen {
			got = append(got, seq)
		}
		if d := cmp.Diff([]uint64{1, 2, 3, 2, 3}, got); d != "" || len(kept) != 0 {
			t.Error(d, kept)
		}
	})
}

func TestWhatWasQueuedIsHandedOverBeforeTheSessionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ context.Context, s *link.Session) error {
			if err := welcome(s); err != nil {
				return err
			}
			for i := range 1000 {
				if err := s.Send(link.ServerMessage{Ack: &link.Ack{Seq: uint64(i)}}); err != nil {
					return err
				}
			}
			return stint.Errorf(stint.Conflict, "replaced by another session")
		})
		s := r.dial(t.Context())
		defer s.Close()
		for i := range 1000 {
			if m, err := s.Receive(); err != nil || m.Ack.Seq != uint64(i) {
				t.Fatal(i, m, err)
			}
		}
		_, err := s.Receive()
		wantError(t, err, stint.Conflict, "replaced")
	})
}

func TestCloseTellsBothEndsWhy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		replaced := stint.Errorf(stint.Conflict, "replaced by another session")
		sessions := make(chan *link.Session, 1)
		ended := make(chan error, 1)
		r := newRig(t, func(ctx context.Context, s *link.Session) error {
			if err := welcome(s); err != nil {
				return err
			}
			sessions <- s
			err := receiveAll(s)
			<-ctx.Done()
			ended <- err
			return err
		})
		s := r.dial(t.Context())
		defer s.Close()
		session := <-sessions
		synctest.Wait()
		start := time.Now()
		session.Close(replaced)
		session.Close(errors.New("the second cause does not count"))
		if err := <-ended; !errors.Is(err, replaced) {
			t.Errorf("Receive: %v", err)
		}
		_, err := s.Receive()
		wantError(t, err, stint.Conflict, "server: replaced by another session")
		wantError(t, session.Send(link.ServerMessage{Forget: &link.Forget{}}), stint.Conflict, "replaced")
		if d := time.Since(start); d != 0 {
			t.Errorf("after %v", d)
		}
		session.Close(replaced) // after the handler has returned
	})
}

func TestSendAfterTheEndIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var session *link.Session
		r := newRig(t, func(_ context.Context, s *link.Session) error {
			session = s
			return welcome(s)
		})
		s := r.dial(t.Context())
		if _, err := s.Receive(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		wantError(t, session.Send(link.ServerMessage{Forget: &link.Forget{}}), stint.Unavailable, "ended")
		s.Close()
		s.Close()
		wantError(t, s.Send(report(1)), stint.Canceled, "closed")
	})
}

func TestDialRefusesOtherURLs(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"", "http://h:1", "h:1", "https://", "https://u@h:1", "https://h:1/path", "https://h:1?token=x", "https://h:1\n"} {
		d := &link.Dialer{URL: u, TLS: &tls.Config{MinVersion: tls.VersionTLS13}}
		_, _, err := d.Dial(t.Context(), hello())
		wantError(t, err, stint.Invalid, "expected https://HOST:PORT")
	}
}

func TestBackoffDoublesToHalfAMinuteAndIsSpread(t *testing.T) {
	t.Parallel()
	want := map[int]time.Duration{
		0: 0, 1: 200 * time.Millisecond, 2: 400 * time.Millisecond, 8: 25600 * time.Millisecond, 9: 30 * time.Second, 1 << 40: 30 * time.Second,
	}
	for n, d := range want {
		if got := link.Backoff(n, 0); got != d {
			t.Errorf("%d: %v, want %v", n, got, d)
		}
		if got := link.Backoff(n, 0.999999); got < d/2 || got > d/2+d/1000 {
			t.Errorf("%d: %v, want about half of %v", n, got, d)
		}
	}
}
