package object

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"

	"stint"
)

func openStorage(t *testing.T) (*Storage, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "storage")
	s, err := OpenStorage("file://" + dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
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
	again, err := OpenStorage(dir)
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
	if d := cmp.Diff(map[string]string{"k": "/", "k/v": "old", "tmp": "/"}, files(t, dir)); d != "" {
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
	if d := cmp.Diff(map[string]string{"files": "/", "files/" + d.String(): string(content), "tmp": "/"}, files(t, dir)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
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
		for _, err := range []error{location, get, blob, s.Put(t.Context(), key, strings.NewReader("")), s.Delete(t.Context(), key)} {
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
	s := &Storage{dir: "/storage"}
	f.Fuzz(func(t *testing.T, key string) {
		p, err := s.path(key)
		if err == nil && p != "/storage/"+key {
			t.Fatalf("%q leads to %q", key, p)
		}
	})
}
