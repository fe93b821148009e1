package link_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/link"
)

func joinAnswer() link.JoinAnswer {
	return link.JoinAnswer{Node: node, Certificate: "-----BEGIN CERTIFICATE-----\n", CA: "ca"}
}

func joinRequest() link.JoinRequest {
	return link.JoinRequest{Token: "stint_join_x_y", Name: "node-1", CSR: "csr"}
}

// joinServer serves joining over TLS; trust is what its clients need.
func joinServer(t *testing.T, join func(context.Context, link.JoinRequest) (link.JoinAnswer, error)) (url string, trust *tls.Config) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(link.NewJoinHandler(join))
	s := httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	return s.URL, s.Client().Transport.(*http.Transport).TLSClientConfig
}

func TestANodeJoins(t *testing.T) {
	t.Parallel()
	var got link.JoinRequest
	url, trust := joinServer(t, func(_ context.Context, r link.JoinRequest) (link.JoinAnswer, error) {
		got = r
		return joinAnswer(), nil
	})
	answer, err := link.Join(t.Context(), url, trust, joinRequest())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(joinAnswer(), answer); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(joinRequest(), got); d != "" {
		t.Error(d)
	}
}

func TestARefusedNodeIsToldWhyUnlessItIsInternal(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  error
		code stint.Code
		text string
	}{
		{stint.Errorf(stint.Denied, "join_token_invalid: used up"), stint.Denied, "join_token_invalid: used up"},
		{stint.Errorf(stint.Invalid, "bad_request: weak key"), stint.Invalid, "weak key"},
		{stint.Errorf(stint.Conflict, "node_exists"), stint.Conflict, "node_exists"},
		{stint.Errorf(stint.NotFound, "gone"), stint.NotFound, "gone"},
		{stint.Errorf(stint.Unavailable, "later"), stint.Unavailable, "later"},
		{errors.New("open /secret/path"), stint.Internal, "internal error"},
	}
	for _, test := range tests {
		url, trust := joinServer(t, func(context.Context, link.JoinRequest) (link.JoinAnswer, error) {
			return link.JoinAnswer{}, test.err
		})
		_, err := link.Join(t.Context(), url, trust, joinRequest())
		wantError(t, err, test.code, test.text)
		if strings.Contains(err.Error(), "/secret/path") {
			t.Error(err)
		}
	}
}

func TestTheTokenIsNotSentToAServerThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	url, _ := joinServer(t, func(context.Context, link.JoinRequest) (link.JoinAnswer, error) {
		t.Error("asked")
		return joinAnswer(), nil
	})
	_, err := link.Join(t.Context(), url, &tls.Config{MinVersion: tls.VersionTLS13}, joinRequest())
	wantError(t, err, stint.Unavailable, "certificate")
	_, err = link.Join(t.Context(), strings.Replace(url, "https", "http", 1), nil, joinRequest())
	wantError(t, err, stint.Invalid, "expected https://HOST:PORT")
}

func TestAnswersToJoiningThatAreNoneAreUnavailable(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		body   string
	}{
		{http.StatusCreated, "{}"},
		{http.StatusCreated, "x"},
		{http.StatusOK, "{}"},
		{http.StatusBadGateway, "<html>"},
		{http.StatusFound, ""},
		{http.StatusCreated, `{"node":"../x","certificate":"-----BEGIN CERTIFICATE-----"}`},
	} {
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.body))
		}))
		_, err := link.Join(t.Context(), s.URL, s.Client().Transport.(*http.Transport).TLSClientConfig, joinRequest())
		wantError(t, err, stint.Unavailable, "join")
		s.Close()
	}
}

func TestBadJoinRequests(t *testing.T) {
	t.Parallel()
	_, handler := link.NewJoinHandler(func(context.Context, link.JoinRequest) (link.JoinAnswer, error) {
		t.Error("asked")
		return link.JoinAnswer{}, nil
	})
	const good = `{"token":"t","name":"n","csr":"c"}`
	tests := []struct {
		name, method, kind, body string
		status                   int
		text                     string
	}{
		{"GET", http.MethodGet, "application/json", good, 405, "use POST"},
		{"text", http.MethodPost, "text/plain", good, 415, "application/json"},
		{"no type", http.MethodPost, "", good, 415, "application/json"},
		{"empty", http.MethodPost, "application/json", "", 422, "bad_json"},
		{"unknown field", http.MethodPost, "application/json", `{"token":"t","name":"n","csr":"c","x":1}`, 422, "unknown field"},
		{"trailing", http.MethodPost, "application/json", good + "{}", 422, "trailing_data"},
		{"no token (N1)", http.MethodPost, "application/json", `{"name":"n","csr":"c"}`, 401, "no_credential"},
		{"no name", http.MethodPost, "application/json; charset=utf-8", `{"token":"t","csr":"c"}`, 422, "/name"},
		{"control character", http.MethodPost, "application/json", `{"token":"t","name":"\u001b[2J","csr":"c"}`, 422, "/name"},
		{"no request", http.MethodPost, "application/json", `{"token":"t","name":"n"}`, 422, "/csr"},
		{"too large", http.MethodPost, "application/json", `{"token":"` + strings.Repeat("x", 64<<10) + `"}`, 422, "body_too_large: limit 65536"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), test.method, "/v1/nodes/join", strings.NewReader(test.body))
			r.Header.Set("Content-Type", test.kind)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.text) || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Error(w.Code, w.Header(), w.Body)
			}
		})
	}
}
