package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// examplesDir is where the examples lie, seen from this package.
const examplesDir = "../../examples"

// shellBlocks returns the shell commands that a text tells people to copy: its blocks
// of them.
func shellBlocks(t *testing.T, text string) []string {
	t.Helper()
	blocks := strings.Split(text, "```sh\n")[1:]
	for i, b := range blocks {
		var closed bool
		if blocks[i], _, closed = strings.Cut(b, "```"); !closed {
			t.Fatalf("a block of sh does not end:\n%s", b)
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("no block of sh:\n%s", text)
	}
	return blocks
}

// exampleCommands returns what the README of a copied example says: its first block
// of commands, behind that which makes a copy a Go module.
func exampleCommands(t *testing.T, text string) string {
	t.Helper()
	blocks := shellBlocks(t, text)
	for _, b := range blocks[1:] {
		if strings.HasPrefix(b, "go mod init") {
			return b + blocks[0]
		}
	}
	return blocks[0]
}

func examples(t *testing.T) []string {
	t.Helper()
	readmes, err := filepath.Glob(filepath.Join(examplesDir, "*", "README.md"))
	if err != nil || len(readmes) == 0 {
		t.Fatal(readmes, err)
	}
	dirs := make([]string, len(readmes))
	for i, path := range readmes {
		dirs[i] = filepath.Dir(path)
	}
	return dirs
}

// follow performs shell commands as somebody does who has Stint in PATH and follows
// what is written, in a folder.
func (h *home) follow(dir, commands string) result {
	h.t.Helper()
	checkout, err := filepath.Abs(filepath.Dir(examplesDir))
	if err != nil {
		h.t.Fatal(err)
	}
	c := exec.CommandContext(h.t.Context(), "sh", "-eu", "-c", commands)
	h.settle(c)
	c.Dir = dir
	c.Env = append(c.Env, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"), "CHECKOUT="+checkout)
	return h.finish(h.start(c))
}

func TestExamplesDoWhatTheySay(t *testing.T) {
	t.Parallel()
	for _, dir := range examples(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			copied := h.path(filepath.Base(dir))
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			r := h.follow(copied, exampleCommands(t, h.read(filepath.Join(dir, "README.md"))))
			if r.code != 0 {
				t.Fatalf("exit code %d\n%s", r.code, r.err)
			}
			if d := cmp.Diff(h.read(filepath.Join(dir, "expected.txt")), r.out); d != "" {
				t.Errorf("%s\n%s", d, r.err)
			}
		})
	}
}

// The index of the examples names each once, and nothing that is not there.
func TestTheIndexOfExamplesNamesAll(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(examplesDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var named, there []string
	for line := range strings.Lines(string(text)) {
		if _, link, ok := strings.Cut(line, "- ["); ok {
			name, _, _ := strings.Cut(link, "](")
			named = append(named, name)
		}
	}
	for _, dir := range examples(t) {
		there = append(there, filepath.Base(dir))
	}
	slices.Sort(named)
	if d := cmp.Diff(there, named); d != "" {
		t.Errorf("examples/README.md does not list each folder once: %s", d)
	}
}
