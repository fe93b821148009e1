package server_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"stint"
	"stint/internal/server"
)

// zipped is a zip of files by name, in pairs of name and text.
func zipped(t *testing.T, pairs ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		f, err := w.Create(pairs[i])
		check(t, err)
		_, err = io.WriteString(f, pairs[i+1])
		check(t, err)
	}
	check(t, w.Close())
	return b.String()
}

const uploadable = "name: up\nstages:\n  - {name: map, command: [sh, map.sh]}\n"

// registry serves with an upload folder in which something was left.
func registry(t *testing.T) (r *running, uploads string) {
	t.Helper()
	s := newSite(t)
	uploads = s.path("uploads")
	check(t, os.MkdirAll(uploads, 0o700))
	check(t, os.WriteFile(uploads+"/upload-left", []byte("x"), 0o600))
	return s.serve(func(srv *server.Server) {
		srv.Uploads = uploads
		srv.Shipped = []stint.Program{{Name: "wordcount", Stages: []stint.Stage{{Name: "map", Action: stint.Action{Native: "wordcount"}}}}}
	}), uploads
}

func (r *running) upload(name, body string) (stint.RegisteredProgram, error) {
	return r.UploadProgram(r.t.Context(), stint.ProgramUpload{Name: name, By: "me", Body: strings.NewReader(body)})
}

func TestProgramsAreVersionedByTheirContent(t *testing.T) {
	t.Parallel()
	r, _ := registry(t)
	ctx := t.Context()
	first, err := r.upload("", zipped(t, "program.yaml", uploadable, "map.sh", "cat\n", ".git/x", "hidden"))
	check(t, err)
	if first.Name != "up" || len(first.Files) != 1 || first.Files[0].Name != "map.sh" || first.Files[0].Digest.IsZero() || first.Bytes != 4 || first.By != "me" {
		t.Errorf("first %+v", first)
	}
	stored, err := r.Storage.Get(ctx, "files/"+first.Files[0].Digest.String())
	check(t, err)
	if text, err := io.ReadAll(stored); err != nil || string(text) != "cat\n" {
		t.Errorf("stored %q %v", text, err)
	}
	check(t, stored.Close())
	same, err := r.upload("", zipped(t, "x/map.sh", "cat\n", "x/program.yaml", "# in a folder, in another order\n"+uploadable))
	check(t, err)
	other, err := r.upload("", zipped(t, "program.yaml", uploadable, "map.sh", "tac\n"))
	check(t, err)
	params, err := r.upload("", zipped(t, "program.yaml", uploadable+"params: {a: {default: x}}\n", "map.sh", "tac\n"))
	check(t, err)
	if same.Version != first.Version || other.Version == first.Version || params.Version == other.Version {
		t.Errorf("versions %s %s %s %s", first.Version, same.Version, other.Version, params.Version)
	}
	newest, err := r.Program(ctx, "up", "")
	check(t, err)
	if newest.Version != params.Version || len(newest.Versions) != 3 || newest.Params[0].Default != "x" || !strings.HasSuffix(newest.Manifest, "default: x}}\n") {
		t.Errorf("newest %+v", newest)
	}
	if p, err := r.Program(ctx, "up", first.Version[:12]); err != nil || p.Version != first.Version {
		t.Errorf("by its first digits: %+v %v", p, err)
	}
	if list, err := r.Programs(ctx); err != nil || len(list) != 2 || !list[0].Shipped || list[1].Version != params.Version || list[1].Manifest != "" {
		t.Errorf("list %+v %v", list, err)
	}
	check(t, r.RemoveProgram(ctx, "up", params.Version))
	if p, err := r.Program(ctx, "up", ""); err != nil || p.Version != other.Version {
		t.Errorf("the newest is removed: %+v %v", p, err)
	}
	check(t, r.RemoveProgram(ctx, "up", ""))
	if _, err := r.Program(ctx, "up", ""); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("all are removed: %v", err)
	}
}

func TestAManifestAloneIsAProgram(t *testing.T) {
	t.Parallel()
	r, _ := registry(t)
	p, err := r.upload("called-so", "name: lines # naïve\nstages: [{name: map, command: [wc, -l], resources: {memory: 4GB}}]\n")
	if err != nil || p.Name != "called-so" || len(p.Files) != 0 || len(p.Warnings) != 1 {
		t.Errorf("%+v %v", p, err)
	}
}

func TestUploadsThatAreRefusedLeaveNothing(t *testing.T) {
	t.Parallel()
	r, uploads := registry(t)
	broken := errors.New("broken")
	for name, c := range map[string]struct{ name, body, want string }{
		"U1 nothing":               {"", "", "empty_upload: "},
		"U2 PDF":                   {"", "%PDF-1.7", "unknown_type: first bytes 25 50 44 46 (PDF); expected zip, jar, tar, tar.gz or tar.zst, or a manifest alone"},
		"U2 picture":               {"", "\x89PNG\r\n\x1a\n", "unknown_type: first bytes 89 50 4e 47 (PNG)"},
		"U14 escape":               {"", zipped(t, "program.yaml", uploadable, "../map.sh", ""), "path_escape: entry 2"},
		"no manifest":              {"", zipped(t, "map.sh", ""), "no_manifest: "},
		"bad manifest":             {"", zipped(t, "program.yaml", "name: [\n"), "not_a_manifest: program.yaml:"},
		"bad manifest alone":       {"", "name: up\nstage: []\n", "unknown_key: program.yaml:2:1: "},
		"file that is not there":   {"", zipped(t, "program.yaml", uploadable+"files: [mpa.sh]\n", "map.sh", ""), "unknown_reference: "},
		"name":                     {"No", uploadable, "bad_name: "},
		"name of a shipped one":    {"wordcount", uploadable, "name_taken: "},
		"what the service has not": {"bad", uploadable, `program "bad"`},
		"long manifest":            {"", strings.Repeat("# long\n", 200_000), "manifest_too_large: "},
	} {
		if p, err := r.upload(c.name, c.body); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	_, err := r.UploadProgram(t.Context(), stint.ProgramUpload{Body: io.MultiReader(strings.NewReader("PK\x03\x04"), failing{broken})})
	if !errors.Is(err, broken) {
		t.Errorf("an upload that breaks off: %v", err)
	}
	if list, err := r.Programs(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%+v %v", list, err)
	}
	if left, err := os.ReadDir(uploads); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if kept, err := r.Storage.List(t.Context(), "files/"); err != nil || len(kept) > 0 {
		t.Errorf("files kept: %v %v", kept, err)
	}
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestParametersOfARequestAreCheckedAndFilledIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	s.node("a").attach(r)
	req := s.numbers(4)
	req.Program.Params = []stint.Param{{Name: "level", Type: stint.IntegerParam, Default: "3"}}
	for _, params := range []map[string]string{{"level": "x"}, {"levl": "1"}} {
		req.Params = params
		if _, err := r.Submit(t.Context(), req); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "level") {
			t.Errorf("%v: %v", params, err)
		}
	}
	req.Params = nil
	id := r.submit(req)
	r.awaitStatus(id, stint.Completed)
	if got, err := r.Request(t.Context(), id); err != nil || got.Params["level"] != "3" {
		t.Errorf("%v %v", got.Params, err)
	}
}
