package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/api"
)

func serve(t *testing.T, c api.Config) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(newHandler(t, c))
	t.Cleanup(server.Close)
	return server
}

// reply is an answer without its body.
type reply struct {
	StatusCode int
	Header     http.Header
}

// ask sends a request and returns the answer and its whole body.
func ask(t *testing.T, r *http.Request) (reply, []byte) {
	t.Helper()
	response, err := (&http.Transport{DisableCompression: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header}, body
}

func request(t *testing.T, method, url, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost && strings.HasSuffix(url, "/v1/executions") {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func problemOf(t *testing.T, response reply, body []byte) api.Problem {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if ct := response.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content type %q", ct)
	}
	if p.Status != response.StatusCode || p.RequestID == "" || p.RequestID != response.Header.Get("X-Request-Id") || p.Title == "" {
		t.Errorf("problem %+v does not fit its answer %d", p, response.StatusCode)
	}
	return p
}

func zipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const (
	minimal = `{"program":{"name":"p","stages":[]}}`
	known   = "x-baaaaaaaaaaaaaaa"
	aNode   = "n-aaaaaaaaaaaa"
)

func TestABodyThatMayBeLeftOutAsksForTheDefaults(t *testing.T) {
	t.Parallel()
	s := newService(execution(1, stint.InProgress))
	url := serve(t, config(s)).URL
	for _, path := range []string{"/v1/executions/" + known + "/suspend", "/v1/executions/" + known + "/resume", "/v1/nodes/" + aNode + "/drain"} {
		if response, body := ask(t, request(t, "POST", url+path, "")); response.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
	if d := cmp.Diff([]any{stint.SuspendRequest{}, stint.ResumeRequest{}, stint.DrainRequest{}}, s.asked); d != "" {
		t.Error(d)
	}
}

func TestEveryBadInputGetsItsRefusalAndChangesNothing(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("y", 500)
	asJSON := []string{"Content-Type", "application/json"}
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code, message            string // message: a part of it
		pointer, hint            string
	}{
		{name: "A11 body too long", method: "POST", path: "/v1/executions", body: `{"name":"` + strings.Repeat("x", 5<<20) + `"}`, status: 413, code: "body_too_large", message: "4 MiB"},
		{name: "A17 gzip bomb", method: "POST", path: "/v1/executions", body: zipped(t, strings.Repeat(" ", 64<<20)), header: []string{"Content-Encoding", "gzip"}, status: 413, code: "decompressed_too_large", message: "4 MiB after decompression"},
		{name: "not gzip", method: "POST", path: "/v1/executions", body: minimal, header: []string{"Content-Encoding", "gzip"}, status: 400, code: "bad_encoding", message: "not gzip"},
		{name: "cut gzip", method: "POST", path: "/v1/executions", body: zipped(t, minimal)[:20], header: []string{"Content-Encoding", "gzip"}, status: 400, code: "bad_body", message: "before it was whole"},
		{name: "another encoding", method: "POST", path: "/v1/executions", body: minimal, header: []string{"Content-Encoding", "br"}, status: 415, code: "unsupported_encoding", message: `"br"`},
		{name: "A19 wrong type", method: "POST", path: "/v1/executions", body: minimal, header: []string{"Content-Type", "text/plain"}, status: 415, code: "unsupported_media_type", message: `"text/plain": expected application/json`},
		{name: "wrong charset", method: "POST", path: "/v1/executions", body: minimal, header: []string{"Content-Type", "application/json; charset=latin1"}, status: 415, code: "unsupported_media_type", message: "latin1"},
		{name: "A20 empty body", method: "POST", path: "/v1/executions", status: 400, code: "empty_body", message: "expected a JSON object"},
		{name: "A20 only space", method: "POST", path: "/v1/executions", body: " \n", status: 400, code: "empty_body", message: "expected a JSON object"},
		{name: "not an object", method: "POST", path: "/v1/executions", body: "[1]", status: 400, code: "bad_json", message: "expected a JSON object"},
		{name: "A22 second object", method: "POST", path: "/v1/executions", body: `{"name":"a"}{"name":"b"}`, status: 400, code: "trailing_data", message: "at byte 12"},
		{name: "A23 cut off", method: "POST", path: "/v1/executions", body: "{\"name\":\n\"a\",\n  \"inputs\": [", status: 400, code: "bad_json", message: "unexpected end at line 3 column 14"},
		{name: "not JSON", method: "POST", path: "/v1/executions", body: `{"name": nope}`, status: 400, code: "bad_json", message: "line 1 column 10"},
		{name: "A25 other case", method: "POST", path: "/v1/executions", body: `{"Name":"a"}`, status: 400, code: "unknown_field", message: "/Name: unknown field; did you mean name?", pointer: "/Name", hint: "name"},
		{name: "A26 unknown field", method: "POST", path: "/v1/executions", body: `{"program":{"stages":[{"name":"a","acton":{}}]}}`, status: 400, code: "unknown_field", message: "did you mean action?", pointer: "/program/stages/0/acton", hint: "action"},
		{name: "A26 unlike any", method: "POST", path: "/v1/executions", body: `{"` + long + `":1}`, status: 400, code: "unknown_field", message: "unknown field; one of attempts, backoff_millis, complete_as", pointer: "/" + long},
		{name: "duplicate key", method: "POST", path: "/v1/executions", body: `{"name":"a","name":"b"}`, status: 400, code: "duplicate_key", message: "/name: the key is there twice", pointer: "/name"},
		{name: "duplicate key of a map", method: "POST", path: "/v1/executions", body: `{"params":{"a/b":"1","a\u002fb":"2"}}`, status: 400, code: "duplicate_key", message: "/params/a~1b", pointer: "/params/a~1b"},
		{name: "a pointer is escaped", method: "POST", path: "/v1/executions", body: `{"params":{"~/":1}}`, status: 400, code: "wrong_type", message: "/params/~0~1", pointer: "/params/~0~1"},
		{name: "wrong type", method: "POST", path: "/v1/executions", body: `{"nodes":"3"}`, status: 400, code: "wrong_type", message: "/nodes: found text at line 1 column 10: expected a number", pointer: "/nodes"},
		{name: "null where none is", method: "POST", path: "/v1/executions", body: `{"name":null}`, status: 400, code: "wrong_type", message: "found null", pointer: "/name"},
		{name: "A28 leading zero", method: "POST", path: "/v1/executions", body: `{"nodes":01}`, status: 400, code: "bad_number", message: `/nodes: "01"`, pointer: "/nodes"},
		{name: "A28 NaN", method: "POST", path: "/v1/executions", body: `{"nodes":NaN}`, status: 400, code: "bad_number", message: `"NaN"`, pointer: "/nodes"},
		{name: "A28 minus zero", method: "POST", path: "/v1/executions", body: `{"nodes":-0}`, status: 400, code: "bad_number", message: `"-0"`, pointer: "/nodes"},
		{name: "A28 out of range", method: "POST", path: "/v1/executions", body: `{"nodes":99999999999999999999}`, status: 400, code: "bad_number", message: "out of range", pointer: "/nodes"},
		{name: "A29 float for integer", method: "POST", path: "/v1/executions", body: `{"subset_size":9.007199254740993e15}`, status: 400, code: "not_exact_integer", message: "whole number", pointer: "/subset_size"},
		{name: "A31 NUL", method: "POST", path: "/v1/executions", body: `{"name":"a\u0000"}`, status: 400, code: "bad_string", message: "NUL", pointer: "/name"},
		{name: "a NUL that ends records", method: "POST", path: "/v1/executions", body: `{"program":{"stages":[{"input":{"delimiter":"a\u0000","from":"\u0000"}}]}}`, status: 400, code: "bad_string", message: "NUL", pointer: "/program/stages/0/input/from"},
		{name: "A31 lone surrogate", method: "POST", path: "/v1/executions", body: `{"name":"\ud800"}`, status: 400, code: "bad_string", message: "surrogate", pointer: "/name"},
		{name: "not UTF-8", method: "POST", path: "/v1/executions", body: "{\"name\":\"\xff\"}", status: 400, code: "bad_string", message: "UTF-8", pointer: "/name"},
		{name: "too deep", method: "POST", path: "/v1/executions", body: `{"name":` + strings.Repeat("[", 100000), status: 400, code: "too_deep", message: "32 levels"},
		{name: "too many values", method: "POST", path: "/v1/executions", body: `{"inputs":[` + strings.Repeat(`"",`, 300000) + `""]}`, status: 400, code: "too_many_values", message: "200000"},
		{name: "bad digest in body", method: "POST", path: "/v1/executions", body: `{"program":{"files":[{"digest":"AB"}]}}`, status: 400, code: "bad_value", message: "64 lower-case hexadecimal digits", pointer: "/program/files/0/digest"},
		{name: "two keys", method: "POST", path: "/v1/executions", body: `{"key":"a"}`, header: []string{"Idempotency-Key", "b"}, status: 422, code: "conflict", message: "give one"},
		{name: "A46 not a cursor", method: "GET", path: "/v1/executions?cursor=abc", status: 400, code: "bad_cursor", message: "start again without cursor"},
		{name: "A47 unknown status", method: "GET", path: "/v1/executions?status=Queud", status: 400, code: "unknown_value", message: `status: "Queud"; one of queued, in progress`, hint: "queued"},
		{name: "A47 unknown status of operations", method: "GET", path: "/v1/executions/" + known + "/operations?status=done", status: 400, code: "unknown_value", message: "one of waiting, queued"},
		{name: "A49 unknown parameter", method: "GET", path: "/v1/executions?sarch=1", status: 400, code: "unknown_parameter", message: "one of search, status, cursor, limit", hint: "search"},
		{name: "parameter where none is", method: "GET", path: "/v1/nodes?x=1", status: 400, code: "unknown_parameter", message: "this path has none"},
		{name: "repeated parameter", method: "GET", path: "/v1/executions?limit=1&limit=2", status: 400, code: "repeated_parameter", message: "limit: given 2 times"},
		{name: "bad query", method: "GET", path: "/v1/executions?a=%zz", status: 400, code: "bad_query", message: "does not parse"},
		{name: "limit too high", method: "GET", path: "/v1/executions?limit=1001", status: 400, code: "bad_limit", message: "from 1 to 1000"},
		{name: "limit zero", method: "GET", path: "/v1/executions/" + known + "/operations?limit=0", status: 400, code: "bad_limit", message: "from 1 to 1000"},
		{name: "limit no number", method: "GET", path: "/v1/executions?limit=ten", status: 400, code: "bad_limit", message: `"ten"`},
		{name: "search too long", method: "GET", path: "/v1/executions?search=" + long, status: 400, code: "bad_search", message: "200"},
		{name: "A52 upper case id", method: "GET", path: "/v1/executions/X-BAAAAAAAAAAAAAAA", status: 404, code: "not_found", message: "not found"},
		{name: "A52 unknown id", method: "GET", path: "/v1/executions/x-zzzzzzzzzzzzzzzz", status: 404, code: "not_found", message: "not found"},
		{name: "A52 slash in id", method: "GET", path: "/v1/executions/x-aa%2Faaaaaaaaaaaaa", status: 404, code: "not_found", message: "not found"},
		{name: "long id", method: "GET", path: "/v1/executions/" + long, status: 404, code: "not_found", message: "not found"},
		{name: "unknown id terminate", method: "POST", path: "/v1/executions/nope/terminate", status: 404, code: "not_found", message: "not found"},
		{name: "unknown id suspend", method: "POST", path: "/v1/executions/nope/suspend", status: 404, code: "not_found", message: "not found"},
		{name: "unknown id resume", method: "POST", path: "/v1/executions/x-zzzzzzzzzzzzzzzz/resume", status: 404, code: "not_found", message: "not found"},
		{name: "unknown id move", method: "POST", path: "/v1/executions/nope/move", status: 404, code: "not_found", message: "not found"},
		{name: "unknown id retry", method: "POST", path: "/v1/executions/nope/retry", status: 404, code: "not_found", message: "not found"},
		{name: "unknown id durability", method: "GET", path: "/v1/executions/nope/durability", status: 404, code: "not_found", message: "not found"},
		{name: "unknown id request", method: "GET", path: "/v1/executions/nope/request", status: 404, code: "not_found", message: "not found"},
		{name: "unknown id drain", method: "POST", path: "/v1/nodes/N-1/drain", status: 404, code: "not_found", message: `node "N-1": not found`},
		{name: "unknown id remove", method: "DELETE", path: "/v1/nodes/nope", status: 404, code: "not_found", message: "not found"},
		{name: "suspend: wrong type", method: "POST", path: "/v1/executions/" + known + "/suspend", body: `{}`, status: 415, code: "unsupported_media_type", message: "application/json"},
		{name: "suspend: unknown field", method: "POST", path: "/v1/executions/" + known + "/suspend", body: `{"grace":1}`, header: asJSON, status: 400, code: "unknown_field", message: "/grace", pointer: "/grace"},
		{name: "resume: not a time", method: "POST", path: "/v1/executions/" + known + "/resume", body: `{"at":"tomorrow"}`, header: asJSON, status: 400, code: "bad_value", message: "/at", pointer: "/at"},
		{name: "move: nothing", method: "POST", path: "/v1/executions/" + known + "/move", header: asJSON, status: 400, code: "empty_body", message: "expected a JSON object"},
		{name: "drain: unknown field", method: "POST", path: "/v1/nodes/" + aNode + "/drain", body: `{"buy":1}`, header: asJSON, status: 400, code: "unknown_field", message: "did you mean by?", pointer: "/buy", hint: "by"},
		{name: "plan: not JSON", method: "POST", path: "/v1/plan", body: `{`, header: asJSON, status: 400, code: "bad_json", message: "unexpected end"},
		{name: "unknown id events", method: "GET", path: "/v1/executions/x-zzzzzzzzzzzzzzzz/events", status: 404, code: "not_found", message: "not found"},
		{name: "unknown id operations", method: "GET", path: "/v1/executions/nope/operations", status: 404, code: "not_found", message: "not found"},
		{name: "unknown id log", method: "GET", path: "/v1/executions/nope/log", status: 404, code: "not_found", message: "not found"},
		{name: "A53 double slash", method: "GET", path: "/v1//executions", status: 404, code: "not_found", message: "nothing at this path"},
		{name: "A53 dot", method: "GET", path: "/v1/./executions", status: 404, code: "not_found", message: "nothing at this path"},
		{name: "A53 dot dot", method: "GET", path: "/v1/nodes/../executions", status: 404, code: "not_found", message: "nothing at this path"},
		{name: "trailing slash", method: "GET", path: "/v1/executions/", status: 404, code: "not_found", message: "nothing at this path"},
		{name: "no such path", method: "GET", path: "/v2", status: 404, code: "not_found", message: "nothing at this path"},
		{name: "A55 method override is ignored", method: "POST", path: "/v1/nodes", header: []string{"X-HTTP-Method-Override", "GET"}, status: 405, code: "method_not_allowed", message: "takes GET"},
		{name: "wrong method", method: "DELETE", path: "/v1/executions", status: 405, code: "method_not_allowed", message: "takes GET, HEAD, POST"},
		{name: "bad event id", method: "GET", path: "/v1/executions/" + known + "/events", header: []string{"Last-Event-ID", "-1"}, status: 400, code: "bad_event_id", message: `"-1"`},
		{name: "bad operation", method: "GET", path: "/v1/executions/" + known + "/log?operation=map", status: 400, code: "bad_operation", message: "STAGE/NUMBER"},
		{name: "file: bad digest", method: "PUT", path: "/v1/files/abc", header: []string{"Content-Type", "application/octet-stream"}, status: 400, code: "bad_digest", message: "64 lower-case"},
		{name: "file: wrong type", method: "PUT", path: "/v1/files/" + strings.Repeat("0", 64), status: 415, code: "unsupported_media_type", message: "application/octet-stream"},
		{name: "file: encoded", method: "PUT", path: "/v1/files/" + strings.Repeat("0", 64), header: []string{"Content-Type", "application/octet-stream", "Content-Encoding", "gzip"}, status: 415, code: "unsupported_encoding", message: "as they are"},
		{name: "file: other bytes", method: "PUT", path: "/v1/files/" + strings.Repeat("0", 64), body: "x", header: []string{"Content-Type", "application/octet-stream"}, status: 422, code: "digest_mismatch", message: "not the one in the path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newService(execution(1, stint.InProgress))
			server := serve(t, config(s))
			response, body := ask(t, request(t, c.method, server.URL+c.path, c.body, c.header...))
			p := problemOf(t, response, body)
			if p.Status != c.status || p.Code != c.code || !strings.Contains(p.Message, c.message) || p.Pointer != c.pointer || p.Hint != c.hint {
				t.Errorf("got %d %s %q pointer %q hint %q", p.Status, p.Code, p.Message, p.Pointer, p.Hint)
			}
			if strings.Contains(p.Message, long[:201]) {
				t.Errorf("the message echoes too much: %q", p.Message)
			}
			if allow := response.Header.Get("Allow"); (p.Status == http.StatusMethodNotAllowed) != (allow != "") {
				t.Errorf("Allow %q", allow)
			}
			s.untouched(t)
		})
	}
}

func TestAllErrorsOfADocumentComeAtOnceUpToFifty(t *testing.T) {
	t.Parallel()
	server := serve(t, config(newService()))
	response, body := ask(t, request(t, "POST", server.URL+"/v1/executions", `{"nam":1,"nodes":"x","inputs":[1,"a",2]}`))
	p := problemOf(t, response, body)
	var pointers []string
	for _, d := range p.Errors {
		pointers = append(pointers, d.Pointer)
	}
	if d := cmp.Diff([]string{"/nam", "/nodes", "/inputs/0", "/inputs/2"}, pointers); d != "" {
		t.Error(d)
	}
	many := `{"inputs":[` + strings.Repeat("1,", 999) + `1]}`
	response, body = ask(t, request(t, "POST", server.URL+"/v1/executions", many))
	if p := problemOf(t, response, body); len(p.Errors) != 50 {
		t.Errorf("%d errors", len(p.Errors))
	}
}

// counter counts what is read of an endless body.
type counter struct{ n int64 }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	c.n += int64(len(b))
	return len(b), nil
}

func TestNoMoreIsReadOfABodyThanTheLimitAndOneRead(t *testing.T) {
	t.Parallel()
	h := newHandler(t, config(newService()))
	body := &counter{}
	r := httptest.NewRequest(http.MethodPost, "/v1/executions", io.NopCloser(body))
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = -1
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge || body.n > api.MaxBody+(2<<20) {
		t.Errorf("%d after %d bytes", w.Code, body.n)
	}
}

func TestABombIsNotUnpackedBeyondTheLimit(t *testing.T) {
	t.Parallel()
	bomb := strings.NewReader(zipped(t, strings.Repeat(" ", 64<<20)))
	size := bomb.Len()
	r := httptest.NewRequest(http.MethodPost, "/v1/executions", io.NopCloser(bomb))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	w := httptest.NewRecorder()
	newHandler(t, config(newService())).ServeHTTP(w, r)
	if read := size - bomb.Len(); w.Code != http.StatusRequestEntityTooLarge || read > size/4 {
		t.Errorf("%d after %d bytes of %d", w.Code, read, size)
	}
}

func TestADeclaredLengthBeyondTheLimitIsRefusedUnread(t *testing.T) {
	t.Parallel()
	for path, header := range map[string]string{
		"/v1/files/" + strings.Repeat("0", 64): "application/octet-stream",
		"/v1/executions":                       "application/json",
	} {
		h := newHandler(t, config(newService()))
		body := &counter{}
		method := http.MethodPost
		if strings.HasPrefix(path, "/v1/files") {
			method = http.MethodPut
		}
		r := httptest.NewRequest(method, path, io.NopCloser(body))
		r.Header.Set("Content-Type", header)
		r.ContentLength = api.MaxFile + 1
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusRequestEntityTooLarge || body.n > 0 {
			t.Errorf("%s: %d after %d bytes", path, w.Code, body.n)
		}
	}
}

func TestACompressedBodyIsRead(t *testing.T) {
	t.Parallel()
	s := newService()
	server := serve(t, config(s))
	response, body := ask(t, request(t, "POST", server.URL+"/v1/executions", zipped(t, minimal), "Content-Encoding", "gzip"))
	if response.StatusCode != http.StatusCreated || len(s.requests) != 1 {
		t.Errorf("%d %s", response.StatusCode, body)
	}
}

func TestTheKeyOfTheHeaderReachesTheService(t *testing.T) {
	t.Parallel()
	s := newService()
	server := serve(t, config(s))
	response, _ := ask(t, request(t, "POST", server.URL+"/v1/executions", minimal, "Idempotency-Key", "k-1"))
	if response.StatusCode != http.StatusCreated || s.requests[0].Key != "k-1" {
		t.Fatalf("%d %+v", response.StatusCode, s.requests)
	}
	if got, want := response.Header.Get("Location"), "/v1/executions/"+string(execution(1, "").ID); got != want {
		t.Errorf("location %q, want %q", got, want)
	}
}

func TestListsAndMapsAreNeverNull(t *testing.T) {
	t.Parallel()
	server := serve(t, config(newService(execution(1, stint.Queued))))
	for _, path := range []string{"/v1/executions", "/v1/executions/" + known, "/v1/executions/" + known + "/operations?limit=1", "/v1/nodes", "/v1/programs"} {
		_, body := ask(t, request(t, "GET", server.URL+path, ""))
		for _, key := range []string{"items", "stints", "stages", "nodes", "inputs", "counters", "receipts", "missing", "input", "output", "copies"} {
			if strings.Contains(string(body), `"`+key+`":null`) {
				t.Errorf("%s: %s is null", path, key)
			}
		}
	}
}

func TestEveryRouteHasAPermissionAndRefusesWhoLacksIt(t *testing.T) {
	t.Parallel()
	asked := make(chan api.Permission, 1)
	c := config(newService(execution(1, stint.Queued)))
	c.Allow = func(_ context.Context, p api.Permission) bool {
		asked <- p
		return false
	}
	h := newHandler(t, c)
	if len(h.Routes()) == 0 {
		t.Fatal("no routes")
	}
	for _, route := range h.Routes() {
		if !slices.Contains(api.Permissions(), route.Permission) {
			t.Errorf("%s %s needs %q, which is no permission", route.Method, route.Path, route.Permission)
		}
		path := strings.NewReplacer("nodes/{id}", "nodes/"+aNode, "{id}", known, "{digest}", strings.Repeat("0", 64)).Replace(route.Path)
		r := httptest.NewRequest(route.Method, path, nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if open := h.Open(r); open != (route.Permission == api.Public) {
			t.Errorf("%s %s: open is %v", route.Method, path, open)
		}
		if route.Permission == api.Public {
			if w.Code != http.StatusOK {
				t.Errorf("%s %s: %d", route.Method, path, w.Code)
			}
			continue
		}
		if got := <-asked; w.Code != http.StatusForbidden || got != route.Permission || !strings.Contains(w.Body.String(), "missing_permission") {
			t.Errorf("%s %s: %d, asked for %s", route.Method, path, w.Code, got)
		}
	}
}

func TestOnlyTheExactPublicPathsAreOpen(t *testing.T) {
	t.Parallel()
	h := newHandler(t, config(newService()))
	for path, want := range map[string]bool{"/healthz": true, "/healthz/": false, "//healthz": false, "/v1/../healthz": false, "/v1/executions": false, "/nothing": false} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path = path
		if got := h.Open(r); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if h.Open(httptest.NewRequest(http.MethodPost, "/healthz", nil)) {
		t.Error("POST /healthz is open")
	}
}

func TestInternalErrorsAndPanicsAreToldToOperatorsAlone(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*service{
		"error": {changed: make(chan struct{}), err: errors.New("secret cause")},
		"panic": {changed: make(chan struct{}), crash: true},
	} {
		told := &faults{}
		c := config(s)
		c.Fault = told.add
		response, body := ask(t, request(t, "GET", serve(t, c).URL+"/v1/executions/"+known, ""))
		p := problemOf(t, response, body)
		if p.Status != http.StatusInternalServerError || p.Code != "internal" || strings.Contains(string(body), "secret") {
			t.Errorf("%s: %s", name, body)
		}
		if !strings.Contains(told.told[p.RequestID], "secret") {
			t.Errorf("%s: operators were told %v", name, slices.Collect(maps.Values(told.told)))
		}
	}
}

func TestHalfAnAnswerIsNotTakenForAWholeOne(t *testing.T) {
	t.Parallel()
	x := execution(1, stint.Queued)
	x.Progress = math.NaN() // which JSON does not know
	told := &faults{}
	c := config(newService(x))
	c.Fault = told.add
	server := serve(t, c)
	response, err := http.DefaultTransport.RoundTrip(request(t, "GET", server.URL+"/v1/executions/"+known, ""))
	if err == nil {
		_, err = io.ReadAll(response.Body)
		_ = response.Body.Close()
	}
	if err == nil {
		t.Error("an answer")
	}
	server.Close() // waits for the handler
	if len(told.told) != 1 {
		t.Errorf("operators were told %v", told.told)
	}
}

func TestEveryCodeHasItsStatus(t *testing.T) {
	t.Parallel()
	for code, status := range map[stint.Code]int{
		stint.Invalid: 422, stint.NotFound: 404, stint.Conflict: 409, stint.Denied: 403, stint.Unavailable: 503,
		stint.Lost: 503, stint.Failed: 409, stint.Canceled: 409, stint.Unknown: 503, stint.Internal: 500, "new": 500,
	} {
		s := newService()
		s.err = fmt.Errorf("outer: %w", stint.Errorf(code, "tell\x1b me"))
		response, body := ask(t, request(t, "GET", serve(t, config(s)).URL+"/v1/executions/"+known, ""))
		p := problemOf(t, response, body)
		if p.Status != status || p.Code != string(code) {
			t.Errorf("%s: %d %s", code, p.Status, p.Code)
		}
		if status < 500 && p.Message != `outer: tell\x1b me` {
			t.Errorf("%s: message %q", code, p.Message)
		}
		if retry := response.Header.Get("Retry-After"); (status == 503) != (retry != "") {
			t.Errorf("%s: Retry-After %q", code, retry)
		}
	}
}

func TestPagesFollowEachOtherAndCursorsKeepToTheirQuery(t *testing.T) {
	t.Parallel()
	var all []stint.Execution
	for n := range 7 {
		all = append(all, execution(n, stint.Queued))
	}
	server := serve(t, config(newService(all...)))
	get := func(query string) (ids []stint.ExecutionID, next string, status int) {
		var page struct {
			Items []stint.Execution `json:"items"`
			Next  string            `json:"next_cursor"`
		}
		response, body := ask(t, request(t, "GET", server.URL+"/v1/executions?"+query, ""))
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
		for _, x := range page.Items {
			ids = append(ids, x.ID)
		}
		return ids, page.Next, response.StatusCode
	}
	var got []stint.ExecutionID
	ids, next, _ := get("limit=3&search=tes")
	first := next
	for got = append(got, ids...); next != ""; got = append(got, ids...) {
		ids, next, _ = get("limit=2&search=tes&cursor=" + next) // the size of a page may change
	}
	var want []stint.ExecutionID
	for _, x := range all {
		want = append(want, x.ID)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, _, status := get("search=other&cursor=" + first); status != http.StatusBadRequest {
		t.Errorf("a cursor of another query: %d", status)
	}
	response, _ := ask(t, request(t, "GET", server.URL+"/v1/executions/"+string(all[0].ID)+"/operations?cursor="+first, ""))
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("a cursor of another list: %d", response.StatusCode)
	}
	for i := range first {
		for _, letter := range []string{"A", "b"} {
			edited := first[:i] + letter + first[i+1:]
			if _, _, status := get("search=tes&cursor=" + edited); edited != first && status != http.StatusBadRequest {
				t.Errorf("edited at %d: %d", i, status)
			}
		}
	}
}

func TestLogsAreTextThatNoBrowserShows(t *testing.T) {
	t.Parallel()
	server := serve(t, config(newService(execution(1, stint.Queued))))
	response, body := ask(t, request(t, "GET", server.URL+"/v1/executions/"+known+"/log?operation=map/1", ""))
	header := response.Header
	if !strings.Contains(string(body), "log of \xff\n") || header.Get("Content-Type") != "text/plain; charset=utf-8" ||
		header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Content-Disposition") != "attachment" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("%q %v", body, header)
	}
}
