package auth

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestMiddleware(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	token, who := create(t, k, User, 0)
	join, _ := create(t, k, Join, 0)
	good := "Bearer " + token
	node := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
	tests := []struct {
		name    string
		host    string
		path    string
		header  http.Header
		tls     *tls.ConnectionState
		status  int
		code    string
		message string
	}{
		{name: "good", header: http.Header{"Authorization": {good}}, status: 200},
		{name: "scheme in lower case", header: http.Header{"Authorization": {"bearer " + token}}, status: 200},
		{name: "good beside a node's certificate", header: http.Header{"Authorization": {good}}, tls: node, status: 200},
		{name: "open", path: "/healthz", status: 200},
		{name: "configured host", host: "Stint.example.:7400", header: http.Header{"Authorization": {good}}, status: 200},
		{name: "loopback by IPv6", host: "[::1]:7400", header: http.Header{"Authorization": {good}}, status: 200},
		{name: "own origin", host: "127.0.0.1:7400", header: http.Header{"Authorization": {good}, "Origin": {"https://127.0.0.1:7400"}}, status: 200},
		{name: "no credential (A1)", status: 401, code: "no_credential", message: "send a token: Authorization: Bearer"},
		{name: "basic (A2)", header: http.Header{"Authorization": {"Basic YTpi"}}, status: 401, code: "wrong_scheme", message: "Basic is not accepted; use Bearer"},
		{name: "bare token", header: http.Header{"Authorization": {token}}, status: 401, code: "wrong_scheme"},
		{name: "two credentials", header: http.Header{"Authorization": {good, good}}, status: 401, code: "wrong_scheme"},
		{name: "unknown", header: http.Header{"Authorization": {"Bearer x"}}, status: 401, code: "token_unknown"},
		{name: "join token", header: http.Header{"Authorization": {"Bearer " + join}}, status: 403, code: "wrong_principal"},
		{name: "node certificate (A10)", tls: node, status: 403, code: "wrong_principal", message: "node identity cannot call this"},
		{name: "rebound host", host: "evil.example:7400", header: http.Header{"Authorization": {good}}, status: 421, code: "wrong_host"},
		{name: "rebound host on an open route", host: "evil.example", path: "/healthz", status: 421, code: "wrong_host"},
		{name: "name that begins as loopback", host: "127.0.0.1.evil.example", header: http.Header{"Authorization": {good}}, status: 421, code: "wrong_host"},
		{name: "other origin", header: http.Header{"Authorization": {good}, "Origin": {"https://evil.example"}}, status: 403, code: "wrong_origin"},
		{name: "null origin", header: http.Header{"Authorization": {good}, "Origin": {"null"}}, status: 403, code: "wrong_origin"},
		{name: "cross-site", header: http.Header{"Authorization": {good}, "Sec-Fetch-Site": {"cross-site"}}, status: 403, code: "wrong_origin"},
		{name: "token parameter", path: "/v1/nodes?token=x", header: http.Header{"Authorization": {good}}, status: 400, code: "token_in_url"},
	}
	handler := Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, ok := IdentityOf(r.Context())
		if open := r.URL.Path == "/healthz"; ok == open || (ok && got != who) {
			t.Errorf("%s: identity %v %v", r.URL, got, ok)
		}
		w.WriteHeader(http.StatusOK)
	}), k, []string{"stint.example"}, func(r *http.Request) bool { return r.URL.Path == "/healthz" })
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := test.path
			if path == "" {
				path = "/v1/executions"
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			r.Host, r.TLS = test.host, test.tls
			if r.Host == "" {
				r.Host = "localhost:7400"
			}
			if test.header != nil {
				r.Header = test.header
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			checkProblem(t, w, test.status, test.code, test.message)
			if strings.Contains(w.Body.String(), strings.Split(token, "_")[2]) {
				t.Error("the answer holds the token")
			}
		})
	}
}

func checkProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code, message string) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	if status == http.StatusOK {
		return
	}
	var p struct {
		Status        int
		Code, Message string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if p.Status != status || p.Code != code || !strings.Contains(p.Message, message) || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %+v %v", p, w.Header())
	}
	if (w.Header().Get("WWW-Authenticate") == "Bearer") != (status == http.StatusUnauthorized) {
		t.Error("WWW-Authenticate does not go with", status)
	}
}

func TestATokenInAURLIsRevoked(t *testing.T) {
	t.Parallel()
	k := newKeyring(t)
	token, _ := create(t, k, User, time.Hour)
	h := Middleware(http.NotFoundHandler(), k, nil, func(*http.Request) bool { return true })
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Host = "localhost"
		h.ServeHTTP(w, r)
		return w
	}
	checkProblem(t, get("/?x=1&key="+token), http.StatusBadRequest, "token_in_url", "this one was revoked")
	_, err := k.Verify(token)
	wantError(t, err, "denied", "token_revoked")
	w := get("/?token=" + token)
	checkProblem(t, w, http.StatusBadRequest, "token_in_url", "never put tokens in URLs")
	if strings.Contains(w.Body.String(), "this one was revoked") {
		t.Error("says again what it did not do")
	}
}
