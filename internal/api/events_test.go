package api_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"

	"stint"
	"stint/internal/api"
)

// blocks reads the blocks of an event stream, comments among them, without the data of events.
func blocks(t *testing.T, body io.Reader, n int) []string {
	t.Helper()
	lines := bufio.NewScanner(body)
	var all []string
	var block []string
	for len(all) < n && lines.Scan() {
		line := lines.Text()
		if line == "" {
			all = append(all, strings.Join(block, "|"))
			block = nil
			continue
		}
		if strings.HasPrefix(line, "data: ") {
			line = "data"
		}
		block = append(block, line)
	}
	return all
}

// opened is an answer whose body is still coming.
type opened struct {
	reply
	Body io.Reader
}

// open sends a request; the test's end closes the answer.
func open(t *testing.T, transport http.RoundTripper, r *http.Request) opened {
	t.Helper()
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return opened{reply{response.StatusCode, response.Header}, response.Body}
}

func watch(t *testing.T, url, last string) opened {
	t.Helper()
	r := request(t, http.MethodGet, url+"/v1/executions/"+known+"/events", "")
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	return open(t, http.DefaultTransport, r)
}

func version(n uint64, status stint.ExecutionStatus) stint.Execution {
	x := execution(1, status)
	x.Version = n
	return x
}

const all = 1 << 20 // blocks: until the stream ends

func TestAStreamCarriesEveryChangeAndEndsAfterTheFinalDocument(t *testing.T) {
	t.Parallel()
	s := newService(version(4, stint.InProgress))
	response := watch(t, serve(t, config(s)).URL, "")
	if ct := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || ct != "text/event-stream" {
		t.Fatalf("%d %s", response.StatusCode, ct)
	}
	got := blocks(t, response.Body, 2)
	s.set(version(6, stint.Completed))
	got = append(got, blocks(t, response.Body, all)...)
	if d := cmp.Diff([]string{"retry: 2000", "id: 4|event: execution|data", "id: 6|event: execution|data"}, got); d != "" {
		t.Error(d)
	}
}

func TestAStreamGoesOnBehindTheLastEventThatWasSeen(t *testing.T) {
	t.Parallel()
	s := newService(version(9, stint.Completed))
	url := serve(t, config(s)).URL
	for last, want := range map[string][]string{
		"4":  {"retry: 2000", "id: 9|event: execution|data"},
		"8":  {"retry: 2000", "id: 9|event: execution|data"},
		"77": {"retry: 2000", "id: 9|event: execution|data"}, // of another record
	} {
		if d := cmp.Diff(want, blocks(t, watch(t, url, last).Body, all)); d != "" {
			t.Errorf("after %s: %s", last, d)
		}
	}
	if response := watch(t, url, "9"); response.StatusCode != http.StatusNoContent {
		t.Errorf("final and seen: %d", response.StatusCode)
	}
}

func TestAnErrorAfterTheBeginningIsAnEvent(t *testing.T) {
	t.Parallel()
	broken := version(5, stint.InProgress)
	broken.Progress = math.NaN() // which JSON does not know
	for name, happens := range map[string]func(*service){
		"error":    func(s *service) { s.fail(errors.New("secret")) },
		"panic":    func(s *service) { s.breakDown() },
		"document": func(s *service) { s.set(broken) },
	} {
		s := newService(version(4, stint.InProgress))
		told := &faults{}
		c := config(s)
		c.Fault = told.add
		server := serve(t, c)
		response := watch(t, server.URL, "4")
		blocks(t, response.Body, 1)
		happens(s)
		rest := make([]byte, 1<<10)
		n, _ := io.ReadAtLeast(response.Body, rest, 60) // a broken document does not end the stream
		if text := string(rest[:n]); !strings.Contains(text, "event: error\ndata: {") || !strings.Contains(text, `"code":"internal"`) || strings.Contains(text, "secret") {
			t.Errorf("%s: %q", name, text)
		}
		if told.count() != 1 {
			t.Errorf("%s: operators were told %v", name, told.told)
		}
	}
}

func TestTheDocumentsOfAStreamHaveNoNullInPlaceOfALists(t *testing.T) {
	t.Parallel()
	response := watch(t, serve(t, config(newService(version(4, stint.Completed)))).URL, "")
	text, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(text), `"stints":[]`) {
		t.Errorf("%s %v", text, err)
	}
}

func TestTheHeadOfAStreamEndsAtOnce(t *testing.T) {
	t.Parallel()
	url := serve(t, config(newService(version(4, stint.InProgress)))).URL
	response, _ := ask(t, request(t, http.MethodHead, url+"/v1/executions/"+known+"/events", ""))
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%d %v", response.StatusCode, response.Header)
	}
}

// pipe is a listener whose connections live in memory, so that a bubble's clock governs them.
type pipe struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error   { close(p.done); return nil }
func (*pipe) Addr() net.Addr   { return &net.TCPAddr{} }
func (*pipe) Network() string  { return "pipe" }
func (p *pipe) dial() net.Conn { a, b := net.Pipe(); p.conns <- a; return b }

// inBubble serves c in a bubble, over HTTP/1 or 2, and returns what calls it.
func inBubble(t *testing.T, c api.Config, version int) *http.Transport {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(version == 1)
	protocols.SetUnencryptedHTTP2(version == 2)
	listener := &pipe{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: newHandler(t, c), Protocols: &protocols}
	go server.Serve(listener) //nolint:errcheck // ends with the bubble
	transport := &http.Transport{
		Protocols:   &protocols,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return listener.dial(), nil },
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
	})
	return transport
}

func TestASilentStreamShowsThatItIsAliveAndEndsWithItsClient(t *testing.T) {
	t.Parallel()
	for _, protocol := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(version(4, stint.InProgress))
			transport := inBubble(t, config(s), protocol)
			ctx, cancel := context.WithCancel(t.Context())
			r := request(t, http.MethodGet, "http://stint/v1/executions/"+known+"/events", "")
			r = r.WithContext(ctx)
			start := time.Now()
			response := open(t, transport, r)
			got := blocks(t, response.Body, 6)
			if d := cmp.Diff([]string{"retry: 2000", "id: 4|event: execution|data", ": still here", ": still here", ": still here", ": still here"}, got); d != "" {
				t.Error(d)
			}
			if took := time.Since(start); took != time.Minute {
				t.Errorf("four signs of life took %s", took)
			}
			cancel()
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.watchers != 0 {
				t.Errorf("%d watchers outlived their client", s.watchers)
			}
		})
	}
}

func TestAClientThatDoesNotReadLosesItsStream(t *testing.T) {
	t.Parallel()
	for _, protocol := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			x := version(4, stint.InProgress)
			x.Name = strings.Repeat("x", 8<<20) // more than any buffer on the way
			s := newService(x)
			open(t, inBubble(t, config(s), protocol), request(t, http.MethodGet, "http://stint/v1/executions/"+known+"/events", ""))
			<-time.After(16 * time.Second)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.watchers != 0 {
				t.Errorf("HTTP/%d: %d watchers wait for it", protocol, s.watchers)
			}
		})
	}
}

func TestATokenHasAtMostFiftyStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport := inBubble(t, config(newService(version(4, stint.InProgress))), 1)
		ctx, cancel := context.WithCancel(t.Context())
		watch := func(token string) opened {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://stint/v1/executions/"+known+"/events", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", token)
			return open(t, transport, r)
		}
		for range 50 {
			if response := watch("Bearer a"); response.StatusCode != http.StatusOK {
				t.Fatal(response.StatusCode)
			}
		}
		if response := watch("Bearer a"); response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") == "" {
			t.Errorf("stream 51: %d", response.StatusCode)
		}
		if response := watch("Bearer b"); response.StatusCode != http.StatusOK {
			t.Errorf("another token: %d", response.StatusCode)
		}
		cancel()
		synctest.Wait()
		ctx, cancel = context.WithCancel(t.Context())
		if response := watch("Bearer a"); response.StatusCode != http.StatusOK {
			t.Errorf("after the others ended: %d", response.StatusCode)
		}
		cancel()
	})
}

func TestABodyThatDoesNotArriveIsRefusedInTime(t *testing.T) {
	t.Parallel()
	for path, header := range map[string]string{"/v1/files/" + strings.Repeat("0", 64): "application/octet-stream", "/v1/executions": "application/json"} {
		for _, protocol := range []int{1, 2} {
			synctest.Test(t, func(t *testing.T) {
				transport := inBubble(t, config(newService()), protocol)
				method := http.MethodPut
				if path == "/v1/executions" {
					method = http.MethodPost
				}
				body, sender := io.Pipe()
				t.Cleanup(func() { _ = sender.Close() })
				r, err := http.NewRequestWithContext(t.Context(), method, "http://stint"+path, body)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", header)
				start := time.Now()
				response := open(t, transport, r)
				if took := time.Since(start); response.StatusCode != http.StatusRequestTimeout || took != 30*time.Second {
					t.Errorf("%d after %s", response.StatusCode, took)
				}
			})
		}
	}
}

func TestARequestMayTakeLongerToServeThanItsBodyToArrive(t *testing.T) {
	t.Parallel()
	for path, header := range map[string]string{"/v1/files/" + noBytes: "application/octet-stream", "/v1/executions": "application/json"} {
		for _, protocol := range []int{1, 2} {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				s.work = 10 * time.Minute
				method, body := http.MethodPut, ""
				if path == "/v1/executions" {
					method, body = http.MethodPost, minimal
				}
				response := open(t, inBubble(t, config(s), protocol), request(t, method, "http://stint"+path, body, "Content-Type", header))
				if response.StatusCode/100 != 2 {
					t.Errorf("%s over HTTP/%d: %d", path, protocol, response.StatusCode)
				}
			})
		}
	}
}

// noBytes is the BLAKE3 digest of nothing.
const noBytes = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"

// drip gives one byte every 20 seconds.
type drip struct{ left int }

func (d *drip) Read(b []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	<-time.After(20 * time.Second)
	d.left--
	b[0] = 'x'
	return 1, nil
}

func TestAFileMayComeSlowlyAsLongAsItComes(t *testing.T) {
	t.Parallel()
	for _, protocol := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			digest := stint.Digest(blake3.Sum256([]byte("xxxxx")))
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://stint/v1/files/"+digest.String(), &drip{left: 5})
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/octet-stream")
			if response := open(t, inBubble(t, config(newService()), protocol), r); response.StatusCode != http.StatusNoContent {
				t.Errorf("HTTP/%d: %d", protocol, response.StatusCode)
			}
		})
	}
}
