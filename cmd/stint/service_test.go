package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"stint"
	"stint/internal/auth"
)

const (
	anExecution = "x-baaaaaaaaaaaaaaa"
	aNode       = "n-aaaaaaaaaaaa"
)

// events are the documents that a watch of an execution yields.
type events []stint.Execution

// answers is a service that gives each request, by its method and path, the
// answer that is written there: a document, [events], a refusal, or several in
// turn, of which the last stays.
type answers struct {
	mu    sync.Mutex
	given map[string]any
	asked []string // method, path and body
	url   string
}

// inTurn are several answers to the same request.
type inTurn []any

func serve(t *testing.T, given map[string]any) *answers {
	t.Helper()
	a := &answers{given: given}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	request := r.Method + " " + strings.TrimPrefix(r.URL.RequestURI(), "/v1/")
	if r.Method != http.MethodGet {
		a.mu.Lock()
		a.asked = append(a.asked, strings.TrimSpace(request+" "+string(body)))
		a.mu.Unlock()
	}
	switch v := a.next(request).(type) {
	case nil:
		refuse(w, stint.Errorf(stint.NotFound, "%s: not found", request))
	case *stint.Error:
		refuse(w, v)
	case events:
		for _, x := range v {
			data, _ := json.Marshal(x)
			fmt.Fprintf(w, "event: execution\ndata: %s\n\n", data) //nolint:errcheck // a test's own client
		}
	default:
		_ = json.NewEncoder(w).Encode(v)
	}
}

func (a *answers) next(request string) any {
	a.mu.Lock()
	defer a.mu.Unlock()
	turns, several := a.given[request].(inTurn)
	if !several {
		return a.given[request]
	}
	if len(turns) > 1 {
		a.given[request] = turns[1:]
	}
	return turns[0]
}

func refuse(w http.ResponseWriter, e *stint.Error) {
	w.WriteHeader(http.StatusTeapot)
	_ = json.NewEncoder(w).Encode(e)
}

// stint runs a command line that names the service.
func (a *answers) stint(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	return commandLine(t, []string{"STINT_SERVER=" + a.url, "STINT_TOKEN=secret", "STINT_DATA=" + t.TempDir()}, args...)
}

// in returns the execution in a status, with so many of ten operations completed.
func in(status stint.ExecutionStatus, completed int64) stint.Execution {
	return stint.Execution{
		ID: anExecution, Status: status, Version: uint64(completed) + 1,
		Operations: stint.OperationCounts{Total: 10, Completed: completed},
	}
}

func mentions(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
}

func TestAServiceIsReadyWithNodesThatAreDrained(t *testing.T) {
	t.Parallel()
	var nodes []stint.Node
	for _, status := range []stint.NodeStatus{stint.NodeReady, stint.NodeDraining, stint.NodeDrained, stint.NodeAway, stint.NodeLost} {
		nodes = append(nodes, stint.Node{Status: status})
	}
	if n := there(nodes); n != 3 {
		t.Errorf("%d of %v are there, want 3", n, nodes)
	}
}

func TestAServiceThatDoesNotGetReadyEndsWithItsCommand(t *testing.T) {
	t.Parallel()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // nothing is in it
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	service := exec.CommandContext(t.Context(), "cat") // ends with its standard input
	service.Stderr = log
	if _, err := awaitReady(ctx, service); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("%v, want that it ended", err)
	}
}

func TestNobodyWaitsForAServiceThatHasEnded(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	owner, err := f.take()
	if err != nil {
		t.Fatal(err)
	}
	ending := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		owner.release()
		refuse(w, stint.Errorf(stint.Unavailable, "the service is ending"))
	}))
	defer ending.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ending.Certificate().Raw})
	if err := (auth.Credentials{Address: ending.URL, Token: "secret", CA: string(ca)}).Write(f.credentials()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.waitForService(t.Context()); !errors.Is(err, errNobody) || stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("%v, want that nobody is there", err)
	}
}
