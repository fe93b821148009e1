package object

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"

	"stint"
)

func openStorage(t *testing.T) (*Storage, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "storage")
	s, err := new(Access).OpenStorage(t.Context(), "file://"+dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

// stored returns what lies in a storage, but for what makes it one.
func stored(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := files(t, dir)
	delete(found, markerName)
	return found
}

func get(t *testing.T, s *Storage, key string) string {
	t.Helper()
	f, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestStorageKeepsWhatWasPut(t *testing.T) {
	t.Parallel()
	s, dir := openStorage(t)
	for _, content := range []string{"first", "", strings.Repeat("long", 1e6)} {
		if err := s.Put(t.Context(), "listing/x-1", strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if got := get(t, s, "listing/x-1"); got != content {
			t.Errorf("got %d bytes, want %d", len(got), len(content))
		}
	}
	if u, err := s.Location("output/x y"); err != nil || u != "file://"+dir+"/output/x%20y" {
		t.Errorf("location %q, %v", u, err)
	}
	again, err := new(Access).OpenStorage(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := again.Delete(t.Context(), "listing/x-1"); err != nil {
			t.Error(err)
		}
	}
	for _, key := range []string{"listing/x-1", "listing", "nothing"} {
		if _, err := s.Get(t.Context(), key); stint.CodeOf(err) != stint.NotFound {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestFailedPutLeavesWhatWasThere(t *testing.T) {
	t.Parallel()
	s, dir := openStorage(t)
	if err := s.Put(t.Context(), "k/v", strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("cable pulled")
	broken := io.MultiReader(strings.NewReader("new"), iotest.ErrReader(cause))
	if err := s.Put(t.Context(), "k/v", broken); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	zero := 0
	if err := s.Put(dying{t.Context(), &zero}, "k/v", strings.NewReader("new")); stint.CodeOf(err) != stint.Canceled {
		t.Errorf("got %v", err)
	}
	if _, _, err := s.PutBlob(t.Context(), "k", io.MultiReader(strings.NewReader("x"), iotest.ErrReader(cause)), 10); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(map[string]string{"k": "/", "k/v": "old", "tmp": "/"}, stored(t, dir)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestBlobHasItsDigestAsName(t *testing.T) {
	t.Parallel()
	s, dir := openStorage(t)
	content := []byte("program file")
	for range 2 {
		d, n, err := s.PutBlob(t.Context(), "files", bytes.NewReader(content), int64(len(content)))
		if err != nil || n != int64(len(content)) || d != stint.Digest(blake3.Sum256(content)) {
			t.Fatalf("%s, %d bytes, %v", d, n, err)
		}
		if got := get(t, s, "files/"+d.String()); got != string(content) {
			t.Errorf("got %q", got)
		}
		// What a crash without sync may leave is written again.
		if err := os.Truncate(filepath.Join(dir, "files", d.String()), 0); err != nil {
			t.Fatal(err)
		}
	}
	d, _, err := s.PutBlob(t.Context(), "files", bytes.NewReader(content), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "files", d.String())
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.PutBlob(t.Context(), "files", bytes.NewReader(content), 1<<20); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("a blob that was there was written again: %v", err)
	}
	if _, _, err := s.PutBlob(t.Context(), "files", strings.NewReader("too long"), 7); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "7 bytes") {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(map[string]string{"files": "/", "files/" + d.String(): string(content), "tmp": "/"}, stored(t, dir)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestOfManyThatCreateAKeyOneSucceeds(t *testing.T) {
	t.Parallel()
	s, dir := openStorage(t)
	const tries = 8
	outcomes := make([]error, tries)
	var group sync.WaitGroup
	for i := range tries {
		group.Go(func() {
			outcomes[i] = s.Create(t.Context(), "saved/x/owner", strings.NewReader(strconv.Itoa(i)))
		})
	}
	group.Wait()
	winner := -1
	for i, err := range outcomes {
		switch {
		case err == nil && winner < 0:
			winner = i
		case stint.CodeOf(err) != stint.Conflict:
			t.Errorf("try %d: %v after %d had succeeded", i, err, winner)
		}
	}
	want := map[string]string{"saved": "/", "saved/x": "/", "saved/x/owner": strconv.Itoa(winner), "tmp": "/"}
	if d := cmp.Diff(want, stored(t, dir)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	cause := errors.New("cable pulled")
	if err := s.Create(t.Context(), "saved/x/other", iotest.ErrReader(cause)); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(want, stored(t, dir)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestALinkThatWasMadeTwiceIsOurs(t *testing.T) {
	t.Parallel()
	dir := tree(t, "temp", "other")
	temp := filepath.Join(dir, "temp")
	for range 2 {
		if err := linkNew(temp, filepath.Join(dir, "name")); err != nil {
			t.Error(err)
		}
	}
	if err := linkNew(filepath.Join(dir, "other"), filepath.Join(dir, "name")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
}

func TestKeysBelowAPrefix(t *testing.T) {
	t.Parallel()
	s, dir := openStorage(t)
	for _, key := range []string{"saved/a/record-2", "saved/a/pack-1", "saved/a/deep/x", "saved/ab/record-1", "saved/a/_odd", "listings/a"} {
		if err := s.Put(t.Context(), key, strings.NewReader(key)); err != nil {
			t.Fatal(err)
		}
	}
	list := func(prefix string) []Entry {
		t.Helper()
		got, err := s.List(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := []Entry{{"saved/a/_odd", 12}, {"saved/a/deep/x", 14}, {"saved/a/pack-1", 14}, {"saved/a/record-2", 16}}
	if d := cmp.Diff(want, list("saved/a/")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	folders, err := s.Folders(t.Context(), "saved/")
	if d := cmp.Diff([]string{"a", "ab"}, folders); d != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	if none, err := s.Folders(t.Context(), "nothing/"); len(none) > 0 || err != nil {
		t.Errorf("%v, %v", none, err)
	}
	e, err := s.Stat(t.Context(), "saved/a/pack-1")
	if d := cmp.Diff(Entry{"saved/a/pack-1", 14}, e); d != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	for _, key := range []string{"saved/a", "saved/none"} {
		if _, err := s.Stat(t.Context(), key); stint.CodeOf(err) != stint.NotFound {
			t.Errorf("%s: %v", key, err)
		}
	}
	for range 2 {
		if err := s.DeleteAll(t.Context(), "saved/a/"); err != nil {
			t.Error(err)
		}
	}
	if err := s.DeleteAll(t.Context(), "never/there/"); err != nil {
		t.Error(err)
	}
	left := map[string]string{"listings": "/", "listings/a": "listings/a", "saved": "/", "saved/ab": "/", "saved/ab/record-1": "saved/ab/record-1", "tmp": "/"}
	if d := cmp.Diff(left, stored(t, dir)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if _, err := s.List(t.Context(), "saved/ab"); stint.CodeOf(err) != stint.Invalid {
		t.Errorf("a prefix that ends within a name: %v", err)
	}
	if none := list("saved/a/"); len(none) > 0 {
		t.Errorf("got %v", none)
	}
}

func TestOnlyAStorageIsFound(t *testing.T) {
	t.Parallel()
	_, dir := openStorage(t)
	if _, err := new(Access).FindStorage(t.Context(), "file://"+dir); err != nil {
		t.Error(err)
	}
	other := tree(t, "file", "folder/x")
	for path, want := range map[string]stint.Code{"/none": stint.NotFound, "/file": stint.Invalid, "/folder": stint.Invalid} {
		if _, err := new(Access).FindStorage(t.Context(), other+path); stint.CodeOf(err) != want || !strings.Contains(err.Error(), other+path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if d := cmp.Diff(map[string]string{"file": "file", "folder": "/", "folder/x": "folder/x"}, files(t, other)); d != "" {
		t.Errorf("looking for a storage left something: (-want +got)\n%s", d)
	}
}

func TestHostileKeysAreRefused(t *testing.T) {
	t.Parallel()
	s, _ := openStorage(t)
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../x", "a/../b", "a/..", ".hidden", "a/.b", "tmp", "tmp/x", "a\x00b", "a\nb", `a\b`, "a\x7f",
		strings.Repeat("k", 256), strings.Repeat("kk/", 400) + "k",
	} {
		_, location := s.Location(key)
		_, get := s.Get(t.Context(), key)
		_, _, blob := s.PutBlob(t.Context(), key, strings.NewReader(""), 1)
		_, stat := s.Stat(t.Context(), key)
		_, list := s.List(t.Context(), key+"/")
		_, folders := s.Folders(t.Context(), key+"/")
		create := s.Create(t.Context(), key, strings.NewReader(""))
		for _, err := range []error{location, get, blob, stat, list, folders, create, s.DeleteAll(t.Context(), key+"/"), s.Put(t.Context(), key, strings.NewReader("")), s.Delete(t.Context(), key)} {
			if stint.CodeOf(err) != stint.Invalid {
				t.Errorf("%q: %v", key, err)
			}
		}
	}
}

// FuzzKey: no key leads out of the storage's folder or to its temporary files.
func FuzzKey(f *testing.F) {
	for _, key := range []string{"a/b", "../x", "tmp/x", "a//b"} {
		f.Add(key)
	}
	s := folderStorage{"/storage"}
	f.Fuzz(func(t *testing.T, key string) {
		if p := s.path(key); checkKey(key) == nil && p != "/storage/"+key {
			t.Fatalf("%q leads to %q", key, p)
		}
	})
}
