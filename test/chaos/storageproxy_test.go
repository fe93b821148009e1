package chaos

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// request is a kind of request of object storage.
type request string

// The kinds of requests.
const (
	putObject   request = "PUT"
	putIf       request = "conditional PUT" // what claims, marks and commits are
	copyObject  request = "CopyObject"
	beginUpload request = "CreateMultipartUpload"
	uploadPart  request = "UploadPart"
	endUpload   request = "CompleteMultipartUpload"
	dropUpload  request = "AbortMultipartUpload"
	listObjects request = "LIST"
	listUploads request = "ListMultipartUploads"
	headObject  request = "HEAD"
	getObject   request = "GET"
	deleteOne   request = "DELETE"
	deleteMany  request = "DeleteObjects"
	other       request = "other"
)

// requests lists the kinds that an execution makes, in the order of its life.
func requests() []request {
	return []request{putObject, putIf, beginUpload, uploadPart, endUpload, copyObject, listObjects, listUploads, headObject, getObject, deleteOne, deleteMany}
}

// kindOfRequest says what a request asks for.
func kindOfRequest(r *http.Request) request {
	q := r.URL.Query()
	switch r.Method {
	case http.MethodPut:
		return kindOfPut(r, q)
	case http.MethodPost:
		return first(map[request]bool{beginUpload: q.Has("uploads"), endUpload: q.Has("uploadId"), deleteMany: q.Has("delete")})
	case http.MethodDelete:
		return first(map[request]bool{dropUpload: q.Has("uploadId"), deleteOne: !q.Has("uploadId")})
	case http.MethodHead:
		return headObject
	case http.MethodGet:
		return first(map[request]bool{
			listObjects: q.Has("list-type"), listUploads: q.Has("uploads"),
			getObject: len(q) == 0 && strings.Count(strings.Trim(r.URL.Path, "/"), "/") > 0,
		})
	}
	return other
}

func kindOfPut(r *http.Request, q url.Values) request {
	switch {
	case r.Header.Get("X-Amz-Copy-Source") != "":
		return copyObject
	case q.Has("partNumber"):
		return uploadPart
	case r.Header.Get("If-None-Match")+r.Header.Get("If-Match") != "":
		return putIf
	}
	return putObject
}

// first returns the kind that is so; no two are.
func first(kinds map[request]bool) request {
	for kind, is := range kinds {
		if is {
			return kind
		}
	}
	return other
}

// mischief is what a proxy does to a request.
type mischief string

// What can be done to a request.
const (
	slowDown   mischief = "503 SlowDown"              // nothing is done
	expired    mischief = "403 ExpiredToken"          // nothing is done
	after500   mischief = "500 after success"         // it is done, and said to have failed
	lostAnswer mischief = "no answer after success"   // it is done, and the connection breaks
	cutRequest mischief = "broken off in the request" // in the middle of its body
	cutAnswer  mischief = "broken off in the answer"  // in the middle of its body
	truncated  mischief = "a truncated answer"        // that ends as a whole one does
	delayed    mischief = "a delay"
)

// mischiefs lists them all.
func mischiefs() []mischief {
	return []mischief{slowDown, expired, after500, lostAnswer, cutRequest, cutAnswer, truncated, delayed}
}

// rule says what is done to which requests.
type rule struct {
	what  mischief
	kind  request // "": of every kind
	at    int     // only to the at-th such request since the rule was made; 0: to each
	share float64 // of the others; 0: to each
	pause time.Duration

	seen, done int
}

// storageProxy stands before a server of object storage and makes mischief. The
// header Host, which is signed, goes through as it is.
type storageProxy struct {
	target string // host:port of the server
	server *httptest.Server
	client *http.Transport

	mu    sync.Mutex
	rules []*rule
	draw  *rand.Rand
	seen  map[request]int
}

// newStorageProxy starts one, which ends with the test.
func newStorageProxy(t *testing.T, target string) *storageProxy {
	t.Helper()
	p := &storageProxy{
		target: strings.TrimPrefix(target, "http://"), draw: random(t), seen: make(map[request]int),
		client: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext},
	}
	p.server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
		p.client.CloseIdleConnections()
		p.mu.Lock()
		defer p.mu.Unlock()
		t.Logf("requests: %v", p.seen)
	})
	return p
}

// set replaces all rules.
func (p *storageProxy) set(rules ...*rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = rules
}

// count returns how often a rule was applied.
func (p *storageProxy) count(r *rule) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return r.done
}

// decide returns the rule that applies to a request; nil: none.
func (p *storageProxy) decide(kind request) *rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[kind]++
	for _, r := range p.rules {
		if r.kind != "" && r.kind != kind {
			continue
		}
		r.seen++
		if r.at > 0 && r.seen != r.at || r.share > 0 && p.draw.Float64() >= r.share {
			continue
		}
		r.done++
		return r
	}
	return nil
}

// ServeHTTP implements [http.Handler].
func (p *storageProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rule := p.decide(kindOfRequest(r))
	what := mischief("")
	if rule != nil {
		what = rule.what
	}
	switch what {
	case slowDown:
		refuse(w, http.StatusServiceUnavailable, "SlowDown")
		return
	case expired:
		refuse(w, http.StatusForbidden, "ExpiredToken")
		return
	case cutRequest:
		r.Body = io.NopCloser(&brokenReader{io.LimitReader(r.Body, max(r.ContentLength, 0)/2)})
	case delayed:
		select {
		case <-time.After(rule.pause):
		case <-r.Context().Done():
		}
	case after500, lostAnswer, cutAnswer, truncated:
	}
	answer, err := p.forward(r)
	if err != nil {
		panic(http.ErrAbortHandler) // the client sees the same
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	switch what {
	case after500:
		_, _ = io.Copy(io.Discard, answer.Body)
		refuse(w, http.StatusInternalServerError, "InternalError")
	case lostAnswer, cutRequest:
		_, _ = io.Copy(io.Discard, answer.Body)
		panic(http.ErrAbortHandler)
	case cutAnswer, truncated:
		part(w, answer, what)
	case slowDown, expired, delayed:
		pass(w, answer, answer.Body)
	default:
		pass(w, answer, answer.Body)
	}
}

// forward asks the server.
func (p *storageProxy) forward(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host, out.Host = "http", p.target, r.Host
	if r.ContentLength == 0 {
		out.Body = nil
	}
	return p.client.RoundTrip(out)
}

// brokenReader reads what is there and then fails.
type brokenReader struct{ r io.Reader }

func (b *brokenReader) Read(buffer []byte) (int, error) {
	n, err := b.r.Read(buffer)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// refuse answers as servers of object storage do.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>by the test</Message></Error>`, code)
}

func pass(w http.ResponseWriter, answer *http.Response, body io.Reader) {
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	if answer.Header.Get("Content-Length") == "" {
		flush(w) // or a short body gets a length, which is then a lie
	}
	if _, err := io.Copy(w, body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// part passes half of an answer on. A truncated one has no length in its head, and
// ends as if that were all.
func part(w http.ResponseWriter, answer *http.Response, what mischief) {
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if what == truncated && answer.StatusCode < http.StatusMultipleChoices {
		answer.Header.Del("Content-Length")
	}
	pass(w, answer, strings.NewReader(string(body[:len(body)/2])))
	if what == cutAnswer {
		flush(w)
		panic(http.ErrAbortHandler)
	}
}

// flush sends what was written.
func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}
