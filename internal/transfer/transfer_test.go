package transfer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/wire"
)

const (
	execution = stint.ExecutionID("x-aaaaaaaaaaaaaaaa")
	node      = stint.NodeID("n-aaaaaaaaaaaa")
)

// blocks are the blocks of a node: bytes of partition 3 of stage 1 by operation.
type blocks map[uint32][]byte

func (b blocks) open(_ context.Context, x stint.ExecutionID, stage int, op, partition uint32) (*io.SectionReader, int64, uint64, error) {
	data, ok := b[op]
	if !ok || x != execution || stage != 1 || partition != 3 {
		return nil, 0, 0, stint.Errorf(stint.NotFound, "no block")
	}
	return io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), int64(op) + 1, xxh3.Hash(data), nil
}

func request(ranges ...stint.Range) Request {
	return Request{Execution: execution, Stage: 1, Partition: 3, Ops: ranges}
}

// roundTrip is a transport that is a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// through is a client whose requests go to h without a network.
func through(h http.Handler) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	})}
}

func fetchFrom(t *testing.T, h http.Handler, req Request) ([]Fetched, []byte, error) {
	t.Helper()
	var out bytes.Buffer
	got, err := Fetch(t.Context(), through(h), "peer:1", req, &out)
	return got, out.Bytes(), err
}

func wantError(t *testing.T, err error, code stint.Code, text string) {
	t.Helper()
	if err == nil || stint.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Fatalf("got %v with code %q; want code %q and %q", err, stint.CodeOf(err), code, text)
	}
}

func TestBlocksArriveInOrderOfOperationsWhateverTheirLengths(t *testing.T) {
	t.Parallel()
	b := blocks{0: []byte("zero"), 1: {}, 2: bytes.Repeat([]byte("2"), copyBuffer), 3: bytes.Repeat([]byte("33"), copyBuffer+1), 9: []byte("9"), 11: []byte("not asked for")}
	got, bytesGot, err := fetchFrom(t, &Handler{Open: b.open}, request(stint.Range{From: 0, To: 4}, stint.Range{From: 9, To: 10}))
	if err != nil {
		t.Fatal(err)
	}
	var want []Fetched
	var wantBytes []byte
	for _, op := range []uint32{0, 2, 3, 9} {
		want = append(want, Fetched{Op: op, Offset: int64(len(wantBytes)), Length: int64(len(b[op])), Records: int64(op) + 1, Sum: xxh3.Hash(b[op])})
		wantBytes = append(wantBytes, b[op]...)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(wantBytes, bytesGot) {
		t.Errorf("%d bytes, want %d", len(bytesGot), len(wantBytes))
	}
}

func TestMissingBlocksAreNamedAndTheOthersArrive(t *testing.T) {
	t.Parallel()
	b := blocks{1: []byte("one"), 4: {}}
	got, out, err := fetchFrom(t, &Handler{Open: b.open}, request(stint.Range{From: 0, To: 6}))
	wantError(t, err, stint.Lost, "4 blocks are not there, the first of operation 0")
	var missing *MissingError
	if !errors.As(err, &missing) {
		t.Fatal(err)
	}
	want := []stint.Range{{From: 0, To: 1}, {From: 2, To: 4}, {From: 5, To: 6}}
	if d := cmp.Diff(want, missing.Ops, cmp.AllowUnexported(stint.Range{})); d != "" {
		t.Error(d)
	}
	if len(got) != 1 || got[0].Op != 1 || string(out) != "one" {
		t.Error(got, out)
	}
}

func TestAlteredBytesAreFoundAndTheOperationIsNamed(t *testing.T) {
	t.Parallel()
	b := blocks{5: []byte("good"), 6: []byte("other"), 7: []byte("later")}
	h := &Handler{Open: func(ctx context.Context, x stint.ExecutionID, stage int, op, partition uint32) (*io.SectionReader, int64, uint64, error) {
		r, records, sum, err := b.open(ctx, x, stage, op, partition)
		if op == 6 {
			sum++
		}
		return r, records, sum, err
	}}
	got, _, err := fetchFrom(t, h, request(stint.Range{From: 5, To: 8}))
	wantError(t, err, stint.Lost, "block of operation 6: checksum")
	var altered *ChecksumError
	if !errors.As(err, &altered) || altered.Op != 6 {
		t.Error(err)
	}
	if len(got) != 1 || got[0].Op != 5 {
		t.Error(got)
	}
}

// failing reads some bytes of a block and then fails.
type failing struct{ n int }

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if int(off)+len(p) > f.n {
		return 0, errors.New("disk error")
	}
	return len(p), nil
}

func TestAServerThatStopsInMidStreamIsUnavailable(t *testing.T) {
	t.Parallel()
	b := blocks{0: []byte("zero")}
	h := &Handler{Open: func(ctx context.Context, x stint.ExecutionID, stage int, op, partition uint32) (*io.SectionReader, int64, uint64, error) {
		if op == 1 {
			return io.NewSectionReader(&failing{copyBuffer + 10}, 0, 1<<20), 1, 0, nil
		}
		return b.open(ctx, x, stage, op, partition)
	}}
	got, _, err := fetchFrom(t, h, request(stint.Range{From: 0, To: 3}))
	wantError(t, err, stint.Unavailable, "operation 1")
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 1 || got[0].Op != 0 {
		t.Error(got, err)
	}
}

// whole returns the answer of a good server to request(0…2).
func whole(tb testing.TB) []byte {
	tb.Helper()
	b := blocks{0: []byte("zero"), 1: []byte("one")}
	w := httptest.NewRecorder()
	body, err := wire.Marshal(request(stint.Range{From: 0, To: 2}))
	if err != nil {
		tb.Fatal(err)
	}
	(&Handler{Open: b.open}).ServeHTTP(w, httptest.NewRequestWithContext(tb.Context(), http.MethodPost, Path, bytes.NewReader(body)))
	return w.Body.Bytes()
}

func answers(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
}

func TestEveryCutAndEveryFlippedBitOfAnAnswerIsFound(t *testing.T) {
	t.Parallel()
	good := whole(t)
	req := request(stint.Range{From: 0, To: 2})
	if _, _, err := fetchFrom(t, answers(good), req); err != nil {
		t.Fatal(err)
	}
	for cut := range good {
		if _, _, err := fetchFrom(t, answers(good[:cut]), req); err == nil {
			t.Fatalf("cut at %d of %d", cut, len(good))
		}
	}
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, _, err := fetchFrom(t, answers(bad), req); err == nil {
			t.Fatalf("bit %d of %d", bit, len(good)*8)
		}
	}
}

func TestAnswersThatDoNotFitTheRequestAreRefused(t *testing.T) {
	t.Parallel()
	sum := xxh3.Hash([]byte("b"))
	part := func(op uint32) header { return header{Op: op, Length: 1, Records: 1, Sum: sum} }
	end := func(present, missing []stint.Range) header {
		return header{End: true, Present: present, Missing: missing}
	}
	both := []stint.Range{{From: 4, To: 6}}
	tests := []struct {
		name    string
		headers []header
		text    string
	}{
		{"not asked for", []header{part(9)}, "not asked for"},
		{"twice", []header{part(4), part(4)}, "out of order"},
		{"descending", []header{part(5), part(4)}, "out of order"},
		{"no bytes", []header{{Op: 4}}, "0 bytes"},
		{"negative length", []header{{Op: 4, Length: -1}}, "-1 bytes"},
		{"negative records", []header{{Op: 4, Length: 1, Records: -1}}, "-1 records"},
		{"nothing at the end", []header{end(nil, nil)}, "does not account"},
		{"one left out", []header{end([]stint.Range{{From: 4, To: 5}}, nil)}, "does not account"},
		{"one too many", []header{end([]stint.Range{{From: 4, To: 7}}, nil)}, "does not account"},
		{"present and missing", []header{end(both, []stint.Range{{From: 4, To: 5}})}, "does not account"},
		{"ranges in disorder", []header{end([]stint.Range{{From: 5, To: 6}, {From: 4, To: 5}}, nil)}, "disorder"},
		{"missing after its bytes", []header{part(4), end([]stint.Range{{From: 5, To: 6}}, []stint.Range{{From: 4, To: 5}})}, "missing, after its bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var body []byte
			for _, h := range test.headers {
				var err error
				if body, err = wire.AppendFrame(body, h); err != nil {
					t.Fatal(err)
				}
				body = append(body, bytes.Repeat([]byte("b"), int(max(h.Length, 0)))...)
			}
			_, _, err := fetchFrom(t, answers(body), request(both...))
			wantError(t, err, stint.Unavailable, test.text)
		})
	}
}

func FuzzAnswer(f *testing.F) {
	good := whole(f)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte{})
	req := request(stint.Range{From: 0, To: 2})
	f.Fuzz(func(t *testing.T, body []byte) {
		var out bytes.Buffer
		got, err := Fetch(t.Context(), through(answers(body)), "peer:1", req, &out)
		end := int64(0)
		for _, g := range got {
			if g.Offset < end || g.Offset+g.Length > int64(out.Len()) || xxh3.Hash(out.Bytes()[g.Offset:g.Offset+g.Length]) != g.Sum {
				t.Fatal(got, err)
			}
			end = g.Offset + g.Length
		}
	})
}

func FuzzRequest(f *testing.F) {
	for _, req := range []Request{request(stint.Range{From: 0, To: 2}), {}, request(stint.Range{From: 0, To: 1<<32 - 1})} {
		body, err := wire.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	h := &Handler{Open: blocks{0: []byte("zero")}.open}
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, bytes.NewReader(body)))
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Fatal(w.Code, w.Body)
		}
	})
}

func TestBadRequestsAreRefusedOnBothSides(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*Request)
		text   string
	}{
		{"execution", func(r *Request) { r.Execution = "../x" }, "../x"},
		{"stage", func(r *Request) { r.Stage = -1 }, "stage -1"},
		{"no operations", func(r *Request) { r.Ops = nil }, "ops: empty"},
		{"empty range", func(r *Request) { r.Ops = []stint.Range{{From: 1, To: 1}} }, "ascending"},
		{"touching", func(r *Request) { r.Ops = []stint.Range{{From: 0, To: 1}, {From: 1, To: 2}} }, "ascending"},
		{"descending", func(r *Request) { r.Ops = []stint.Range{{From: 5, To: 6}, {From: 1, To: 2}} }, "ascending"},
		{"too many", func(r *Request) { r.Ops = []stint.Range{{From: 0, To: 1 << 31}} }, "limit 1048576"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			req := request(stint.Range{From: 0, To: 1})
			test.change(&req)
			_, _, err := fetchFrom(t, answers(nil), req)
			wantError(t, err, stint.Invalid, test.text)
			body, err := wire.Marshal(req)
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			(&Handler{Open: blocks{}.open}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, bytes.NewReader(body)))
			if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), test.text) {
				t.Error(w.Code, w.Body)
			}
		})
	}
	w := httptest.NewRecorder()
	h := &Handler{Open: blocks{}.open}
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, bytes.NewReader(make([]byte, MaxRequest+1))))
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "too large") {
		t.Error(w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, Path, nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Error(w.Code)
	}
}

func TestABusyNodeIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		good := whole(t)
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if asked++; asked < 4 {
				w.Header().Set("Retry-After", "2")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			_, _ = w.Write(good)
		})
		start := time.Now()
		if _, _, err := fetchFrom(t, h, request(stint.Range{From: 0, To: 2})); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 6*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

func TestANodeThatStaysBusyIsUnavailableAfterHalfAMinute(t *testing.T) {
	t.Parallel()
	for _, retryAfter := range []string{"", "x", "-1", "100000"} {
		synctest.Test(t, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", retryAfter)
				w.WriteHeader(http.StatusServiceUnavailable)
			})
			start := time.Now()
			_, _, err := fetchFrom(t, h, request(stint.Range{From: 0, To: 2}))
			wantError(t, err, stint.Unavailable, "busy")
			if d := time.Since(start); d < busyTimeout || d > busyTimeout+maxRetry {
				t.Errorf("after %v", d)
			}
		})
	}
}

func TestMoreThanSixtyFourReadersGet503(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := &Handler{Open: func(context.Context, stint.ExecutionID, int, uint32, uint32) (*io.SectionReader, int64, uint64, error) {
			<-release
			return nil, 0, 0, stint.Errorf(stint.NotFound, "none")
		}}
		body, err := wire.Marshal(request(stint.Range{From: 0, To: 1}))
		if err != nil {
			t.Fatal(err)
		}
		ask := func() *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, bytes.NewReader(body)))
			return w
		}
		var wg sync.WaitGroup
		for range maxReaders {
			wg.Go(func() {
				if w := ask(); w.Code != http.StatusOK {
					t.Error(w.Code)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		if w := ask(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || time.Since(start) != queueTimeout {
			t.Error(w.Code, w.Header(), time.Since(start))
		}
		close(release)
		wg.Wait()
		if w := ask(); w.Code != http.StatusOK {
			t.Error("a place was not given back:", w.Code)
		}
	})
}

// stuck gives some bytes and then nothing until its request ends.
type stuck struct {
	ctx  context.Context
	data *bytes.Reader
}

func (s *stuck) Read(p []byte) (int, error) {
	if s.data.Len() > 0 {
		return s.data.Read(p)
	}
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func (*stuck) Close() error { return nil }

func TestASilentPeerIsGivenUpAfterHalfAMinute(t *testing.T) {
	t.Parallel()
	good := whole(t)
	for _, n := range []int{-1, 0, 5, len(good) - 1} { // bytes before the silence; -1: not even a status
		synctest.Test(t, func(t *testing.T) {
			client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if n < 0 {
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				return &http.Response{StatusCode: http.StatusOK, Body: &stuck{r.Context(), bytes.NewReader(good[:n])}}, nil
			})}
			start := time.Now()
			_, err := Fetch(t.Context(), client, "peer:1", request(stint.Range{From: 0, To: 2}), io.Discard)
			wantError(t, err, stint.Unavailable, "no byte for 30s")
			if d := time.Since(start); d != stallTimeout {
				t.Errorf("after %v", d)
			}
		})
	}
}

// writer is a writer that is a function.
type writer func([]byte) (int, error)

func (f writer) Write(p []byte) (int, error) { return f(p) }

func TestTheCallersOwnSlownessIsNotThePeers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := through(answers(whole(t)))
		slow := writer(func(p []byte) (int, error) {
			time.Sleep(2 * stallTimeout)
			return len(p), nil
		})
		if _, err := Fetch(t.Context(), client, "peer:1", request(stint.Range{From: 0, To: 2}), slow); err != nil {
			t.Error(err)
		}
	})
}

func TestErrorsOfTheWriterAreNotThePeers(t *testing.T) {
	t.Parallel()
	errFull := errors.New("no space left")
	full := writer(func([]byte) (int, error) { return 0, errFull })
	_, err := Fetch(t.Context(), through(answers(whole(t))), "peer:1", request(stint.Range{From: 0, To: 2}), full)
	if !errors.Is(err, errFull) || stint.CodeOf(err) == stint.Unavailable || stint.CodeOf(err) == stint.Lost {
		t.Error(err)
	}
}

func TestACanceledFetchSaysSo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) { return nil, r.Context().Err() })}
	_, err := Fetch(ctx, client, "peer:1", request(stint.Range{From: 0, To: 2}), io.Discard)
	wantError(t, err, stint.Canceled, "peer:1")
}

func TestOtherAnswersAreUnavailable(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusFound, http.StatusBadRequest, http.StatusNotFound, http.StatusInternalServerError} {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "because", status) })
		_, _, err := fetchFrom(t, h, request(stint.Range{From: 0, To: 2}))
		wantError(t, err, stint.Unavailable, "because")
	}
	_, err := Fetch(t.Context(), http.DefaultClient, "127.0.0.1:1", request(stint.Range{From: 0, To: 2}), io.Discard)
	wantError(t, err, stint.Unavailable, "127.0.0.1:1")
	_, err = Fetch(t.Context(), http.DefaultClient, "bad host", request(stint.Range{From: 0, To: 2}), io.Discard)
	wantError(t, err, stint.Invalid, "expected HOST:PORT")
}

// serveAs serves h over TLS with the certificate of a node.
func serveAs(t *testing.T, id stint.NodeID, h http.Handler) *httptest.Server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{{Scheme: "stint", Host: "node", Path: "/" + string(id)}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestOnlyTheNodeThatWasAskedMayAnswer(t *testing.T) {
	t.Parallel()
	b := blocks{0: bytes.Repeat([]byte("0123456789abcdef"), 1<<16), 1: []byte("one")}
	s := serveAs(t, node, &Handler{Open: b.open})
	client := NewClient(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) // chains are for the configuration that package auth makes
	t.Cleanup(client.CloseIdleConnections)
	req := request(stint.Range{From: 0, To: 2})
	for _, test := range []struct {
		node stint.NodeID
		code stint.Code
	}{{"", ""}, {node, ""}, {"n-bbbbbbbbbbbb", stint.Denied}} {
		req.Node = test.node
		var out bytes.Buffer
		_, err := Fetch(t.Context(), client, s.Listener.Addr().String(), req, &out)
		if stint.CodeOf(err) != test.code {
			t.Errorf("%q: %v", test.node, err)
		}
		if err == nil && !bytes.Equal(out.Bytes(), slices.Concat(b[0], b[1])) {
			t.Errorf("%q: other bytes", test.node)
		}
		if err != nil && out.Len() > 0 {
			t.Errorf("%q: %d bytes of another node were taken", test.node, out.Len())
		}
	}
	_, _, err := fetchFrom(t, answers(whole(t)), req) // no TLS at all
	wantError(t, err, stint.Denied, "identity_mismatch")
}

func TestBlocksThatCannotBeOpenedForNowAreNotMissing(t *testing.T) {
	t.Parallel()
	b := blocks{0: []byte("zero"), 1: []byte("one")}
	short := func(op uint32) error {
		if op == 1 {
			return stint.Errorf(stint.Unavailable, "open segment: %w", syscall.EMFILE)
		}
		return nil
	}
	h := &Handler{
		Open: func(ctx context.Context, x stint.ExecutionID, stage int, op, partition uint32) (*io.SectionReader, int64, uint64, error) {
			r, records, sum, err := b.open(ctx, x, stage, op, partition)
			return r, records, sum, errors.Join(short(op), err)
		},
		OpenWhole: func(ctx context.Context, x stint.ExecutionID, stage int, op uint32) (*io.SectionReader, []Part, error) {
			r, parts, err := b.openWhole(ctx, x, stage, op)
			return r, parts, errors.Join(short(op), err)
		},
	}
	two := request(stint.Range{From: 0, To: 2})
	_, _, parted := fetchFrom(t, h, two)
	_, whole := FetchWhole(t.Context(), through(h), "peer:1", two, (&keeping{got: make(blocks)}).keep)
	for _, err := range []error{parted, whole} {
		wantError(t, err, stint.Unavailable, "answer is not whole")
		if isMissing(err) {
			t.Error(err)
		}
	}
}

func TestAConnectionCutInMidStreamIsUnavailable(t *testing.T) {
	t.Parallel()
	good := whole(t)
	s := serveAs(t, node, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(good[:len(good)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	client := NewClient(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	t.Cleanup(client.CloseIdleConnections)
	_, err := Fetch(t.Context(), client, s.Listener.Addr().String(), request(stint.Range{From: 0, To: 2}), io.Discard)
	wantError(t, err, stint.Unavailable, "unexpected EOF")
}

func BenchmarkFetch(b *testing.B) {
	data := blocks{}
	ops := uint32(64)
	for op := range ops {
		data[op] = bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	}
	s := httptest.NewTLSServer(&Handler{Open: data.open})
	defer s.Close()
	client := NewClient(s.Client().Transport.(*http.Transport).TLSClientConfig)
	b.SetBytes(int64(ops) << 18)
	for b.Loop() {
		if _, err := Fetch(b.Context(), client, s.Listener.Addr().String(), request(stint.Range{From: 0, To: ops}), io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// openWhole serves every block as two partitions: 3 with its first byte, and 7.
func (b blocks) openWhole(_ context.Context, x stint.ExecutionID, stage int, op uint32) (*io.SectionReader, []Part, error) {
	data, ok := b[op]
	if !ok || x != execution || stage != 1 {
		return nil, nil, stint.Errorf(stint.NotFound, "no block")
	}
	var parts []Part
	if len(data) > 0 {
		parts = []Part{
			{Partition: 3, Length: 1, Records: 1, Sum: xxh3.Hash(data[:1])},
			{Partition: 7, Length: int64(len(data)) - 1, Records: int64(op), Sum: xxh3.Hash(data[1:])},
		}
	}
	return io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), parts, nil
}

// keeping keeps whole blocks in memory, verified, and as text what it was told of them.
type keeping struct {
	got  blocks
	told []string
}

func (k *keeping) keep(op uint32, parts []Part, r io.Reader) error {
	var all []byte
	for _, p := range parts {
		b, err := io.ReadAll(io.LimitReader(r, p.Length))
		if err != nil {
			return err
		}
		if xxh3.Hash(b) != p.Sum {
			return stint.Errorf(stint.Lost, "partition %d is altered", p.Partition)
		}
		all = append(all, b...)
	}
	k.got[op] = all
	k.told = append(k.told, fmt.Sprint(op, len(parts)))
	return nil
}

func TestWholeBlocksArriveWithTheirPartitionsAndEmptyOnesToo(t *testing.T) {
	t.Parallel()
	b := blocks{0: []byte("zero"), 1: {}, 2: bytes.Repeat([]byte("2"), copyBuffer+9), 5: []byte("five")}
	k := &keeping{got: blocks{}}
	kept, err := FetchWhole(t.Context(), through(&Handler{OpenWhole: b.openWhole}), "peer:1", request(stint.Range{From: 0, To: 4}, stint.Range{From: 5, To: 6}), k.keep)
	wantError(t, err, stint.Lost, "1 blocks are not there, the first of operation 3")
	if d := cmp.Diff([]stint.Range{{From: 0, To: 3}, {From: 5, To: 6}}, kept, cmp.AllowUnexported(stint.Range{})); d != "" {
		t.Error(d)
	}
	for op, want := range b {
		if !bytes.Equal(k.got[op], want) {
			t.Errorf("operation %d: %d bytes, want %d", op, len(k.got[op]), len(want))
		}
	}
	if d := cmp.Diff([]string{"0 2", "2 2", "5 2", "1 0"}, k.told); d != "" {
		t.Error(d)
	}
}

func TestAWholeBlockThatIsRefusedIsNamed(t *testing.T) {
	t.Parallel()
	b := blocks{0: []byte("zero"), 1: []byte("one"), 2: []byte("two")}
	h := &Handler{OpenWhole: func(ctx context.Context, x stint.ExecutionID, stage int, op uint32) (*io.SectionReader, []Part, error) {
		r, parts, err := b.openWhole(ctx, x, stage, op)
		if op == 1 {
			parts[1].Sum++
		}
		return r, parts, err
	}}
	k := &keeping{got: blocks{}}
	kept, err := FetchWhole(t.Context(), through(h), "peer:1", request(stint.Range{From: 0, To: 3}), k.keep)
	wantError(t, err, stint.Lost, "block of operation 1: partition 7 is altered")
	damaged, ok := errors.AsType[*DamagedError](err)
	if !ok || damaged.Op != 1 || len(kept) != 1 || kept[0].To != 1 {
		t.Error(kept, err)
	}
}

func TestWhoCannotKeepABlockIsNotThePeersFault(t *testing.T) {
	t.Parallel()
	full := errors.New("no room")
	for _, b := range []blocks{{0: []byte("zero")}, {0: {}}} {
		_, err := FetchWhole(t.Context(), through(&Handler{OpenWhole: b.openWhole}), "peer:1", request(stint.Range{From: 0, To: 1}), func(uint32, []Part, io.Reader) error { return full })
		if !errors.Is(err, full) || stint.CodeOf(err) != stint.Internal {
			t.Error(err)
		}
	}
}

func TestEveryCutOfAnAnswerWithWholeBlocksIsFound(t *testing.T) {
	t.Parallel()
	b := blocks{0: []byte("zero"), 1: {}, 2: []byte("two")}
	req := request(stint.Range{From: 0, To: 3})
	req.Whole = true
	body, err := wire.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	(&Handler{OpenWhole: b.openWhole}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, bytes.NewReader(body)))
	good := w.Body.Bytes()
	for cut := range good {
		k := &keeping{got: blocks{}}
		if _, err := FetchWhole(t.Context(), through(answers(good[:cut])), "peer:1", req, k.keep); stint.CodeOf(err) != stint.Unavailable {
			t.Fatalf("cut at %d of %d: %v", cut, len(good), err)
		}
	}
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		k := &keeping{got: blocks{}}
		if _, err := FetchWhole(t.Context(), through(answers(bad)), "peer:1", req, k.keep); err == nil {
			t.Fatalf("bit %d of %d", bit, len(good)*8)
		}
	}
}

func TestPartitionsThatDoNotFillTheirBlockAreRefused(t *testing.T) {
	t.Parallel()
	for name, parts := range map[string][]Part{
		"too few bytes": {{Partition: 1, Length: 3}}, "too many": {{Partition: 1, Length: 5}}, "none": nil, "negative": {{Partition: 1, Length: -1}, {Partition: 2, Length: 5}},
		"order": {{Partition: 2, Length: 2}, {Partition: 2, Length: 2}}, "records": {{Partition: 1, Length: 4, Records: -1}}, "empty": {{Partition: 1}, {Partition: 2, Length: 4}},
	} {
		body, err := wire.AppendFrame(nil, header{Op: 0, Length: 4, Parts: parts})
		if err != nil {
			t.Fatal(err)
		}
		_, err = FetchWhole(t.Context(), through(answers(append(body, "data"...))), "peer:1", request(stint.Range{From: 0, To: 1}), func(uint32, []Part, io.Reader) error {
			t.Errorf("%s: kept", name)
			return nil
		})
		wantError(t, err, stint.Unavailable, "operation 0")
	}
}
