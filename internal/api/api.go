package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"iter"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"stint"
)

// Service is what the API asks. Its methods are safe for concurrent use, return
// when ctx ends, and refuse with a [stint.Error].
type Service interface {
	// Submit records the request and returns the new execution, or the one that
	// was made for the same key. When it returns, the record is committed.
	Submit(ctx context.Context, r stint.Request) (stint.Execution, error)
	// List returns at most f.Limit executions, newest first, and the cursor of
	// the next page: 0 if there is none.
	List(ctx context.Context, f stint.ExecutionFilter) ([]stint.Execution, uint64, error)
	Show(ctx context.Context, id stint.ExecutionID) (stint.Execution, error)
	// Request returns what the execution was asked for, to be asked for again: it
	// has no key, and an output only if one was named.
	Request(ctx context.Context, id stint.ExecutionID) (stint.Request, error)
	// Operations returns at most f.Limit operations and the next cursor, as List does.
	Operations(ctx context.Context, id stint.ExecutionID, f stint.OperationFilter) ([]stint.Operation, uint64, error)
	// Watch yields documents of versions above after, in order, the current one
	// first, and ends after a final one, after an error, or with ctx. It may leave out
	// documents while its consumer is slow, but never the latest.
	Watch(ctx context.Context, id stint.ExecutionID, after uint64) iter.Seq2[stint.Execution, error]
	Terminate(ctx context.Context, id stint.ExecutionID) (stint.Execution, error)
	// Suspend returns when it is recorded that the execution, or some of its jobs,
	// is to be suspended.
	Suspend(ctx context.Context, id stint.ExecutionID, r stint.SuspendRequest) (stint.Execution, error)
	// Resume verifies the saved state and returns when it is recorded that the
	// execution goes on. What it refuses has changed nothing.
	Resume(ctx context.Context, id stint.ExecutionID, r stint.ResumeRequest) (stint.Resumption, error)
	Move(ctx context.Context, id stint.ExecutionID, r stint.MoveRequest) (stint.Execution, error)
	Retry(ctx context.Context, id stint.ExecutionID) (stint.Execution, error)
	Durability(ctx context.Context, id stint.ExecutionID) (stint.Durability, error)
	// Saved returns what can be resumed from a storage; "" is the service's own.
	Saved(ctx context.Context, from string) ([]stint.SavedExecution, error)
	// Plan says how a request would be executed.
	Plan(ctx context.Context, r stint.Request) (stint.PlanReport, error)
	// Log returns the kept standard error of an operation's attempts, or of all
	// that failed if op is "".
	Logs(ctx context.Context, id stint.ExecutionID, q stint.LogQuery) (stint.Logs, error)
	Explain(ctx context.Context, id stint.ExecutionID) (stint.Explanation, error)
	// PutFile keeps the bytes of r under their digest. It keeps nothing if r fails:
	// r does so at its end when the bytes have another digest.
	PutFile(ctx context.Context, digest stint.Digest, r io.Reader) error
	Nodes(ctx context.Context) []stint.Node
	// Drain returns the node as it is from then on.
	Drain(ctx context.Context, node stint.NodeID, r stint.DrainRequest) (stint.Node, error)
	RemoveNode(ctx context.Context, node stint.NodeID) error
	// Credentials returns what is shown of the sets of credentials, by name.
	Credentials(ctx context.Context) []stint.CredentialReport
	// SetCredentials keeps a set, in place of one of its name.
	SetCredentials(ctx context.Context, c stint.CredentialSet) (stint.CredentialReport, error)
	RemoveCredentials(ctx context.Context, name string) error
	// UploadProgram takes a program into the registry. When it returns, the version is
	// committed.
	UploadProgram(ctx context.Context, u stint.ProgramUpload) (stint.RegisteredProgram, error)
	// Program finds the newest version of a program, or the one whose digest begins
	// with version.
	Program(ctx context.Context, name, version string) (stint.RegisteredProgram, error)
	// RemoveProgram removes a version, or with "" all of them.
	RemoveProgram(ctx context.Context, name, version string) error
	Programs(ctx context.Context) ([]stint.RegisteredProgram, error)
}

// Config is what the API is made of. All fields are required.
type Config struct {
	Service Service
	// Allow reports whether the identity in ctx, put there by the middleware
	// around the handler, has a permission. It is not asked about [Public].
	Allow func(ctx context.Context, p Permission) bool
	// Fault is told of every error that is the service's own fault and is hidden
	// from the client, under the request id that the client was shown.
	Fault func(ctx context.Context, request string, err error)
	// Version is the version of the service.
	Version string
	// CursorKey is 32 secret bytes. Page cursors outlive a restart if it does.
	CursorKey []byte
}

// Handler is the API. Safe for concurrent use.
type Handler struct {
	config  Config
	mux     *http.ServeMux
	routes  []Route
	cursors cursors
	streams streamCounter
	uploads atomic.Int32 // that are on their way
	openAPI []byte
}

// New builds the API. Its error is a mistake in the code of this package.
func New(c Config) (*Handler, error) {
	h := &Handler{config: c, mux: http.NewServeMux(), cursors: cursors{key: c.CursorKey}}
	if err := h.registerAll(); err != nil {
		return nil, fmt.Errorf("build the API: %w", err)
	}
	return h, nil
}

// Routes returns the table of routes.
func (h *Handler) Routes() []Route { return append([]Route(nil), h.routes...) }

// Open reports whether a request needs no credential.
func (h *Handler) Open(r *http.Request) bool {
	if !exactPath(r.URL.Path) {
		return false
	}
	_, pattern := h.mux.Handler(r)
	for _, route := range h.routes {
		if route.Permission == Public && pattern == route.Method+" "+route.Path {
			return true
		}
	}
	return false
}

type requestKey struct{}

// ServeHTTP serves one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := strings.ToLower(rand.Text()[:16])
	ctx := context.WithValue(r.Context(), requestKey{}, id)
	r = r.WithContext(ctx)
	header := w.Header()
	header.Set("X-Request-Id", id)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	watched := &headerWatcher{ResponseWriter: w}
	defer h.rescue(watched, r)
	if !exactPath(r.URL.Path) {
		h.problem(ctx, errNoSuchPath()).write(watched)
		return
	}
	if _, pattern := h.mux.Handler(r); pattern == "" {
		h.noRoute(watched, r)
		return
	}
	h.mux.ServeHTTP(watched, r)
}

// exactPath reports whether a path has no spelling but this. The mux would
// redirect the others, and clients drop credentials on the way.
func exactPath(p string) bool {
	return strings.HasPrefix(p, "/") && !strings.Contains(p, "//") && !strings.Contains(p+"/", "/./") && !strings.Contains(p+"/", "/../")
}

func errNoSuchPath() error {
	return refuse(http.StatusNotFound, "not_found", "there is nothing at this path")
}

// noRoute answers where no route matches: the mux knows whether another method would.
func (h *Handler) noRoute(w http.ResponseWriter, r *http.Request) {
	answer := &discard{header: make(http.Header)}
	h.mux.ServeHTTP(answer, r)
	err := errNoSuchPath()
	if answer.status == http.StatusMethodNotAllowed {
		allowed := answer.header.Get("Allow")
		w.Header().Set("Allow", allowed)
		err = refuse(http.StatusMethodNotAllowed, "method_not_allowed", "method %.80q: this path takes %s", r.Method, allowed)
	}
	h.problem(r.Context(), err).write(w)
}

// problem turns an error into the answer to this request, and tells the
// operators what the client is not shown.
func (h *Handler) problem(ctx context.Context, err error) *Problem {
	p := problemOf(err)
	p.RequestID, _ = ctx.Value(requestKey{}).(string)
	if p.Status == http.StatusInternalServerError {
		h.config.Fault(ctx, p.RequestID, err)
	}
	return p
}

// rescue turns a panic into an internal error.
func (h *Handler) rescue(w *headerWatcher, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler { //nolint:errorlint // net/http documents this very value
		panic(cause)
	}
	p := h.problem(r.Context(), fmt.Errorf("panic: %v\n%s", cause, debug.Stack()))
	if w.written {
		panic(http.ErrAbortHandler) // the client must not take half an answer for a whole one
	}
	p.write(w)
}

// headerWatcher knows whether an answer has begun. All answers begin with WriteHeader.
type headerWatcher struct {
	http.ResponseWriter
	written bool
}

func (w *headerWatcher) WriteHeader(status int) {
	w.written = true
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w *headerWatcher) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// discard keeps the status and the header of an answer that nobody gets.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header       { return d.header }
func (*discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)    { d.status = status }
