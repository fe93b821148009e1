package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"stint"
	"stint/internal/api"
)

// FuzzRequests: whatever a client sends is done or refused with a problem that says
// why: never a panic, a failure of the service or an answer of another form.
func FuzzRequests(f *testing.F) {
	x := execution(1, stint.InProgress)
	id := "/v1/executions/" + string(x.ID)
	for _, seed := range []struct{ method, target, body string }{
		{"GET", "/v1/executions?limit=7&status=in+progress&search=%ff", ""},
		{"GET", "/v1/executions?cursor=AAAA&limit=-1", ""},
		{"POST", "/v1/executions", `{"program":{"stages":[{"name":"a","action":{"command":["cat"]}}]},"inputs":["/a"]}`},
		{"POST", id + "/suspend", `{"grace":1e309,"jobs":["j-1"]}`},
		{"POST", id + "/resume", `{"at":"2026-01-01T00:00:00Z","redo":true}`},
		{"POST", id + "/move", `{"jobs":[]}`},
		{"GET", id + "/operations?stage=map&status=lost", ""},
		{"GET", id + "/logs?search=%00&failed=maybe", ""},
		{"GET", id + "/../x", ""},
		{"PUT", "/v1/files/" + strings.Repeat("0", 64), "text"},
		{"PUT", "/v1/credentials/a", `{"access_key_id":"a","secret_access_key":"b"}`},
		{"DELETE", "/v1/programs/name@sha256:00", ""},
		{"POST", "/v1/programs", "PK\x03\x04"},
		{"POST", "/v1/nodes/n-abcdefghjkmn/drain", `{"by":"never"}`},
		{"TRACE", "/v1/openapi.json", ""},
	} {
		f.Add(seed.method, seed.target, seed.body, "application/json")
	}
	h, err := api.New(config(newService(x)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, target, body, contentType string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/v1/") || strings.HasSuffix(u.Path, "/events") || len(body) > 1<<16 {
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, target, io.NopCloser(strings.NewReader(body)))
		if err != nil {
			return
		}
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
		if w.Code < 400 || method == http.MethodHead {
			return
		}
		var p api.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code == "" || p.Status != w.Code || len(p.Message) > 4096 {
			t.Fatalf("%s %s: %d %q, %v", method, target, w.Code, w.Body, err)
		}
	})
}
