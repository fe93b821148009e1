package object

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stint"
)

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func put(tb testing.TB, s *Storage, key, content string) {
	tb.Helper()
	check(tb, s.Put(tb.Context(), key, strings.NewReader(content)))
}

// every calls every operation of a storage and returns the errors by name.
func every(t *testing.T, s *Storage) map[string]error {
	t.Helper()
	ctx := t.Context()
	_, get := s.Get(ctx, "saved/x/a")
	_, stat := s.Stat(ctx, "saved/x/a")
	_, list := s.List(ctx, "saved/x/")
	_, folders := s.Folders(ctx, "saved/")
	_, _, blob := s.PutBlob(ctx, "blobs", strings.NewReader("x"), 10)
	return map[string]error{
		"get": get, "stat": stat, "list": list, "folders": folders, "put blob": blob,
		"put": s.Put(ctx, "saved/x/b", strings.NewReader("x")), "create": s.Create(ctx, "saved/x/c", strings.NewReader("x")),
		"delete": s.Delete(ctx, "saved/x/a"), "delete all": s.DeleteAll(ctx, "saved/x/"),
	}
}

func TestAStorageThatVanishedIsAwayAndNothingIsWrittenInItsPlace(t *testing.T) {
	t.Parallel()
	for name, vanish := range map[string]func(dir string) error{
		"the folder is gone":        func(string) error { return nil },
		"the mount point is empty":  func(dir string) error { return os.Mkdir(dir, 0o700) },
		"the mount point was used":  func(dir string) error { return os.MkdirAll(dir+"/tmp", 0o700) },
		"a file is in its place":    func(dir string) error { return os.WriteFile(dir, []byte("x"), 0o600) },
		"a link that leads nowhere": func(dir string) error { return os.Symlink("nowhere", dir) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dir := openStorage(t)
			put(t, s, "saved/x/a", "kept")
			check(t, os.Rename(dir, dir+".away"))
			check(t, vanish(dir))
			before := listed(t, dir)
			for what, err := range every(t, s) {
				if stint.CodeOf(err) != stint.Unavailable || !strings.Contains(err.Error(), dir) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if _, err := new(Access).FindStorage(t.Context(), dir); err == nil {
				t.Error("it is found")
			}
			if after := listed(t, dir); after != before {
				t.Errorf("written into the place of the storage:\n%s", after)
			}
			check(t, os.RemoveAll(dir))
			check(t, os.Rename(dir+".away", dir))
			if got := get(t, s, "saved/x/a"); got != "kept" {
				t.Errorf("back again it has %q", got)
			}
		})
	}
}

// listed returns the paths below a folder, if there is one.
func listed(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	return strings.Join(names, "\n")
}

func TestAMarkerThatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	_, dir := openStorage(t)
	path := filepath.Join(dir, markerName)
	for name, c := range map[string]struct {
		put  func() error
		want string
	}{
		"of a newer format": {func() error { return os.WriteFile(path, []byte(`{"format":2,"id":7}`), 0o600) }, "knows format 1"},
		"empty":             {func() error { return os.WriteFile(path, nil, 0o600) }, "altered"},
		"without an id":     {func() error { return os.WriteFile(path, []byte(`{"format":1}`), 0o600) }, "altered"},
		"no JSON":           {func() error { return os.WriteFile(path, []byte("storage"), 0o600) }, "altered"},
		"a folder":          {func() error { return os.Mkdir(path, 0o700) }, "altered"},
		"a pipe":            {func() error { return syscall.Mkfifo(path, 0o600) }, "altered"},
		"a link":            {func() error { return os.Symlink("/etc/hostname", path) }, "symbolic"},
		"missing":           {func() error { return nil }, "not mounted"},
	} {
		check(t, os.RemoveAll(path))
		check(t, c.put())
		if _, err := new(Access).FindStorage(t.Context(), dir); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAStorageIsTheSameWhoeverMakesIt(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "storage")
	ids := make([]uint64, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			s, err := new(Access).OpenStorage(t.Context(), dir)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = s.ID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == 0 || id != ids[0] {
			t.Fatalf("ids %v", ids)
		}
	}
	if other, _ := openStorage(t); other.ID() == ids[0] {
		t.Error("two storages have one id")
	}
}

func TestWhatIsNoFileUnderAKeyIsNotThere(t *testing.T) {
	t.Parallel()
	s, dir := openStorage(t)
	outside := filepath.Join(t.TempDir(), "secret")
	check(t, os.WriteFile(outside, []byte("secret"), 0o600))
	check(t, os.Mkdir(dir+"/saved", 0o700))
	for name, put := range map[string]func(path string) error{
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link":   func(path string) error { return os.Symlink(outside, path) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		check(t, put(filepath.Join(dir, "saved", name)))
		if _, err := s.Get(t.Context(), "saved/"+name); stint.CodeOf(err) != stint.NotFound {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Stat(t.Context(), "saved/"+name); stint.CodeOf(err) != stint.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, err := s.List(t.Context(), "saved/"); err != nil || len(list) > 0 {
		t.Errorf("listed: %v %v", list, err)
	}
	put(t, s, "saved/link", "ours")
	if b, err := os.ReadFile(outside); err != nil || string(b) != "secret" {
		t.Errorf("written through a link: %q %v", b, err)
	}
}

func TestAStorageTestsItselfAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s, dir := openStorage(t)
	put(t, s, "saved/x/a", "kept")
	put(t, s, "listings/a", "kept")
	for name, age := range map[string]time.Duration{"put-old": 2 * leftoverAge, "put-new": leftoverAge / 2} {
		path := filepath.Join(dir, tempFolder, name)
		check(t, os.WriteFile(path, []byte("begun"), 0o600))
		check(t, os.Chtimes(path, time.Time{}, time.Now().Add(-age)))
	}
	before := strings.Replace(listed(t, dir), dir+"/tmp/put-old\n", "", 1)
	before = strings.TrimSuffix(before, "\n"+dir+"/tmp/put-old")
	check(t, s.SelfTest(t.Context()))
	if after := listed(t, dir); after != before {
		t.Errorf("left:\n%s\nwas:\n%s", after, before)
	}
}

// TestAStorageThatCannotBeReliedOnIsRefused needs mounts: it runs this test again
// where they may be made.
func TestAStorageThatCannotBeReliedOnIsRefused(t *testing.T) {
	t.Parallel()
	const where = "STINT_TEST_MOUNTS"
	if os.Getenv(where) == "" {
		args := []string{"--mount", os.Args[0], "-test.run", "^" + t.Name() + "$", "-test.v"}
		if os.Geteuid() != 0 {
			args = append([]string{"--map-root-user"}, args...)
		}
		c := exec.CommandContext(t.Context(), "unshare", args...)
		c.Env = append(os.Environ(), where+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	mount := func(dir, options string) {
		t.Helper()
		check(t, os.MkdirAll(dir, 0o700))
		check(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, options))
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	}
	s, dir := openStorage(t)
	check(t, s.SelfTest(t.Context()))
	mount(dir+"/saved", "size=1m") // another device below the keys
	if err := s.SelfTest(t.Context()); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "cross-device") {
		t.Errorf("a folder of keys on another file system: %v", err)
	}
	s, dir = openStorage(t)
	elsewhere := t.TempDir() + "/elsewhere"
	mount(elsewhere, "size=1m")
	check(t, os.Symlink(elsewhere, dir+"/saved"))
	if err := s.SelfTest(t.Context()); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "cross-device") {
		t.Errorf("a link to another file system: %v", err)
	}

	full := t.TempDir() + "/full"
	mount(full, "size=64k")
	s, err := new(Access).OpenStorage(t.Context(), full)
	check(t, err)
	put(t, s, "saved/x/a", "kept")
	err = s.Put(t.Context(), "saved/x/a", io.LimitReader(zeros{}, 1<<20))
	if stint.CodeOf(err) != stint.Unavailable || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a full disk: %v", err)
	}
	if left, err := os.ReadDir(full + "/tmp"); err != nil || len(left) > 0 {
		t.Errorf("a put that failed left %v, %v", left, err)
	}
	if got := get(t, s, "saved/x/a"); got != "kept" {
		t.Errorf("after a put that failed the key has %q", got)
	}
	check(t, syscall.Mount("", full, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	if err := s.SelfTest(t.Context()); stint.CodeOf(err) != stint.Denied || !strings.Contains(err.Error(), full) {
		t.Errorf("read only: %v", err)
	}
	check(t, syscall.Unmount(full, syscall.MNT_DETACH))
	if err := s.Put(t.Context(), "saved/x/a", strings.NewReader("x")); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("not mounted: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
