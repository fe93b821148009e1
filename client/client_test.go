package client_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"stint"
	"stint/client"
	"stint/internal/memnet"
)

func Example() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"id":"x-baaaaaaaaaaaaaaa","status":"queued"}`)
	}))
	defer service.Close()

	c, err := client.New(client.Config{URL: service.URL, Token: "stint_user_abc"})
	if err != nil {
		return
	}
	defer c.Close()
	x, err := c.Submit(context.Background(), stint.Request{
		Program: stint.Program{Name: "count", Stages: []stint.Stage{{Name: "map", Action: stint.Action{Native: "wordcount"}}}},
		Inputs:  []string{"/data/*.txt"},
	})
	fmt.Println(x.ID, x.Status, err)
	// Output:
	// x-baaaaaaaaaaaaaaa queued <nil>
}

func TestAnAddressThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "127.0.0.1:7843", "ftp://a", "https://", "https://user@a", "https://a?token=x", ":"} {
		if _, err := client.New(client.Config{URL: address}); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := client.New(client.Config{URL: "https://a", Token: "a b…"}); stint.CodeOf(err) != stint.Invalid || strings.Contains(err.Error(), "a b") {
		t.Error(err)
	}
	if _, err := client.New(client.Config{URL: "https://a", CA: []byte("no PEM")}); stint.CodeOf(err) != stint.Invalid {
		t.Error(err)
	}
}

func connect(t *testing.T, url string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: url, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return connect(t, server.URL)
}

// port is where a service on a network in memory listens, or nobody does.
const port = "127.0.0.1:7843"

// connectInMemory returns a client of the service on a network in memory.
func connectInMemory(t *testing.T, net *memnet.Network) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: "http://" + port, Token: "secret", Dial: net.DialContext})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serveInMemory(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	net := memnet.New()
	listener, err := net.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go server.Serve(listener) //nolint:errcheck // it ends when the server is closed
	t.Cleanup(func() { _ = server.Close() })
	return connectInMemory(t, net)
}

func TestOnlyAServiceOfTheGivenAuthorityIsTrusted(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer secret" || r.ProtoMajor != 2 {
			t.Errorf("%q over %s", got, r.Proto)
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	if err := connect(t, server.URL).Health(t.Context()); stint.CodeOf(err) != stint.Denied {
		t.Errorf("an unknown authority: %v", err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	c, err := client.New(client.Config{URL: server.URL, Token: "secret", CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheTokenDoesNotFollowARedirect(t *testing.T) {
	t.Parallel()
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	t.Cleanup(thief.Close)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
	})
	if err := c.Health(t.Context()); stint.CodeOf(err) != stint.Internal {
		t.Error(err)
	}
}

func TestWhatIsNoIDStaysInItsPlaceInThePath(t *testing.T) {
	t.Parallel()
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if got := r.URL.EscapedPath(); got != "/v1/executions/..%2F%3Fa%23/log" {
			t.Error(got)
		}
	})
	if _, err := c.Log(t.Context(), "../?a#", stint.LogQuery{}); err != nil {
		t.Error(err)
	}
}

func TestAFileThatIsRefusedIsNotSent(t *testing.T) {
	t.Parallel()
	// A client waits for a second before it sends without an answer. In a bubble none
	// passes while the service works on one.
	synctest.Test(t, func(t *testing.T) {
		c := serveInMemory(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
		file := strings.NewReader("never read")
		if err := c.PutFile(t.Context(), stint.Digest{}, file.Size(), file); stint.CodeOf(err) != stint.Denied || file.Len() != int(file.Size()) {
			t.Errorf("%v after %d bytes", err, file.Size()-int64(file.Len()))
		}
	})
}

func TestARefusalWithoutAKnownCodeIsReadFromItsStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]stint.Code{
		400: stint.Invalid, 401: stint.Denied, 403: stint.Denied, 404: stint.NotFound, 405: stint.Invalid, 408: stint.Unavailable, 409: stint.Conflict,
		410: stint.Conflict, 413: stint.Invalid, 415: stint.Invalid, 422: stint.Invalid, 429: stint.Unavailable, 500: stint.Internal, 502: stint.Unavailable, 503: stint.Unavailable, 507: stint.Unavailable,
	} {
		for body, message := range map[string]string{
			`{"code":"of_its_own","message":"why"}`:                                       "why",
			`{"code":"a","message":"one","errors":[{"message":"one"},{"message":"two"}]}`: "one; two",
			`<html>`: "the service answered",
			`{}`:     "the service answered",
		} {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
			_, err := c.Show(t.Context(), "x")
			if stint.CodeOf(err) != want || !strings.HasPrefix(err.Error(), message) {
				t.Errorf("%d %s: %s %v", status, body, stint.CodeOf(err), err)
			}
		}
	}
}

func TestAServiceThatIsNotThereIsUnavailable(t *testing.T) {
	t.Parallel()
	c := connectInMemory(t, memnet.New()) // another process may take a port of the machine that was freed
	if _, err := c.Submit(t.Context(), stint.Request{}); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("submit: %v", err)
	}
	if _, err := c.Terminate(t.Context(), "x"); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("terminate: %v", err)
	}
	if err := c.Health(t.Context()); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("health: %v", err)
	}
}

func TestAnAnswerThatNeverCameIsUnknownUnlessNothingWasAsked(t *testing.T) {
	t.Parallel()
	c := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, err := c.Terminate(t.Context(), "x"); stint.CodeOf(err) != stint.Unknown {
		t.Errorf("terminate: %v", err)
	}
	if _, err := c.Show(t.Context(), "x"); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("show: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Show(ctx, "x"); stint.CodeOf(err) != stint.Canceled || !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestALostAnswerToSubmitIsAskedForAgainWithTheSameKey(t *testing.T) {
	t.Parallel()
	for answered, want := range map[int]stint.Code{1: "", 2: "", 3: "", 4: stint.Unknown} {
		keys := make(chan string, 10)
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			var request stint.Request
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
				t.Error(err)
			}
			keys <- request.Key
			if len(keys) < answered {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"id":"x-1"}`)
		})
		x, err := c.Submit(t.Context(), stint.Request{})
		if stint.CodeOf(err) != want || (err == nil) != (x.ID == "x-1") {
			t.Errorf("answered the %d. time: %v", answered, err)
		}
		if len(keys) != min(answered, 3) {
			t.Errorf("answered the %d. time: asked %d times", answered, len(keys))
		}
		first := <-keys
		if err != nil && !strings.Contains(err.Error(), first) {
			t.Errorf("the error does not name the key: %v", err)
		}
		for len(keys) > 0 {
			if key := <-keys; key != first || key == "" {
				t.Errorf("keys %q and %q", first, key)
			}
		}
	}
}

func TestAnAnswerThatIsNoneIsTheServicesFault(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	if _, err := c.Cluster(t.Context()); stint.CodeOf(err) != stint.Internal {
		t.Error(err)
	}
}
