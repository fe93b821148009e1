package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/object"
	"stint/internal/worker"
)

// tree describes what is below a folder.
func tree(tb testing.TB, dir string) string {
	tb.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info := must(d.Info())(tb)
		fmt.Fprintf(&b, "%s %s", path[len(dir)+1:], info.Mode())
		switch {
		case d.Type() == fs.ModeSymlink:
			fmt.Fprintf(&b, " to %s", must(os.Readlink(path))(tb))
		case d.Type().IsRegular():
			fmt.Fprintf(&b, " %q", must(os.ReadFile(path))(tb))
			fallthrough
		default:
			fmt.Fprintf(&b, " %d", info.ModTime().Unix())
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// write makes files below a folder; a name that ends in a slash is a folder.
func write(tb testing.TB, dir string, files map[string]string) {
	tb.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			tb.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

func newStorage(tb testing.TB) *object.Storage {
	tb.Helper()
	return must(new(object.Access).OpenStorage(tb.Context(), "file://"+tb.TempDir()))(tb)
}

func TestACheckpointIsRestoredAsItWas(t *testing.T) {
	t.Parallel()
	storage, dir := newStorage(t), filepath.Join(t.TempDir(), "0-1")
	write(t, dir, map[string]string{"a": "text", "empty": "", "deep/er/b": "\x00\xff", "deep/none/x": ""})
	long := strings.Repeat("long/", 60) + strings.Repeat("n", 200)
	write(t, dir, map[string]string{long: strings.Repeat("block ", 1<<16)})
	err := errors.Join(
		os.Symlink("a", filepath.Join(dir, "link")), os.Symlink("../../a", filepath.Join(dir, "deep/er/up")), os.Symlink("nowhere", filepath.Join(dir, "dangling")),
		os.Chmod(filepath.Join(dir, "a"), 0o751), os.Chtimes(filepath.Join(dir, "a"), time.Unix(1e9, 0), time.Unix(1e9, 0)),
		os.Chtimes(filepath.Join(dir, "deep"), time.Unix(2e9, 0), time.Unix(2e9, 0)), os.Chmod(filepath.Join(dir, "deep/none"), 0o500),
	)
	if err != nil {
		t.Fatal(err)
	}
	want := tree(t, dir)
	c, note, err := archive(t.Context(), storage, "saved/x/checkpoint", dir)
	if err != nil || note != "" || c == nil {
		t.Fatal(c, note, err)
	}
	again := filepath.Join(t.TempDir(), "0-1")
	write(t, again, map[string]string{"of another attempt": "x"})
	if err := restoreCheckpoint(t.Context(), storage, again, c); err != nil {
		t.Fatal(err)
	}
	equal(t, "restored", tree(t, again), want)
	write(t, again, map[string]string{"went on": "here"})
	if err := restoreCheckpoint(t.Context(), storage, again, c); err != nil || !strings.Contains(tree(t, again), "went on") {
		t.Errorf("an attempt on this node had gone on from there: %v %s", err, tree(t, again))
	}
	other := *c
	other.Key = "saved/x/another"
	if err := restoreCheckpoint(t.Context(), storage, again, &other); stint.CodeOf(err) != stint.Lost {
		t.Errorf("one that is not there: %v", err)
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "deep/none"), 0o700), os.Chmod(filepath.Join(again, "deep/none"), 0o700)); err != nil {
		t.Fatal(err)
	}
}

// Whatever is in the place of a folder as an agent or a worker was killed: an
// attempt whose grant names the archive finds the folder as it was left, or what
// is in storage.
func TestAnAttemptFindsTheWholeFolderOrTheArchive(t *testing.T) {
	t.Parallel()
	storage := newStorage(t)
	archived := map[string]string{"position": "1", "results": "one"}
	later := map[string]string{"position": "2", "results": "one, two"}
	source := t.TempDir()
	write(t, source, archived)
	c, _, err := archive(t.Context(), storage, "saved/x/a", source)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]struct {
		dir    map[string]string // nil: there is none
		origin string            // empty: there is none
		beside string            // suffix of a folder with half of what was saved
		want   map[string]string
	}{
		"an attempt went on from the archive":                {dir: later, origin: "saved/x/a", want: later},
		"it was restored from another":                       {dir: later, origin: "saved/x/b", want: archived},
		"restored, and nothing says from what":               {dir: archived, want: archived},
		"the origin is removed, the folder is not":           {dir: later, want: archived},
		"the folder is moved away, and removed in part":      {beside: ".x.gone", want: archived},
		"an older folder is gone, the archive half unpacked": {beside: ".new", want: archived},
		"the folder is gone, the origin is not":              {origin: "saved/x/a", want: archived},
		"nothing is there":                                   {want: archived},
	} {
		dir := filepath.Join(t.TempDir(), "0-1")
		if k.dir != nil {
			write(t, dir, k.dir)
		}
		if k.origin != "" {
			write(t, filepath.Dir(dir), map[string]string{filepath.Base(worker.CheckpointOrigin(dir)): k.origin})
		}
		if k.beside != "" {
			write(t, dir+k.beside, map[string]string{"position": "2"})
		}
		if err := restoreCheckpoint(t.Context(), storage, dir, c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		found := make(map[string]string)
		for _, e := range must(os.ReadDir(dir))(t) {
			found[e.Name()] = string(must(os.ReadFile(filepath.Join(dir, e.Name())))(t))
		}
		equal(t, name, found, k.want)
		if b := must(os.ReadFile(worker.CheckpointOrigin(dir)))(t); string(b) != c.Key {
			t.Errorf("%s: origin %q", name, b)
		}
	}
}

// An archive that is lost is done without, by an attempt that finds what is here.
func TestAFolderStaysWholeWhereItsArchiveIsNotInStorage(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "0-1")
	write(t, dir, map[string]string{"position": "1", "results": "one"})
	want := tree(t, dir)
	if err := restoreCheckpoint(t.Context(), newStorage(t), dir, &stint.Checkpoint{Key: "saved/x/a"}); stint.CodeOf(err) != stint.Lost {
		t.Error(err)
	}
	equal(t, "the folder", tree(t, dir), want)
}

func TestAnEmptyCheckpointFolderIsNone(t *testing.T) {
	t.Parallel()
	storage, dir := newStorage(t), t.TempDir()
	file := filepath.Join(t.TempDir(), "file")
	write(t, filepath.Dir(file), map[string]string{"file": "x"})
	for _, d := range []string{dir, filepath.Join(dir, "removed"), file} {
		if c, note, err := archive(t.Context(), storage, "saved/x/c", d); c != nil || note != "" || err != nil {
			t.Errorf("%s: %v %q %v", d, c, note, err)
		}
	}
}

func TestWhatHasNoPlaceInAnArchiveIsLeftOutAndNoted(t *testing.T) {
	t.Parallel()
	storage, dir := newStorage(t), t.TempDir()
	write(t, dir, map[string]string{"kept": "x"})
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err = errors.Join(err, os.Symlink("/etc", filepath.Join(dir, "etc"))); err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the test is over
	c, note, err := archive(t.Context(), storage, "saved/x/c", dir)
	if err != nil || c == nil || !strings.Contains(note, "left out of the checkpoint: 2 ") {
		t.Fatal(c, note, err)
	}
	again := filepath.Join(t.TempDir(), "0-1")
	if err := restoreCheckpoint(t.Context(), storage, again, c); err != nil {
		t.Fatal(err)
	}
	if got := must(os.ReadDir(again))(t); len(got) != 1 || got[0].Name() != "kept" {
		t.Errorf("restored: %v", got)
	}
}

func TestACheckpointThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	storage, dir := newStorage(t), t.TempDir()
	write(t, dir, map[string]string{"state": ""})
	if err := os.Truncate(filepath.Join(dir, "state"), 10<<30); err != nil {
		t.Fatal(err)
	}
	c, note := saveCheckpoint(t.Context(), func(context.Context, string) (*object.Storage, error) { return storage, nil }, "", "saved/x/c", dir)
	if c != nil || !strings.Contains(note, "more than 1024 MiB or 100000 files") {
		t.Errorf("%v %q", c, note)
	}
}

func TestLinksThatCouldLeadOutside(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, target string
		want         bool
	}{
		{"l", "a", true},
		{"l", "a/b/./c", true},
		{"d/l", "../a", true},
		{"d/l", "..", true},
		{"d/e/l", "../../a/b", true},
		{"l", "..", false},
		{"d/l", "../..", false},
		{"l", "/etc", false},
		{"l", "", false},
		{"d/l", "e/../../..", false},
		{"d/l", "e/..", false}, // e may itself be a link
		{"l", "a/../b", false},
	} {
		if got := staysInside(c.name, c.target); got != c.want {
			t.Errorf("%s to %q: %v", c.name, c.target, got)
		}
	}
}

// tarOf returns an archive of headers, of which files have their name as content.
func tarOf(tb testing.TB, headers ...tar.Header) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		h.Mode = 0o700
		if err := w.WriteHeader(&h); err != nil {
			tb.Fatal(err)
		}
		if h.Size > 0 {
			must(w.Write([]byte(h.Name)))(tb)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func hostile(tb testing.TB) map[string][]byte {
	tb.Helper()
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	return map[string][]byte{
		"a name that goes up":       tarOf(tb, file("../escaped")),
		"an absolute name":          tarOf(tb, file("/tmp/escaped")),
		"a link outside":            tarOf(tb, link("l", "..")),
		"a file through a link":     tarOf(tb, link("l", "../.."), file("l/escaped")),
		"a link through a link":     tarOf(tb, tar.Header{Typeflag: tar.TypeDir, Name: "d/"}, link("d/up", ".."), link("l", "d/up/.."), file("l/escaped")),
		"a hard link":               tarOf(tb, tar.Header{Typeflag: tar.TypeLink, Name: "l", Linkname: "/etc/passwd"}),
		"a device":                  tarOf(tb, tar.Header{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1, Devminor: 3}),
		"a name that is there":      tarOf(tb, file("a"), file("a")),
		"an archive that was cut":   tarOf(tb, file("a"))[:512],
		"something else altogether": bytes.Repeat([]byte("no archive "), 100),
	}
}

func TestAHostileArchiveWritesNothingOutside(t *testing.T) {
	t.Parallel()
	for name, archive := range hostile(t) {
		parent := t.TempDir()
		unpackBelow(t, parent, archive, func(err error) {
			if err == nil {
				t.Errorf("%s: unpacked", name)
			}
		})
	}
}

// unpackBelow unpacks into a folder of parent and fails if anything is elsewhere then.
func unpackBelow(t *testing.T, parent string, archive []byte, check func(error)) {
	t.Helper()
	dir := filepath.Join(parent, "in", "side")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root := must(os.OpenRoot(dir))(t)
	check(unpack(root, bytes.NewReader(archive)))
	_ = root.Close()
	for _, d := range []string{parent, filepath.Dir(dir)} {
		if got := must(os.ReadDir(d))(t); len(got) != 1 {
			t.Errorf("beside the folder: %v", got)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, archive := range hostile(f) {
		f.Add(archive)
	}
	f.Add(tarOf(f, tar.Header{Typeflag: tar.TypeDir, Name: "d/"}, tar.Header{Typeflag: tar.TypeReg, Name: "d/f"}, tar.Header{Typeflag: tar.TypeSymlink, Name: "d/l", Linkname: "../d/f"}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		unpackBelow(t, t.TempDir(), archive, func(error) {})
	})
}

func TestAnAlteredCheckpointIsLost(t *testing.T) {
	t.Parallel()
	storage := newStorage(t)
	whole := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "state"})
	c := &stint.Checkpoint{Key: "saved/x/c", Bytes: int64(len(whole)), Sum: xxh3.Hash(whole)}
	flipped := bytes.Clone(whole)
	flipped[513] ^= 1
	for name, b := range map[string][]byte{"flipped": flipped, "longer": append(bytes.Clone(whole), 0), "shorter": whole[:600], "empty": nil} {
		dir := filepath.Join(t.TempDir(), "0-1")
		if err := storage.Put(t.Context(), c.Key, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		if err := restoreCheckpoint(t.Context(), storage, dir, c); stint.CodeOf(err) != stint.Lost {
			t.Errorf("%s: %v", name, err)
		}
		if got := must(os.ReadDir(filepath.Dir(dir)))(t); len(got) != 0 {
			t.Errorf("%s: left behind %v", name, got)
		}
	}
	if err := storage.Put(t.Context(), c.Key, bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "0-1")
	if err := restoreCheckpoint(t.Context(), storage, dir, c); err != nil {
		t.Fatal(err)
	}
	if b := must(os.ReadFile(worker.CheckpointOrigin(dir)))(t); string(b) != c.Key {
		t.Errorf("origin %q", b)
	}
}
