package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"stint"
)

func TestTheClientUploadsShowsAndRemovesPrograms(t *testing.T) {
	t.Parallel()
	s := newService()
	c, ctx := dial(t, s), t.Context()
	p, err := c.UploadProgram(ctx, "other", 7, strings.NewReader("archive"))
	if err != nil || p.Name != "up" || p.Bytes != 7 || len(p.Stages) != 1 || len(p.Warnings) != 1 || len(p.Version) != 64 {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := c.Program(ctx, "p.q", "ab"); err != nil || p.Name != "p.q" || p.Version != "ab" || p.Manifest != "name: p.q\n" {
		t.Errorf("%+v %v", p, err)
	}
	if err := c.RemoveProgram(ctx, "p", "ab"); err != nil {
		t.Error(err)
	}
	if _, err := c.UploadProgram(ctx, "", 0, strings.NewReader("")); err != nil {
		t.Error(err)
	}
	want := []any{"other archive", "remove p@ab", " "}
	if len(s.asked) != 3 || s.asked[0] != want[0] || s.asked[1] != want[1] || s.asked[2] != want[2] {
		t.Errorf("asked %q", s.asked)
	}
}

func TestUploadsThatAreRefused(t *testing.T) {
	t.Parallel()
	const file = "application/octet-stream"
	for _, c := range []struct {
		name, url, kind, encoding string
		err                       error
		status                    int
		code, says                string
		limit                     int64
	}{
		{name: "U61 type", url: "/v1/programs", kind: "text/html", status: 415, code: "unsupported_media_type", says: file},
		{name: "U64 form", url: "/v1/programs", kind: "multipart/form-data", status: 415, code: "unsupported_media_type", says: file},
		{name: "encoding", url: "/v1/programs", kind: file, encoding: "gzip", status: 415, code: "unsupported_encoding", says: "as they are"},
		{name: "parameter", url: "/v1/programs?nme=x", kind: file, status: 400, code: "unknown_parameter", says: "name"},
		{name: "empty", url: "/v1/programs", kind: file, err: stint.Errorf(stint.Invalid, "empty_upload: 0 bytes"), status: 422, code: "empty_upload", says: "0 bytes"},
		{name: "taken", url: "/v1/programs", kind: file, err: stint.Errorf(stint.Conflict, "name_taken: grep"), status: 409, code: "name_taken", says: "grep"},
		{name: "U49 full", url: "/v1/programs", kind: file, err: &stint.Error{Code: stint.Unavailable, Message: "no_space: upload area", Err: syscall.ENOSPC}, status: 507, code: "no_space", says: "upload area"},
		{name: "M8 long manifest", url: "/v1/programs", kind: file, err: stint.RefuseTooLarge(1<<20, "manifest_too_large: 5 MiB"), status: 413, code: "manifest_too_large", says: "5 MiB", limit: 1 << 20},
		{name: "full, in other words", url: "/v1/programs", kind: file, err: &stint.Error{Code: stint.Unavailable, Message: "keep file", Err: syscall.EDQUOT}, status: 507, code: "unavailable", says: "keep file"},
		{name: "text alone", url: "/v1/programs", kind: file, err: stint.Errorf(stint.Invalid, "unpacked_too_large: it says"), status: 422, code: "unpacked_too_large", says: "it says"},
		{name: "fault", url: "/v1/programs", kind: file, err: io.ErrNoProgress, status: 500, code: "internal", says: "internal error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newService()
			s.err = c.err
			server := serve(t, config(s))
			response, body := ask(t, request(t, http.MethodPost, server.URL+c.url, "x", "Content-Type", c.kind, "Content-Encoding", c.encoding))
			p := problemOf(t, response, body)
			if p.Status != c.status || p.Code != c.code || !strings.Contains(p.Message, c.says) || p.Limit != c.limit {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestEveryLineOfARefusedManifestIsADetail(t *testing.T) {
	t.Parallel()
	s := newService()
	s.err = stint.Errorf(stint.Invalid, "unknown_key: p.yaml:1:1: a\nwrong_type: p.yaml:2:1: b")
	server := serve(t, config(s))
	response, body := ask(t, request(t, http.MethodPost, server.URL+"/v1/programs", "x", "Content-Type", "application/octet-stream"))
	p := problemOf(t, response, body)
	if p.Status != 422 || len(p.Errors) != 2 || p.Errors[0].Code != "unknown_key" || p.Errors[1].Code != "wrong_type" || p.Errors[1].Message != "wrong_type: p.yaml:2:1: b" {
		t.Errorf("%+v", p)
	}
	_, err := dial(t, s).UploadProgram(t.Context(), "", 1, strings.NewReader("x"))
	if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "p.yaml:1:1") || !strings.Contains(err.Error(), "p.yaml:2:1") {
		t.Error(err)
	}
}

// TestUploadsThatAreTooLong is row U4: not a byte of it is read.
func TestUploadsThatAreTooLong(t *testing.T) {
	t.Parallel()
	s := newService()
	server := serve(t, config(s))
	r := request(t, http.MethodPost, server.URL+"/v1/programs", "", "Content-Type", "application/octet-stream")
	body, end := io.Pipe()
	defer end.Close() //nolint:errcheck // nothing was written
	r.Body, r.ContentLength = body, 1<<30+1
	response, answer := ask(t, r)
	if p := problemOf(t, response, answer); p.Status != 413 || p.Code != "upload_too_large" || p.Limit != 1<<30 {
		t.Errorf("%+v", p)
	}
	s.untouched(t)
}

// TestTooManyUploads is row U67.
func TestTooManyUploads(t *testing.T) {
	t.Parallel()
	const limit = 8
	s := newService()
	s.uploading = make(chan struct{})
	c := dial(t, s)
	var group sync.WaitGroup
	ends := make([]*io.PipeWriter, limit)
	for i := range ends {
		var body *io.PipeReader
		body, ends[i] = io.Pipe()
		group.Go(func() {
			if _, err := c.UploadProgram(t.Context(), "", 2, body); err != nil {
				t.Error(err)
			}
		})
	}
	for range ends {
		<-s.uploading
	}
	_, err := c.UploadProgram(t.Context(), "", 1, strings.NewReader("x"))
	if stint.CodeOf(err) != stint.Unavailable || !strings.Contains(err.Error(), "limit 8 uploads") {
		t.Errorf("upload %d: %v", limit+1, err)
	}
	for _, end := range ends {
		_, _ = end.Write([]byte("xy"))
		_ = end.Close()
	}
	group.Wait()
	group.Go(func() { <-s.uploading })
	if _, err := c.UploadProgram(t.Context(), "", 1, strings.NewReader("x")); err != nil {
		t.Errorf("after the others: %v", err)
	}
	group.Wait()
}

func TestProgramsAreShownByTheFirstDigitsOfAVersion(t *testing.T) {
	t.Parallel()
	server := serve(t, config(newService()))
	for _, version := range []string{"xyz", "AB", strings.Repeat("a", 65)} {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			response, body := ask(t, request(t, method, server.URL+"/v1/programs/p?version="+version, ""))
			if p := problemOf(t, response, body); p.Status != 400 || p.Code != "bad_version" {
				t.Errorf("%s %s: %+v", method, version, p)
			}
		}
	}
	response, body := ask(t, request(t, http.MethodGet, server.URL+"/v1/programs", ""))
	var page struct{ Items []map[string]any }
	if err := json.Unmarshal(body, &page); err != nil || response.StatusCode != 200 || page.Items[0]["name"] != "noop" || page.Items[0]["shipped"] != true || page.Items[0]["stages"] == nil {
		t.Errorf("%s %v", body, err)
	}
}
