package agent

import (
	"context"
	"crypto/tls"
	"flag"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stint"
	"stint/internal/link"
	"stint/internal/memnet"
	"stint/internal/object"
)

const (
	serverPort = "127.0.0.1:7843"
	nodePort   = "127.0.0.1:7844"
)

// seedFlag decides what a bubble draws.
var seedFlag = flag.Uint64("seed", 0, "seed of what is drawn at random in each bubble (0: another in every bubble)")

// bubble is a service of a test, and agents of it, on a network in memory.
type bubble struct {
	*service
	t      *testing.T
	net    *memnet.Network
	random *rand.Rand
	stop   func() // of the server that runs; nil: none does
}

// bubbles runs a test n times, each in a bubble of its own. The order of what
// happens at one moment is another each time. A goroutine that is left at the end
// fails the test.
func bubbles(t *testing.T, n int, test func(b *bubble)) {
	t.Helper()
	for range n {
		synctest.Test(t, func(t *testing.T) {
			b := &bubble{
				t: t, net: memnet.New(), random: draws(t),
				service: &service{authority: newAuthority(t), storage: "file://" + filepath.Join(t.TempDir(), "storage"), attached: make(chan *peer, 4096), url: "https://" + serverPort},
			}
			must(new(object.Access).OpenStorage(t.Context(), b.storage))(t)
			t.Cleanup(b.down)
			test(b)
		})
	}
}

// draws returns what a bubble draws from; its seed is in the log of the test.
func draws(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// between draws a duration.
func (b *bubble) between(least, most time.Duration) time.Duration {
	return least + time.Duration(b.random.Int64N(int64(most-least)))
}

// up starts a server, until down is called or the test ends.
func (b *bubble) up() {
	b.t.Helper()
	node := func(cs *tls.ConnectionState) (stint.NodeID, error) {
		return stint.NodeID(strings.TrimPrefix(cs.PeerCertificates[0].URIs[0].String(), "stint://node/")), nil
	}
	mux := http.NewServeMux()
	mux.Handle(link.NewHandler(node, b.accept))
	server := &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{b.authority.issue(b.t, "")}, ClientCAs: b.authority.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13},
	}
	link.ConfigureServer(server)
	listener := must(b.net.Listen(serverPort))(b.t)
	var served sync.WaitGroup
	served.Go(func() { _ = server.ServeTLS(listener, "", "") })
	b.stop = func() {
		_ = server.Close()
		served.Wait()
	}
}

// down ends the server: its port refuses.
func (b *bubble) down() {
	if b.stop != nil {
		b.stop()
		b.stop = nil
	}
}

// node runs an agent until stop is called or the test ends. No worker can be
// started there: who waits for a process lets no time pass.
func (b *bubble) node() (stop func()) {
	b.t.Helper()
	return b.nodeOn(b.t.TempDir())
}

// agentOn makes an agent on a folder.
func (b *bubble) agentOn(dir string) *Agent {
	b.t.Helper()
	a := b.agent(b.t, oneNode, dir, 2)
	a.Logger = slog.New(slog.DiscardHandler)
	a.Listen, a.WorkerCommand = nodePort, []string{filepath.Join(b.t.TempDir(), "missing")}
	a.network = network{
		listen: func(_ context.Context, _, address string) (net.Listener, error) { return b.net.Listen(address) },
		dial:   b.net.DialContext,
	}
	return a
}

// nodeOn runs an agent on a folder.
func (b *bubble) nodeOn(dir string) (stop func()) {
	b.t.Helper()
	a := b.agentOn(dir)
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); err != nil {
			b.t.Errorf("agent: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	b.t.Cleanup(stop)
	return stop
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

const (
	oneNode = stint.NodeID("n-aaaaaaaaaaaa")
	x1      = stint.ExecutionID("x-baaaaaaaaaaaaaaa")
)

func TestBubbleAnAgentWithoutAServerDialsNowAndThenAndNotInStep(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]bool{"refused": false, "silent": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var second []time.Duration
			bubbles(t, 10, func(b *bubble) {
				t := b.t
				b.net.Silence(serverPort, silent)
				start := time.Now()
				b.node()
				pass(time.Hour)
				dialled := b.net.Dialled(serverPort)
				if n := len(dialled); n < 60 || n > 300 {
					t.Errorf("it has dialled %d times within an hour", n)
				}
				second = append(second, dialled[len(dialled)-1].Sub(start))
				b.net.Silence(serverPort, false)
				b.up()
				back := time.Now()
				pass(link.SilenceTimeout + 31*time.Second)
				if p := b.next(t); p.hello.Node != oneNode || len(b.attached) > 0 {
					t.Errorf("%v after the server came it has attached as %s, and %d times more", time.Since(back), p.hello.Node, len(b.attached))
				}
			})
			for _, d := range second[1:] {
				if d != second[0] {
					return
				}
			}
			t.Errorf("all agents dial at the same moments: %v", second)
		})
	}
}

func TestBubbleAnIdleAgentStaysAttachedForADay(t *testing.T) {
	t.Parallel()
	bubbles(t, 1, func(b *bubble) {
		t := b.t
		b.up()
		b.node()
		pass(24 * time.Hour)
		if n := len(b.net.Dialled(serverPort)); n != 1 || len(b.attached) != 1 {
			t.Errorf("it has dialled %d times and attached %d times", n, len(b.attached))
		}
	})
}

func TestBubbleAServerThatEndsEverySessionIsNotDialledAllTheTime(t *testing.T) {
	t.Parallel()
	bubbles(t, 10, func(b *bubble) {
		t := b.t
		b.up()
		b.node()
		until := time.Now().Add(10 * time.Minute)
		for time.Now().Before(until) {
			select {
			case p := <-b.attached:
				close(p.hangUp)
			case <-time.After(time.Until(until)):
			}
		}
		if n := len(b.net.Dialled(serverPort)); n < 10 || n > 150 {
			t.Errorf("it has dialled %d times within ten minutes", n)
		}
	})
}

func TestBubbleWorkGoesOnWithoutAServerForTheLeaseAndEndsThen(t *testing.T) {
	t.Parallel()
	const operations = 3000
	for name, away := range map[string]time.Duration{"in time": lease - time.Minute, "too late": lease + time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubbles(t, 3, func(b *bubble) {
				t := b.t
				b.up()
				b.node()
				p := b.next(t)
				p.send(t, link.ServerMessage{Spec: overRange(x1, operations, shell("true"))})
				p.grant(t, stint.Grant{Execution: x1, Job: 1, Ops: stint.Range{From: 0, To: operations}})
				p.await(t, "work has begun", func(s *tally) bool { return len(s.failures) > 0 })
				b.down()
				pass(away)
				b.up()
				pass(31 * time.Second)
				p = b.next(t)
				p.await(t, "what it did meanwhile", func(s *tally) bool { return len(s.failures) >= int(min(away, lease).Seconds())-1 })
				for len(p.reports) > 0 {
					p.tally.add(<-p.reports)
				}
				worked := time.Duration(len(p.tally.failures)) * time.Second / 2 // two slots try once a second
				given := stint.CountRanges(p.tally.returnedOps())
				if away < lease && given > 0 || away > lease && given == 0 {
					t.Errorf("%v without a server, %d operations are given back", away, given)
				}
				if worked > min(away+time.Minute, lease+time.Second) {
					t.Errorf("%v without a server, it has worked for %v", away, worked)
				}
			})
		})
	}
}

func TestBubbleAnAgentEndsThoughAPeerAndTheServerSayNothingMore(t *testing.T) {
	t.Parallel()
	bubbles(t, 20, func(b *bubble) {
		t := b.t
		b.up()
		stop := b.node()
		p := b.next(t)
		peer := b.authority.identity(t, "n-bbbbbbbbbbbb").Peer
		peer.ServerName = "127.0.0.1"
		half := must(b.net.DialContext(t.Context(), "tcp", nodePort))(t) // says nothing at all
		defer half.Close()                                               //nolint:errcheck // memory
		begun := tls.Client(must(b.net.DialContext(t.Context(), "tcp", nodePort))(t), peer)
		defer begun.Close() //nolint:errcheck // memory
		must(begun.Write([]byte("POST /v1/blocks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")))(t)
		p.send(t, link.ServerMessage{Spec: overRange(x1, 9, shell("true"))})
		p.grant(t, stint.Grant{Execution: x1, Job: 1, Ops: stint.Range{From: 0, To: 9}})
		pass(b.between(0, 8*time.Second))
		if b.random.IntN(2) == 0 {
			b.net.Cut(serverPort)
		}
		start := time.Now()
		stop()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
