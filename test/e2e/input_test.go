package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// link makes a symbolic link below the test's folder.
func (h *home) link(target, name string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(name)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Symlink(target, h.path(name)); err != nil {
		h.t.Fatal(err)
	}
}

func TestOutputAndInputThatOverlapAreRefusedBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	file := h.write("in/a.txt", "x\n")
	h.ok("run", "identity", "--input", file, "--output", "old")
	h.link("in", "alias")
	for _, c := range []struct{ input, output string }{
		{"in", "in"},
		{"in", "in/out"},
		{"in/../in/", "./in/a/b"},
		{"in/*", "in/out"},
		{"alias", "in/out"},
		{"in", "alias/out"},
		{"in/a.txt", "in"},
		{"old/part-00000", "old"},
		{"old", "old"},
	} {
		for _, flags := range [][]string{nil, {"--overwrite"}} {
			r := h.stint(append([]string{"run", "identity", "--input", c.input, "--output", c.output}, flags...)...)
			if r.code != 2 {
				t.Errorf("input %s, output %s: exit code %d", c.input, c.output, r.code)
			}
			contains(t, r.err, "input", "output", "lies in", h.path(filepath.Clean(c.output)), h.dir+"/"+filepath.Clean(c.input)[:2])
		}
	}
	if got := h.read(h.path("old/part-00000")); got != "x\n" {
		t.Errorf("the old output became %q", got)
	}
	if n := strings.Count(h.ok("list", "--json"), `"id"`); n != 1 {
		t.Errorf("%d executions were recorded, want only the first", n)
	}
	h.ok("run", "identity", "--input", "in/*.txt", "--output", "in/out")
}

func TestInputsThatAreNoFilesAreRefusedByName(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	h.write("pipes/a.txt", "x\n")
	if err := syscall.Mkfifo(h.path("pipes/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.write("sockets/a.txt", "x\n")
	h.shell(`python3 -c 'import os, socket; os.chdir("sockets"); socket.socket(socket.AF_UNIX).bind("s")'`)
	h.link("..", "loop/a/up")
	h.link("self", "self")
	h.link("nowhere", "dangling")
	for input, says := range map[string][]string{
		"pipes":     {h.path("pipes/fifo"), "named pipe", "only files and folders"},
		"sockets":   {h.path("sockets/s"), "socket", "only files and folders"},
		"/dev/zero": {"/dev/zero", "device", "only files and folders"},
		"loop":      {h.path("loop/a/up"), "symbolic link"},
		"self":      {h.path("self"), "loop"},
		"dangling":  {h.path("dangling"), "link to nothing"},
		"in[":       {"in[", "]"},
		"a\nb":      {h.dir + "/a%0Ab", "no such file"},
	} {
		r := h.stint("run", "identity", "--input", input, "--output", "out")
		if r.code != 2 {
			t.Errorf("%q: exit code %d", input, r.code)
		}
		contains(t, r.err, says...)
	}
	if _, err := os.Stat(h.path("out")); !os.IsNotExist(err) {
		t.Errorf("a refusal left an output folder: %v", err)
	}
}

func TestNamesOfAnyBytesAreInputsAndOutputs(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(2)
	for _, name := range []string{"a space", "50% of #1?", "100%25", "b\nnewline", "b\ttab", "\xff\xfe", "grüße", "*star", "[b", "{c,d}", "-dash", `quote"'`} {
		h.write("in/"+name, name[:1]+"\n")
		h.ok("run", "--map", "cat", "--input", "in/"+name, "--output", "out/"+name)
		if got, err := os.ReadFile(h.path("out/" + name + "/part-00000")); string(got) != name[:1]+"\n" {
			t.Errorf("%q: output %q, %v", name, got, err)
		}
	}
	h.ok("run", "--map", "cat", "--input", "file://"+h.dir+"/in/b%0Anewline", "--output", "url")
	h.ok("run", "--map", "cat", "--input", "in", "--output", "all")
	want := sorted(h.shell(`cat in/*; cmp url/part-00000 in/b*newline`))
	if diff := cmp.Diff(want, sorted(h.parts(h.path("all"))...)); diff != "" {
		t.Error(diff)
	}
}

func TestAnObjectThatSeveralInputsNameIsReadOnce(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	h.write("in/a.txt", "a\n")
	h.write("in/b.txt", "b\n")
	h.write("in/.hidden", "no\n")
	h.write("in/_temporary/c.txt", "no\n")
	url := "file://" + h.dir + "/in/%61.txt"
	h.ok("run", "identity", "--input", "in", "--input", "in/a.txt", "--input", "./in/../in/*.txt", "--input", url, "--input", "in//", "--output", "out")
	if diff := cmp.Diff("a\nb\n", strings.Join(h.parts(h.path("out")), "")); diff != "" {
		t.Error(diff)
	}
	h.ok("run", "identity", "--input", "in/.hidden", "--output", "named")
	if diff := cmp.Diff("no\n", strings.Join(h.parts(h.path("named")), "")); diff != "" {
		t.Error(diff)
	}
}

func TestInputThatChangesWhileItIsReadFailsTheOperation(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	in := h.write("in.txt", "one\n")
	mapper := h.write("slow.sh", "cat\ntouch '"+h.path("read")+"'\nwhile [ ! -e '"+h.path("changed")+"' ]; do sleep 0.02; done\n")
	run := h.begin("run", "--map", "sh slow.sh", "--file", mapper, "--input", in, "--output", "out")
	h.wait("the reading of the input", func() bool {
		_, err := os.Stat(h.path("read"))
		return err == nil
	})
	h.write("in.txt", "two and more\n")
	h.write("changed", "")
	r := h.finish(run)
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, "input changed", in, "was version", "submit again")
}
