package link

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"stint"
)

// FuzzJoin: what is taken for a request to join has all that one needs; what is
// refused has a code.
func FuzzJoin(f *testing.F) {
	f.Add([]byte(`{"token":"t","name":"n","csr":"c"}`))
	f.Add([]byte(`{"token":"t","name":"n","csr":"c"} x`))
	f.Add([]byte(`{"token":"t","name":"` + strings.Repeat("n", 300) + `","csr":"c"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var req JoinRequest
		if err := readJoin(bytes.NewReader(b), &req); err != nil {
			if code := stint.CodeOf(err); code != stint.Invalid && code != stint.Denied {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		if req.Token == "" || req.CSR == "" || !printable(req.Name) {
			t.Fatalf("%+v", req)
		}
		text, err := json.Marshal(req)
		var again JoinRequest
		if err != nil || readJoin(bytes.NewReader(text), &again) != nil || again != req {
			t.Fatalf("%s came back as %+v, %v", text, again, err)
		}
	})
}

// FuzzJoinAnswer: an answer names a node and has a certificate, or is an error
// that may pass or says why not.
func FuzzJoinAnswer(f *testing.F) {
	f.Add(201, []byte(`{"node":"n-abcdefghjkmn","certificate":"-----BEGIN CERTIFICATE-----"}`))
	f.Add(401, []byte(`{"code":"denied","message":"no"}`))
	f.Add(502, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, b []byte) {
		answer, err := readJoinAnswer(&http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(b))})
		if err != nil {
			if stint.CodeOf(err) == "" || len(err.Error()) > 4500 {
				t.Fatalf("%d %q: %v", status, b, err)
			}
			return
		}
		if _, bad := stint.ParseNodeID(string(answer.Node)); status != http.StatusCreated || bad != nil || answer.Certificate == "" {
			t.Fatalf("%d: %+v", status, answer)
		}
	})
}
