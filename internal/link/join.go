package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"stint"
)

const (
	joinPath    = "/v1/nodes/join"
	maxJoin     = 64 << 10 // bytes of a body
	joinTimeout = 30 * time.Second
)

// JoinRequest asks for a node to be taken into a cluster.
type JoinRequest struct {
	Token string `json:"token"` // of kind join
	Name  string `json:"name"`  // for people
	CSR   string `json:"csr"`   // certificate request, PEM
}

// JoinAnswer is what a node that joined keeps.
type JoinAnswer struct {
	Node        stint.NodeID `json:"node"`
	Certificate string       `json:"certificate"` // PEM
	CA          string       `json:"ca"`          // PEM
}

// joinProblem is the body of a refusal (RFC 9457).
type joinProblem struct {
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// NewJoinHandler returns the path and the handler by which nodes join. It needs
// no credential but the token in the body, which join verifies.
func NewJoinHandler(join func(context.Context, JoinRequest) (JoinAnswer, error)) (string, http.Handler) {
	return joinPath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			refuse(w, http.StatusMethodNotAllowed, "method_not_allowed", "use POST")
			return
		}
		if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
			refuse(w, http.StatusUnsupportedMediaType, "unsupported_media_type", "expected application/json")
			return
		}
		var req JoinRequest
		if err := readJoin(http.MaxBytesReader(w, r.Body, maxJoin), &req); err != nil {
			refuseJoin(w, err)
			return
		}
		answer, err := join(r.Context(), req)
		if err != nil {
			refuseJoin(w, err)
			return
		}
		writeJSON(w, "application/json", http.StatusCreated, answer)
	})
}

// readJoin reads one object and nothing else, with all of its fields.
func readJoin(body io.Reader, req *JoinRequest) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	if err := d.Decode(req); err != nil {
		return badJoin(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return stint.Errorf(stint.Invalid, "trailing_data: expected one JSON object")
	}
	switch {
	case req.Token == "":
		return stint.Errorf(stint.Denied, "no_credential: /token: missing")
	case req.Name == "" || !printable(req.Name):
		return stint.Errorf(stint.Invalid, "bad_name: /name: expected 1 to %d printable ASCII characters", maxName)
	case req.CSR == "":
		return stint.Errorf(stint.Invalid, "bad_request: /csr: missing")
	}
	return nil
}

func badJoin(err error) error {
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return stint.Errorf(stint.Invalid, "body_too_large: limit %d bytes", large.Limit)
	}
	return stint.Errorf(stint.Invalid, "bad_json: %s", fmt.Sprintf("%.200s", err.Error()))
}

// refuseJoin answers with the status that goes with the code of err. The text of
// an internal error is not for a stranger.
func refuseJoin(w http.ResponseWriter, err error) {
	status, code, text := http.StatusInternalServerError, stint.CodeOf(err), err.Error()
	switch code {
	case stint.Invalid:
		status = http.StatusUnprocessableEntity
	case stint.Denied:
		status = http.StatusUnauthorized
	case stint.Conflict:
		status = http.StatusConflict
	case stint.NotFound:
		status = http.StatusNotFound
	case stint.Unavailable:
		status = http.StatusServiceUnavailable
	case stint.Lost, stint.Failed, stint.Canceled, stint.Unknown, stint.Internal:
		text = "internal error"
	}
	refuse(w, status, string(code), text)
}

func refuse(w http.ResponseWriter, status int, code, text string) {
	writeJSON(w, "application/problem+json", status, joinProblem{http.StatusText(status), status, code, text})
}

func writeJSON(w http.ResponseWriter, kind string, status int, v any) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the peer is gone; it asks again
}

// Join asks the server at url (https://HOST:PORT) to take a node in. trust
// verifies the server: the token is sent only after that. Errors have the code
// that the server gave, or Unavailable.
func Join(ctx context.Context, url string, trust *tls.Config, req JoinRequest) (JoinAnswer, error) {
	base, err := serverURL(url)
	if err != nil {
		return JoinAnswer{}, err
	}
	body, err := json.Marshal(req)
	if err != nil {
		return JoinAnswer{}, stint.Errorf(stint.Internal, "join: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+joinPath, bytes.NewReader(body))
	if err != nil {
		return JoinAnswer{}, stint.Errorf(stint.Invalid, "join: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{
		TLSClientConfig: trust, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, DisableKeepAlives: true,
	}
	client := &http.Client{
		Transport: transport, Timeout: joinTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(r)
	if err != nil {
		return JoinAnswer{}, stint.Errorf(stint.Unavailable, "join: %w", err)
	}
	answer, err := readJoinAnswer(resp)
	return answer, errors.Join(err, resp.Body.Close())
}

func readJoinAnswer(resp *http.Response) (JoinAnswer, error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxJoin))
	if err != nil {
		return JoinAnswer{}, stint.Errorf(stint.Unavailable, "join: %w", err)
	}
	if resp.StatusCode != http.StatusCreated {
		var p joinProblem
		if json.Unmarshal(b, &p) != nil || p.Code == "" {
			return JoinAnswer{}, stint.Errorf(stint.Unavailable, "join: the server answers %q", resp.Status)
		}
		return JoinAnswer{}, stint.Errorf(stint.Code(p.Code), "join: %.1000s", p.Message)
	}
	var answer JoinAnswer
	if err := json.Unmarshal(b, &answer); err != nil {
		return JoinAnswer{}, stint.Errorf(stint.Unavailable, "join: %w", err)
	}
	if _, err := stint.ParseNodeID(string(answer.Node)); err != nil || !strings.Contains(answer.Certificate, "BEGIN CERTIFICATE") {
		return JoinAnswer{}, stint.Errorf(stint.Unavailable, "join: the answer holds no node and certificate")
	}
	return answer, nil
}
