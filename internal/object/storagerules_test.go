package object

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func (g ground) storage(t *testing.T, name string) *Storage {
	t.Helper()
	s, err := g.access.OpenStorage(t.Context(), g.root+"/"+name)
	check(t, err)
	return s
}

func ruleStorage(t *testing.T, g ground) {
	t.Helper()
	ctx := t.Context()
	s := g.storage(t, "deep/storage")
	check(t, s.SelfTest(ctx))
	if left, err := s.Folders(ctx, "saved/"); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	for _, content := range []string{"first", "", strings.Repeat("long", 5e6)} {
		put(t, s, "saved/x/a", content)
		if got := get(t, s, "saved/x/a"); got != content {
			t.Errorf("got %d bytes, want %d", len(got), len(content))
		}
		if e, err := s.Stat(ctx, "saved/x/a"); err != nil || e.Size != int64(len(content)) {
			t.Error(e, err)
		}
	}
	for range 2 {
		d, n, err := s.PutBlob(ctx, "files", strings.NewReader("program file"), 12)
		if check(t, err); n != 12 || get(t, s, "files/"+d.String()) != "program file" {
			t.Error(d, n)
		}
	}
	_, _, err := s.PutBlob(ctx, "files", strings.NewReader("program file"), 11)
	wantCode(t, err, stint.Invalid, "longer than 11 bytes")
	for _, key := range []string{"saved/y/pack-1", "saved/y/owner-1", "saved/y/record-1", "saved/ya/b"} {
		put(t, s, key, key)
	}
	list, err := s.List(ctx, "saved/y/")
	if d := cmp.Diff([]Entry{{"saved/y/owner-1", 15}, {"saved/y/pack-1", 14}, {"saved/y/record-1", 16}}, list); d != "" || err != nil {
		t.Error(d, err)
	}
	if names, err := s.Folders(ctx, "saved/"); err != nil || !slices.Equal(names, []string{"x", "y", "ya"}) {
		t.Error(names, err)
	}
	check(t, s.DeleteAllBut(ctx, "saved/y/", "owner-1"))
	if list, err := s.List(ctx, "saved/y/"); err != nil || len(list) != 1 || list[0].Key != "saved/y/owner-1" {
		t.Error(list, err)
	}
	check(t, s.Take(ctx, s, "saved/ya/b", "saved/z/b"))
	for range 2 {
		check(t, s.DeleteAll(ctx, "saved/y/"))
		check(t, s.DeleteAll(ctx, "saved/ya/"))
		check(t, s.Delete(ctx, "saved/x/a"))
	}
	if list, err := s.List(ctx, "saved/"); err != nil || len(list) != 1 || get(t, s, "saved/z/b") != "saved/ya/b" {
		t.Error(list, err)
	}
	other := g.storage(t, "other")
	check(t, other.Take(ctx, s, "saved/z/b", "b"))
	local := folderGround(t).storage(t, "s")
	check(t, local.Take(ctx, s, "saved/z/b", "b"))
	check(t, s.Take(ctx, local, "b", "c"))
	if get(t, other, "b") != "saved/ya/b" || get(t, s, "c") != "saved/ya/b" {
		t.Error("what was taken is something else")
	}
	if other.ID() == s.ID() || g.storage(t, "deep/storage").ID() != s.ID() {
		t.Error("storages are not told from each other")
	}
	for _, key := range []string{"", "a//b", "../x", "tmp/x", markerName, strings.Repeat("k", 256)} {
		wantCode(t, s.Put(ctx, key, strings.NewReader("x")), stint.Invalid, "key")
	}
	if u, err := s.Location("output/x y"); err != nil || !strings.HasSuffix(u, "/deep/storage/output/x%20y") {
		t.Error(u, err)
	}
	for _, missing := range []string{"saved", "saved/x/a", "nothing"} {
		_, err := s.Get(ctx, missing)
		wantCode(t, err, stint.NotFound, missing)
		_, err = s.Stat(ctx, missing)
		wantCode(t, err, stint.NotFound, missing)
		wantCode(t, s.Take(ctx, s, missing, "taken"), stint.NotFound, missing)
	}
}

func ruleCreate(t *testing.T, g ground) {
	t.Helper()
	s := g.storage(t, "storage")
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = s.Create(t.Context(), "saved/x/owner-1", strings.NewReader(fmt.Sprint(i))) })
	}
	wg.Wait()
	winner := ""
	for i, err := range errs {
		switch {
		case err == nil && winner == "":
			winner = fmt.Sprint(i)
		case stint.CodeOf(err) != stint.Conflict:
			t.Errorf("%d: %v", i, err)
		}
	}
	if got := get(t, s, "saved/x/owner-1"); got != winner {
		t.Errorf("%s has created it and it has %q", winner, got)
	}
}

func ruleAway(t *testing.T, g ground) {
	t.Helper()
	s := g.storage(t, "storage")
	put(t, s, "saved/x/a", "kept")
	dir := filepath.Join(g.dir, "storage")
	check(t, os.Rename(dir, dir+".away"))
	for what, err := range every(t, s) {
		if stint.CodeOf(err) != stint.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := g.access.FindStorage(t.Context(), g.root+"/storage"); err == nil {
		t.Error("it is found")
	}
	check(t, os.RemoveAll(dir))
	check(t, os.Rename(dir+".away", dir))
	if got := get(t, s, "saved/x/a"); got != "kept" {
		t.Error(got)
	}
	check(t, os.WriteFile(filepath.Join(dir, markerName), []byte("{}"), 0o600))
	_, err := g.access.FindStorage(t.Context(), g.root+"/storage")
	wantCode(t, err, stint.Invalid, "altered")
}

func ruleStored(t *testing.T, g ground) {
	t.Helper()
	s := g.storage(t, "storage")
	var content strings.Builder
	for i := range 400_000 {
		fmt.Fprintf(&content, "%07d\n", i)
	}
	put(t, s, "a", content.String())
	f, err := s.Get(t.Context(), "a")
	check(t, err)
	defer f.Close() //nolint:errcheck // only read
	if f.Size() != int64(content.Len()) {
		t.Error(f.Size())
	}
	b := make([]byte, 8)
	for _, at := range []int64{0, 8, 3_199_992, 16} {
		if n, err := f.ReadAt(b, at); n != 8 || err != nil || string(b) != content.String()[at:at+8] {
			t.Errorf("at %d: %q, %v", at, b, err)
		}
	}
	if n, err := f.ReadAt(b, 3_199_996); n != 4 || err != io.EOF { //nolint:errorlint // as io.ReaderAt says
		t.Error(n, err)
	}
	if _, err := f.Seek(-8, io.SeekEnd); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(f); err != nil || string(rest) != "0399999\n" {
		t.Errorf("%q %v", rest, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Error(err)
	}
	if all, err := io.ReadAll(f); err != nil || string(all) != content.String() {
		t.Errorf("%d bytes, %v", len(all), err)
	}
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			section := io.NewSectionReader(f, int64(k)*800_000, 800_000)
			if got, err := io.ReadAll(section); err != nil || string(got) != content.String()[k*800_000:(k+1)*800_000] {
				t.Errorf("section %d: %d bytes, %v", k, len(got), err)
			}
		})
	}
	wg.Wait()
}
