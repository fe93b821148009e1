package object

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"stint"
	"stint/internal/object/s3test"
)

// What an answer says that is not an answer to the question, or leaves out.
func TestAnswersOfBucketsThatSayLittle(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, test := range map[string]func(t *testing.T, g ground, f *faulty){
		"credentials that have expired are no refusal": expiredInHead,
		"a head without a length is asked for again":   headWithoutLength,
		"whose object is there is not guessed":         unknownWriter,
		"a probe that is not answered refuses nothing": unansweredProbe,
		"an upload that was joined and not heard of":   joinedUpload,
		"one of several keys has no status":            keyWithoutStatus,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &faulty{}
			test(t, through(t, server, f), f)
		})
	}
}

// answer answers with a status and, where there may be one, a body.
func answer(w http.ResponseWriter, r *http.Request, status int, code string) bool {
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte("<Error><Code>" + code + "</Code></Error>"))
	}
	return true
}

func expiredInHead(t *testing.T, g ground, f *faulty) {
	t.Helper()
	s := g.storage(t, "storage")
	check(t, s.Put(t.Context(), "a", strings.NewReader("")))
	for _, status := range []int{http.StatusForbidden, http.StatusBadRequest} {
		f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
			return answer(w, r, status, "ExpiredToken")
		}, nil)
		_, err := s.Get(t.Context(), "a")
		wantCode(t, err, stint.Unavailable, "a")
		f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
			return r.Method == http.MethodHead && answer(w, r, status, "")
		}, nil)
		_, err = s.Get(t.Context(), "a")
		wantCode(t, err, stint.Unavailable, "a moment later")
	}
	f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
		return answer(w, r, http.StatusForbidden, "AccessDenied")
	}, nil)
	_, err := s.Get(t.Context(), "a")
	wantCode(t, err, stint.Denied, "a")
}

func headWithoutLength(t *testing.T, g ground, f *faulty) {
	t.Helper()
	s := g.storage(t, "storage")
	check(t, s.Put(t.Context(), "a", strings.NewReader("some")))
	heads, silent := 0, 1
	f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
		if r.Method != http.MethodHead {
			return false
		}
		if heads++; heads > silent {
			return false
		}
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		w.WriteHeader(http.StatusOK)
		return true
	}, nil)
	if got := get(t, s, "a"); got != "some" {
		t.Errorf("read %q", got)
	}
	heads, silent = 0, 1000
	_, err := s.Get(t.Context(), "a")
	wantCode(t, err, stint.Unavailable, "how long")
}

func unknownWriter(t *testing.T, g ground, f *faulty) {
	t.Helper()
	s := g.storage(t, "storage")
	f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
		if r.Method == http.MethodPut {
			return answer(w, r, http.StatusPreconditionFailed, "PreconditionFailed")
		}
		return r.Method == http.MethodHead && answer(w, r, http.StatusServiceUnavailable, "")
	}, nil)
	wantCode(t, s.Create(t.Context(), "claim", strings.NewReader("mine")), stint.Unavailable, "whose object")
}

func unansweredProbe(t *testing.T, g ground, f *faulty) {
	t.Helper()
	for _, header := range []string{"If-None-Match", "If-Match"} {
		tries := 0
		f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
			if r.Method != http.MethodPut || r.Header.Get(header) == "" {
				return false
			}
			tries++
			return (header == "If-Match" || tries > 1) && answer(w, r, http.StatusServiceUnavailable, "SlowDown")
		}, nil)
		wantCode(t, probed(g.access.Probe(t.Context(), g.root+"/out", ours, false)), stint.Unavailable, "_probe")
	}
}

func joinedUpload(t *testing.T, g ground, f *faulty) {
	t.Helper()
	p, err := g.access.prefix(g.root)
	check(t, err)
	f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
		return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") && answer(w, r, http.StatusNotFound, "NoSuchUpload")
	}, nil)
	long := bytes.NewReader(make([]byte, partBytes+1))
	wantCode(t, p.upload(t.Context(), p.at("long"), long, long.Size()), stint.Unavailable, "long")
}

func keyWithoutStatus(t *testing.T, g ground, f *faulty) {
	t.Helper()
	s := g.storage(t, "storage")
	for _, key := range []string{"all/pack-1", "all/pack-2"} {
		check(t, s.Put(t.Context(), key, strings.NewReader("some")))
	}
	for code, want := range map[string]stint.Code{"NoSuchKey": "", "AccessDenied": stint.Denied, "InternalError": stint.Unavailable} {
		f.set(func(_ int, r *http.Request, w http.ResponseWriter) bool {
			if r.Method != http.MethodPost || !r.URL.Query().Has("delete") {
				return false
			}
			_, _ = w.Write([]byte("<DeleteResult><Error><Key>all/pack-1</Key><Code>" + code + "</Code></Error></DeleteResult>"))
			return true
		}, nil)
		if err := s.DeleteAll(t.Context(), "all/"); stint.CodeOf(err) != want {
			t.Errorf("%s: %v", code, err)
		}
	}
}
