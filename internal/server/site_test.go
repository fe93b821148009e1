package server_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stint"
	"stint/internal/auth"
	"stint/internal/link"
	"stint/internal/memnet"
	"stint/internal/object"
	"stint/internal/server"
	"stint/internal/store"
)

// site is the ground that servers and nodes of one test stand on: a record,
// system storage, a certificate authority. It outlives the servers.
type site struct {
	t      *testing.T
	dir    string
	record string // path
	url    string // of system storage
	ca     *auth.CA
	net    *memnet.Network                   // in a bubble; nil: the machine's
	random *mathrand.Rand                    // what a bubble draws from; nil: it is none
	api    func(*server.Server) http.Handler // nil: there is none
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, dir: dir, record: filepath.Join(dir, "record.db")}
	var err error
	s.url, err = object.ParseLocation(filepath.Join(dir, "storage"))
	check(t, err)
	s.ca, err = auth.LoadOrCreateCA(dir)
	check(t, err)
	return s
}

func (s *site) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

// running is a server that runs, and its port.
type running struct {
	*server.Server
	t       *testing.T
	address string
	ended   chan error // what Run returned
	cancel  context.CancelFunc
	port    *http.Server
	stopped bool
}

// serve runs a server on the site until the test ends or stop is called.
func (s *site) serve(set func(*server.Server)) *running {
	s.t.Helper()
	ctx := context.WithoutCancel(s.t.Context())
	db, err := store.Open(ctx, s.record)
	check(s.t, err)
	storage, err := new(object.Access).OpenStorage(ctx, s.url)
	check(s.t, err)
	r := &running{t: s.t, ended: make(chan error, 1), Server: &server.Server{
		DB: db, Storage: storage, StorageURL: s.url, Version: "test", Logger: slog.New(slog.DiscardHandler),
		Validate: func(p stint.Program, _ map[string]string) error {
			if p.Name == "bad" {
				return stint.Errorf(stint.Invalid, "program %q: there is none", p.Name)
			}
			return nil
		},
	}}
	if set != nil {
		set(r.Server)
	}
	ctx, r.cancel = context.WithCancel(ctx)
	go func() { r.ended <- r.Run(ctx) }()
	r.listen(s)
	s.t.Cleanup(r.stop)
	select {
	case <-r.Ready():
	case err := <-r.ended:
		r.ended <- nil // for stop
		s.t.Fatalf("run: %v", err)
	}
	return r
}

func (r *running) listen(s *site) {
	r.t.Helper()
	listener, err := s.listen()
	check(r.t, err)
	r.address = listener.Addr().String()
	config, err := s.ca.ServerTLS([]string{"127.0.0.1"})
	check(r.t, err)
	mux := http.NewServeMux()
	mux.Handle(link.NewHandler(auth.PeerNode, r.Accept))
	if s.api != nil {
		mux.Handle("/", s.api(r.Server))
	}
	r.port = &http.Server{Handler: mux, TLSConfig: config, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	link.ConfigureServer(r.port)
	go r.port.ServeTLS(listener, "", "") //nolint:errcheck // it ends when the port is closed
}

// listen takes a port for a server.
func (s *site) listen() (net.Listener, error) {
	if s.net != nil {
		return s.net.Listen(bubblePort)
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// stop ends the server and closes its record.
func (r *running) stop() {
	r.t.Helper()
	if r.stopped {
		return
	}
	r.stopped = true
	r.cancel()
	if err := <-r.ended; err != nil {
		r.t.Errorf("run: %v", err)
	}
	check(r.t, r.port.Close())
	check(r.t, r.DB.Close())
}

// fenced waits until the server has ended because another took over.
func (r *running) fenced() {
	r.t.Helper()
	select {
	case err := <-r.ended:
		if err == nil || !strings.Contains(err.Error(), "taken over") {
			r.t.Errorf("run: %v", err)
		}
	case <-time.After(patience):
		r.t.Fatal("the server runs on")
	}
	r.ended <- nil // for stop
}

// submit submits a request that must be accepted.
func (r *running) submit(req stint.Request) stint.ExecutionID {
	r.t.Helper()
	doc, err := r.Submit(r.t.Context(), req)
	check(r.t, err)
	return doc.ID
}

// awaitStatus waits for a status and returns the document that has it.
func (r *running) awaitStatus(id stint.ExecutionID, want stint.ExecutionStatus) stint.Execution {
	r.t.Helper()
	var doc stint.Execution
	r.eventually(string(id)+" is "+string(want), func() bool {
		var err error
		doc, err = r.Show(r.t.Context(), id)
		return err == nil && doc.Status == want
	})
	return doc
}

func (r *running) eventually(what string, holds func() bool) {
	r.t.Helper()
	eventually(r.t, what, holds)
}

// patience is for what must happen; it is never waited for when all is well.
const patience = 20 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("it does not happen: %s", what)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// numbers asks for ops operations that read a generated range, and one that
// gathers what they made into the one part of the output.
func (s *site) numbers(ops int) stint.Request {
	return stint.Request{
		Program: stint.Program{Name: "count", Stages: []stint.Stage{
			{Name: "map", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput}},
		}},
		Inputs: []string{"range:1.." + itoa(ops)}, SubsetSize: 1, Output: s.path("out-" + itoa(ops)),
	}
}

func itoa(n int) string { return stint.JobID(n).String()[2:] }

// below lists what is in a folder, its own folders left out.
func below(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, strings.TrimPrefix(path, dir+"/"))
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	check(t, err)
	return out
}

func newNodeID() stint.NodeID {
	var b [12]byte
	rand.Read(b[:])
	return stint.MakeNodeID(b[:])
}
