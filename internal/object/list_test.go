package object

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"stint"
)

// tree makes files below a new folder; a name that ends in a slash is a folder.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(p, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(p, []byte(name), 0o644); err != nil { //nolint:gosec // test data
			t.Fatal(err)
		}
	}
	return dir
}

func symlink(t *testing.T, to, from string) {
	t.Helper()
	if err := os.Symlink(to, from); err != nil {
		t.Fatal(err)
	}
}

// names returns a listing's objects relative to dir, after checking each.
func names(t *testing.T, dir string, l stint.Listing) []string {
	t.Helper()
	var out []string
	for i, o := range l.Objects {
		p, err := Path(o.URL)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if o.Size != info.Size() || o.Version != Version(info) {
			t.Errorf("%s: %+v", p, o)
		}
		if i > 0 && l.Objects[i-1].URL >= o.URL {
			t.Errorf("%s after %s", o.URL, l.Objects[i-1].URL)
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rel)
	}
	return out
}

func TestListNamesEveryFileOnceInOrder(t *testing.T) {
	t.Parallel()
	dir := tree(t, "b.txt", "a.txt", "a/x.txt", "a/y.log", "a-b/z.txt", "empty/", "ünï.txt", "a b.txt", "a*.txt",
		".hidden", "_SUCCESS", "_logs/h.txt", "a/.crc/z.txt", "a/_x.txt", "c[1].txt")
	// In the order of URLs, where most bytes other than letters and digits begin with %.
	all := []string{"ünï.txt", "a b.txt", "a*.txt", "a-b/z.txt", "a.txt", "a/x.txt", "a/y.log", "b.txt", "c[1].txt"}
	for _, tc := range []struct {
		inputs  []string
		want    []string
		skipped int64
	}{
		{[]string{"/"}, all, 5},
		{[]string{"", "/a.txt", "/a", "/*"}, all, 5 + 2 + 3 + 2},
		{[]string{"/b.txt"}, []string{"b.txt"}, 0},
		{[]string{"/empty"}, nil, 0},
		{[]string{"/_SUCCESS", "/.hidden"}, []string{".hidden", "_SUCCESS"}, 0},
		{[]string{"/_logs"}, []string{"_logs/h.txt"}, 0},
		{[]string{"/a*.txt"}, []string{"a*.txt"}, 0}, // exists under its name
		{[]string{"/a?.txt"}, []string{"a*.txt"}, 0},
		{[]string{"/*.txt"}, []string{"ünï.txt", "a b.txt", "a*.txt", "a.txt", "b.txt", "c[1].txt"}, 0},
		{[]string{"/c[1].txt"}, []string{"c[1].txt"}, 0},
		{[]string{"/c[[]1].txt"}, []string{"c[1].txt"}, 0},
		{[]string{"/*/*.txt"}, []string{"a-b/z.txt", "a/x.txt"}, 4}, // .hidden, _SUCCESS, _logs and a/_x.txt
		{[]string{"/{a,b}{,.txt}", "/e*"}, []string{"a.txt", "a/x.txt", "a/y.log", "b.txt"}, 2},
		{[]string{"/a/_*"}, []string{"a/_x.txt"}, 0},
		{[]string{"/_logs/*"}, []string{"_logs/h.txt"}, 0},
		{[]string{"/*/x.txt"}, []string{"a/x.txt"}, 3},
	} {
		var inputs []string
		for _, in := range tc.inputs {
			inputs = append(inputs, dir+in)
		}
		l, err := new(Access).List(t.Context(), Inputs{Locations: inputs})
		if err != nil {
			t.Errorf("%q: %v", tc.inputs, err)
			continue
		}
		if d := cmp.Diff(tc.want, names(t, dir, l)); d != "" {
			t.Errorf("%q: (-want +got)\n%s", tc.inputs, d)
		}
		if len(tc.inputs) == 1 && l.Skipped != tc.skipped {
			t.Errorf("%q: %d left out, want %d", tc.inputs, l.Skipped, tc.skipped)
		}
	}
}

func TestEveryInputMustNameSomething(t *testing.T) {
	t.Parallel()
	dir := tree(t, "a.txt")
	for _, good := range []string{"/a.txt", "/*", ""} {
		for _, bad := range []string{"/b.txt", "/*.gz"} {
			for _, inputs := range [][]string{{dir + good, dir + bad}, {dir + bad, dir + good}} {
				if l, err := new(Access).List(t.Context(), Inputs{Locations: inputs}); stint.CodeOf(err) != stint.NotFound || !strings.Contains(err.Error(), bad) {
					t.Errorf("%q: %d objects, %v", inputs, len(l.Objects), err)
				}
			}
		}
	}
}

func TestListTakesURLs(t *testing.T) {
	t.Parallel()
	dir := tree(t, "a*b", "axb", "c d")
	for in, want := range map[string][]string{
		"/a%2Ab": {"a*b"},
		"/a?b":   {"a*b", "axb"},
		"/c%20d": {"c d"},
		"/":      {"a*b", "axb", "c d"},
	} {
		l, err := new(Access).List(t.Context(), Inputs{Locations: []string{"file://" + dir + in}})
		if err != nil {
			t.Errorf("%q: %v", in, err)
		}
		if d := cmp.Diff(want, names(t, dir, l)); d != "" {
			t.Errorf("%q: (-want +got)\n%s", in, d)
		}
	}
}

func TestListFollowsLinks(t *testing.T) {
	t.Parallel()
	other := tree(t, "f.txt", "g/h.txt")
	dir := tree(t, "x.txt")
	symlink(t, filepath.Join(other, "f.txt"), filepath.Join(dir, "file"))
	symlink(t, other, filepath.Join(dir, "folder"))
	symlink(t, "folder", filepath.Join(dir, "again"))
	l, err := new(Access).List(t.Context(), Inputs{Locations: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"again/f.txt", "again/g/h.txt", "file", "folder/f.txt", "folder/g/h.txt", "x.txt"}
	if d := cmp.Diff(want, names(t, dir, l)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestListRefuses(t *testing.T) {
	t.Parallel()
	dir := tree(t, "in.txt", "loop/in/", "self/", "dangling/", "pipe/", "sock/")
	symlink(t, "..", filepath.Join(dir, "loop/in/up"))
	symlink(t, "me", filepath.Join(dir, "self/me"))
	symlink(t, "nowhere", filepath.Join(dir, "dangling/link"))
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe/p"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A socket's path must be short; its file is moved to where it is wanted.
	short, err := os.MkdirTemp("", "s") //nolint:usetesting // t.TempDir may be too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) }) //nolint:errcheck // best effort
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", short+"/s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) //nolint:errcheck // best effort
	if err := os.Rename(short+"/s", filepath.Join(dir, "sock/s")); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]struct {
		code stint.Code
		text string
	}{
		"/missing":       {stint.NotFound, "/missing\": no such file or folder"},
		"/in.txt/x":      {stint.NotFound, "no such file or folder"},
		"/in.txt/*":      {stint.NotFound, "nothing matches"},
		"/*.gz":          {stint.NotFound, "*.gz\": nothing matches"},
		"/missing/*.txt": {stint.NotFound, "nothing matches"},
		"/loop":          {stint.Invalid, `loop/in/up" leads back to a folder above it`},
		"/loop/i*":       {stint.Invalid, `up/in" leads back`},
		"/self":          {stint.Invalid, `self/me" is a symbolic link in a loop`},
		"/self/me":       {stint.Invalid, `self/me" is a symbolic link in a loop`},
		"/dangling":      {stint.NotFound, `dangling/link" is a symbolic link to nothing`},
		"/pipe":          {stint.Invalid, `pipe/p" is a named pipe`},
		"/pipe/p":        {stint.Invalid, `pipe/p" is a named pipe`},
		"/sock":          {stint.Invalid, `sock/s" is a socket`},
	} {
		_, err := new(Access).List(t.Context(), Inputs{Locations: []string{dir + in}})
		if stint.CodeOf(err) != want.code || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%q: got %s %v, want %s %s", in, stint.CodeOf(err), err, want.code, want.text)
		}
	}
	for in, want := range map[string]string{"/dev/null": "is a device", "rel": "not absolute", "ftp://x/y": "scheme"} {
		if _, err := new(Access).List(t.Context(), Inputs{Locations: []string{in}}); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", in, err)
		}
	}
}

// asNobody calls f with the file system rights of a user who owns nothing. The
// thread is not used again.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		const nobody = 65534
		if _, err := unix.SetfsgidRetGid(nobody); err != nil {
			t.Error(err)
		}
		if _, err := unix.SetfsuidRetUid(nobody); err != nil {
			t.Error(err)
		}
		f()
	}()
	<-done
}

func TestUnreadableIsDeniedByName(t *testing.T) {
	t.Parallel()
	dir := tree(t, "files/open.txt", "files/closed.txt", "folders/closed/x.txt")
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // the other user must reach it
		t.Fatal(err)
	}
	for _, p := range []string{"files/closed.txt", "folders/closed"} {
		if err := os.Chmod(filepath.Join(dir, p), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "folders/closed"), 0o700) }) //nolint:errcheck // so that it can be removed
	for in, want := range map[string]string{
		"/files":            "files/closed.txt",
		"/files/closed.txt": "files/closed.txt",
		"/files/*":          "files/closed.txt",
		"/folders":          "folders/closed",
		"/folders/closed/*": "folders/closed",
		"/folders/*/x.txt":  "folders/closed/x.txt",
	} {
		asNobody(t, func() {
			_, err := new(Access).List(t.Context(), Inputs{Locations: []string{dir + in}})
			if stint.CodeOf(err) != stint.Denied || !strings.Contains(err.Error(), filepath.Join(dir, want)+`"`) {
				t.Errorf("%q: got %s %v", in, stint.CodeOf(err), err)
			}
		})
	}
}

func TestRange(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]stint.Values{
		"range:1..1000":       {First: 1, Count: 1000},
		"range:-5..5":         {First: -5, Count: 11},
		"range:7..7":          {First: 7, Count: 1},
		"range:1..1000000000": {First: 1, Count: 1e9},
		"range:9223372036854775800..9223372036854775807": {First: 9223372036854775800, Count: 8},
	} {
		l, err := new(Access).List(t.Context(), Inputs{Locations: []string{in}})
		if err != nil || l.Range == nil || *l.Range != want || l.Objects != nil {
			t.Errorf("%s: %+v, %v", in, l, err)
		}
	}
	for _, in := range []string{
		"range:", "range:1", "range:1..", "range:..1", "range:1...5", "range:5..1", "range:01..5", "range:+1..5", "range:1.0..5",
		"range:1..0x5", "range: 1..5", "range:1..1000000001", "range:0..9223372036854775808",
		"range:-9223372036854775808..9223372036854775807",
	} {
		if _, err := new(Access).List(t.Context(), Inputs{Locations: []string{in}}); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s: %v", in, err)
		}
	}
	for _, in := range [][]string{{"range:1..5", "range:6..7"}, {"/tmp", "range:1..5"}} {
		if _, err := new(Access).List(t.Context(), Inputs{Locations: in}); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "only input") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestListStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	l := lister{objects: make([]stint.Object, MaxObjects-1)}
	dir := tree(t, "a", "b", "c")
	err := l.input(t.Context(), dir)
	if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "more than 1000000 objects") || len(l.objects) != MaxObjects+1 {
		t.Errorf("%d objects, %v", len(l.objects), err)
	}
	l = lister{folders: MaxObjects - 1}
	if err := l.input(t.Context(), tree(t, "a/", "b/")); stint.CodeOf(err) != stint.Invalid {
		t.Errorf("%d folders, %v", l.folders, err)
	}
}

func TestListStopsWhenCanceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := new(Access).List(ctx, Inputs{Locations: []string{tree(t, "a")}}); stint.CodeOf(err) != stint.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestOpenGivesWhatWasListedOrSaysWhatChanged(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 123_456_789)
	for name, tc := range map[string]struct {
		change func(path string) error
		want   string
	}{
		"unchanged": {func(string) error { return nil }, ""},
		"grown":     {func(p string) error { return os.WriteFile(p, []byte("data and more"), 0o600) }, "was version 4-1700000000123456789, is 13-"},
		"rewritten": {func(p string) error { return os.WriteFile(p, []byte("DATA"), 0o600) }, "was version 4-1700000000123456789, is 4-"},
		"touched":   {func(p string) error { return os.Chtimes(p, now, now.Add(1)) }, "is 4-1700000000123456790"},
		"removed":   {os.Remove, "is gone"},
		"moved away with its folder": {func(p string) error {
			return os.Rename(filepath.Dir(p), filepath.Dir(p)+"-moved")
		}, "is gone"},
		"a pipe now": {func(p string) error {
			if err := os.Remove(p); err != nil {
				return err
			}
			return syscall.Mkfifo(p, 0o600)
		}, "is not a file now"},
		"a folder now": {func(p string) error {
			if err := os.Remove(p); err != nil {
				return err
			}
			return os.Mkdir(p, 0o700)
		}, "is not a file now"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, "d/")
			path := filepath.Join(dir, "d", "in put.txt")
			if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, now, now); err != nil {
				t.Fatal(err)
			}
			l, err := new(Access).List(t.Context(), Inputs{Locations: []string{path}})
			if err != nil {
				t.Fatal(err)
			}
			o := l.Objects[0]
			before, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer before.Close() //nolint:errcheck // only read
			if err := tc.change(path); err != nil {
				t.Fatal(err)
			}
			f, err := Open(t.Context(), o)
			if tc.want == "" {
				if err != nil || Check(f, o) != nil || f.Close() != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), "input changed: "+o.URL) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if inPlace := name == "grown" || name == "rewritten" || name == "touched"; inPlace && stint.CodeOf(Check(before, o)) != stint.Invalid {
				t.Errorf("the file opened before did not notice")
			}
		})
	}
}

func BenchmarkList(b *testing.B) {
	dir := b.TempDir()
	const files = 10_000
	for i := range files {
		p := filepath.Join(dir, fmt.Sprintf("d%02d", i%50))
		if i < 50 {
			if err := os.Mkdir(p, 0o700); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(p, fmt.Sprintf("f%06d", i)), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if l, err := new(Access).List(b.Context(), Inputs{Locations: []string{dir}}); err != nil || len(l.Objects) != files {
			b.Fatal(err)
		}
	}
	b.ReportMetric(files*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}
