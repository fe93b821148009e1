package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"stint"
	"stint/internal/link"
	"stint/internal/object"
	"stint/internal/runner/command"
	"stint/internal/runner/native"
	"stint/internal/worker"
)

const patience = 20 * time.Second

// The test binary is also what tests need as processes of their own: the worker,
// as "TEST-BINARY worker", and one that has strays.
func TestMain(m *testing.M) {
	programs := map[string]func() error{"worker": work, "strays": strays}
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		goleak.VerifyTestMain(m) // most work is outside bubbles, as processes are
	}
	if err := programs[os.Args[1]](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func work() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	socket := os.NewFile(3, "agent")
	conn, err := net.FileConn(socket)
	if err != nil {
		return err
	}
	_ = socket.Close()
	w := worker.Worker{Command: &command.Runner{}, Native: native.New(), Combiners: native.Combiners(), CheckInput: object.Check}
	return w.Run(ctx, worker.NewConn(conn.(*net.UnixConn)))
}

// authority signs certificates for the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	a := &authority{pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(tb)
	der := must(x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key))(tb)
	a.cert = must(x509.ParseCertificate(der))(tb)
	a.pool.AddCert(a.cert)
	return a
}

// issue returns a certificate for a node, or for the server if node is empty.
func (a *authority) issue(tb testing.TB, node stint.NodeID) tls.Certificate {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(48 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if node != "" {
		template.URIs = []*url.URL{must(url.Parse("stint://node/" + string(node)))(tb)}
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(tb)
	der := must(x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key))(tb)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) identity(tb testing.TB, node stint.NodeID) Identity {
	tb.Helper()
	certs := []tls.Certificate{a.issue(tb, node)}
	dial := &tls.Config{Certificates: certs, RootCAs: a.pool, MinVersion: tls.VersionTLS13}
	serve := &tls.Config{Certificates: certs, ClientCAs: a.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
	return Identity{Node: node, Link: dial, Serve: serve, Peer: dial.Clone()}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

// service is a scripted server: it welcomes agents and leaves the rest to the test.
type service struct {
	authority *authority
	storage   string
	url       string
	attached  chan *peer
	refusal   atomic.Pointer[stint.Error] // of every agent; nil: they are welcome
}

// peer is an agent as the server sees it.
type peer struct {
	session *link.Session
	hello   link.Hello
	reports chan *stint.Report
	results chan *stint.ErrandResult
	tally   tally
	mute    bool // acknowledge nothing
	hangUp  chan struct{}
}

// tally is what an agent has reported.
type tally struct {
	begun, done map[string]int // by "job/op"
	parts       []stint.Part
	failures    []stint.Failure
	returned    []stint.Returned
	counters    map[string]int64
	seq         []uint64
	lost        []stint.StageOps
	bad         []stint.BadCopy
	sums        map[uint32]uint64            // of input, by operation
	interrupted map[uint32]stint.Interrupted // by operation
}

func newService(tb testing.TB) *service {
	tb.Helper()
	s := &service{authority: newAuthority(tb), storage: "file://" + tb.TempDir(), attached: make(chan *peer, 16)}
	must(new(object.Access).OpenStorage(tb.Context(), s.storage))(tb)
	node := func(cs *tls.ConnectionState) (stint.NodeID, error) {
		return stint.NodeID(strings.TrimPrefix(cs.PeerCertificates[0].URIs[0].String(), "stint://node/")), nil
	}
	path, handler := link.NewHandler(node, s.accept)
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{s.authority.issue(tb, "")}, ClientCAs: s.authority.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	tb.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *service) accept(_ context.Context, session *link.Session) error {
	if refusal := s.refusal.Load(); refusal != nil {
		return refusal
	}
	p := &peer{
		session: session, hello: session.Hello(), reports: make(chan *stint.Report, 4096), results: make(chan *stint.ErrandResult, 16), hangUp: make(chan struct{}),
		tally: tally{begun: map[string]int{}, done: map[string]int{}, sums: map[uint32]uint64{}, counters: map[string]int64{}, interrupted: map[uint32]stint.Interrupted{}},
	}
	if err := session.Send(link.ServerMessage{Welcome: &link.Welcome{Epoch: 1, Storage: s.storage}}); err != nil {
		return err
	}
	s.attached <- p
	received := make(chan error, 1)
	go func() { received <- p.receive() }()
	select {
	case err := <-received:
		return err
	case <-p.hangUp:
		return stint.Errorf(stint.Unavailable, "the test hangs up")
	}
}

func (p *peer) receive() error {
	for {
		m, err := p.session.Receive()
		switch {
		case err != nil:
			return err
		case m.Report != nil:
			p.reports <- m.Report
		case m.Result != nil:
			p.results <- m.Result
		}
	}
}

// next returns the next agent that attaches.
func (s *service) next(tb testing.TB) *peer {
	tb.Helper()
	select {
	case p := <-s.attached:
		return p
	case <-time.After(patience):
		tb.Fatal("no agent attached")
		return nil
	}
}

// start runs an agent on a folder until stop is called, or the test has ended.
func (s *service) start(tb testing.TB, node stint.NodeID, dir string, slots int) (*peer, func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	a := s.agent(tb, node, dir, slots)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("agent: %v", err)
		}
	})
	tb.Cleanup(stop)
	return s.next(tb), stop
}

func (s *service) agent(tb testing.TB, node stint.NodeID, dir string, slots int) *Agent {
	tb.Helper()
	identity := s.authority.identity(tb, node)
	logger := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		logger = slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return &Agent{
		Dir: dir, Name: "test", Version: "test", Slots: slots, Memory: 8 << 20, ServerURL: s.url, Listen: "127.0.0.1:0", Access: new(object.Access),
		WorkerCommand: []string{os.Args[0], "worker"}, Logger: logger,
		Identify: func(context.Context, string) (Identity, error) { return identity, nil },
	}
}

func (p *peer) send(tb testing.TB, m link.ServerMessage) {
	tb.Helper()
	if err := p.session.Send(m); err != nil {
		tb.Fatal(err)
	}
}

// grant grants operations of a stage to the agent, in its incarnation.
func (p *peer) grant(tb testing.TB, g stint.Grant) {
	tb.Helper()
	if g.Incarnation == 0 {
		g.Incarnation = p.hello.Incarnation
	}
	if g.Attempt == 0 {
		g.Attempt = 1
	}
	if g.Epoch == 0 {
		g.Epoch = 1
	}
	p.send(tb, link.ServerMessage{Grant: &g})
}

// await takes reports, and acknowledges them, until cond holds.
func (p *peer) await(tb testing.TB, what string, cond func(*tally) bool) {
	tb.Helper()
	deadline := time.After(patience)
	for !cond(&p.tally) {
		select {
		case r := <-p.reports:
			p.tally.add(r)
			if !p.mute {
				p.send(tb, link.ServerMessage{Ack: &link.Ack{Execution: r.Execution, Seq: r.Seq, Incarnation: r.Incarnation}})
			}
		case <-deadline:
			tb.Fatalf("waited for %s; so far %s", what, &p.tally)
		}
	}
}

func (p *peer) awaitDone(tb testing.TB, n int) {
	tb.Helper()
	p.await(tb, fmt.Sprintf("%d completed operations", n), func(s *tally) bool { return len(s.done) >= n })
}

// errand has the agent do an errand.
func (p *peer) errand(tb testing.TB, e stint.Errand) *stint.ErrandResult {
	tb.Helper()
	p.send(tb, link.ServerMessage{Errand: &e})
	select {
	case r := <-p.results:
		return r
	case <-time.After(patience):
		tb.Fatalf("no result of errand %s", e.Kind)
		return nil
	}
}

// String is short however much was reported.
func (s *tally) String() string {
	text := fmt.Sprintf("%d begun, %d done, %d failed, %d interrupted, %d reports, returned %v", len(s.begun), len(s.done), len(s.failures), len(s.interrupted), len(s.seq), s.returnedOps())
	for _, f := range s.failures[:min(len(s.failures), 3)] {
		text += fmt.Sprintf("; operation %d: %v", f.Op, f.Error)
	}
	return text
}

func (s *tally) add(r *stint.Report) {
	s.seq = append(s.seq, r.Seq)
	for _, b := range r.Begun {
		for op := b.Ops.From; op < b.Ops.To; op++ {
			s.begun[fmt.Sprintf("%d/%d", b.Job, op)]++
		}
	}
	for _, d := range r.Done {
		for _, op := range d.Ops {
			s.done[fmt.Sprintf("%d/%d", d.Job, op.Op)]++
			s.sums[op.Op] = op.InputSum
		}
		for _, c := range d.Counters {
			s.counters[c.Group+"."+c.Name] += c.Value
		}
		s.parts = append(s.parts, d.Parts...)
	}
	s.failures = append(s.failures, r.Failures...)
	s.returned = append(s.returned, r.Returned...)
	s.bad = append(s.bad, r.Bad...)
	for _, i := range r.Interrupted {
		s.interrupted[i.Op] = i
	}
	if r.Verified != nil {
		s.lost = append(s.lost, r.Verified.Lost...)
	}
}

func (s *tally) returnedOps() (list []stint.Range) {
	for _, r := range s.returned {
		for _, ops := range r.Ops {
			list = stint.UnionRange(list, ops)
		}
	}
	return list
}

// eventually waits for something outside to become so.
func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("waited for %s", what)
		}
	}
}

// inputFile writes a file and returns its object.
func inputFile(tb testing.TB, text string) stint.Object {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "input.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	listing := must(new(object.Access).List(tb.Context(), object.Inputs{Locations: []string{path}}))(tb)
	return listing.Objects[0]
}

// cut cuts an object into n pieces, one per subset.
func cut(o stint.Object, n int64) []stint.Subset {
	var list []stint.Subset
	for i := range n {
		from, to := o.Size*i/n, o.Size*(i+1)/n
		list = append(list, stint.Subset{Pieces: []stint.Piece{{Object: o, Offset: from, Length: to - from}}})
	}
	return list
}

// mapOnly is an execution of one command over subsets, each of which becomes a part.
func mapOnly(x stint.ExecutionID, n uint32, output string, command ...string) *stint.Spec {
	stage := stint.Stage{Name: "map", Action: stint.Action{Command: command}, Input: stint.Edge{Kind: stint.FromInput, Split: stint.SplitLines}}
	return &stint.Spec{
		Execution: x, Program: stint.Program{Name: "p", Stages: []stint.Stage{stage}}, Output: output,
		Stages: []stint.StageSpec{{Stage: stage, Operations: n, Partitions: 1, Part: true}},
	}
}

// overRange is an execution of one stage over the numbers 0 … n-1, an operation
// for each, which writes no part.
func overRange(x stint.ExecutionID, n uint32, action stint.Action) *stint.Spec {
	stage := stint.Stage{Name: "map", Action: action, Input: stint.Edge{Kind: stint.FromInput, Split: stint.SplitRange}}
	return &stint.Spec{
		Execution: x, Program: stint.Program{Name: "p", Stages: []stint.Stage{stage}},
		Stages: []stint.StageSpec{{Stage: stage, Operations: n, Partitions: 1, Values: &stint.Values{Count: int64(n)}, Each: 1}},
	}
}

func shell(script string) stint.Action { return stint.Action{Command: []string{"sh", "-c", script}} }

// partsOf returns the parts that agents reported, by number.
func partsOf(peers ...*peer) []stint.Part {
	var list []stint.Part
	for _, p := range peers {
		list = append(list, p.tally.parts...)
	}
	slices.SortFunc(list, func(a, b stint.Part) int { return int(a.Op) - int(b.Op) })
	return list
}
