package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// sdkSection returns a section of docs/sdk.md.
func sdkSection(t *testing.T, h *home, title string) string {
	t.Helper()
	_, section, found := strings.Cut(h.read(filepath.Join(examplesDir, "../docs/sdk.md")), "\n## "+title+"\n")
	if !found {
		t.Fatalf("docs/sdk.md has no section %q", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

// writeFiles writes the files that a text shows: each is a block behind a line that
// ends with its name.
func (h *home) writeFiles(dir, text string) {
	h.t.Helper()
	for _, language := range []string{"go", "python", "yaml"} {
		parts := strings.Split(text, "```"+language+"\n")
		for i, part := range parts[1:] {
			before := strings.Split(parts[i], "`")
			code, _, closed := strings.Cut(part, "```")
			if len(before) < 3 || before[len(before)-1] != ":\n\n" || !closed {
				h.t.Fatalf("no name before, or no end of: %s", part)
			}
			h.write(filepath.Join(dir, before[len(before)-2]), code)
		}
	}
}

// The program that docs/sdk.md shows for each SDK is built, tested and run outside a
// checkout, as is said there.
func TestTheDocumentedSDKProgramsRun(t *testing.T) {
	t.Parallel()
	for _, title := range []string{"In Go", "In Python"} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			section := sdkSection(t, h, title)
			h.writeFiles("sales", section)
			r := h.follow(h.path("sales"), strings.Join(shellBlocks(t, section), ""))
			if want := "north\t17\nsouth\t5\n"; r.code != 0 || !strings.HasSuffix(r.out, want) {
				t.Errorf("exit code %d, %q, want %q\n%s", r.code, r.out, want, r.err)
			}
		})
	}
}

func TestTheModuleOfThePythonSDKIsPrinted(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	if got := h.ok("program", "sdk", "python"); got != h.read("../../sdk/python/stint.py") {
		t.Error("stint program sdk python does not print sdk/python/stint.py")
	}
	list := h.ok("program", "sdk")
	for _, name := range []string{"go ", "stint/program", "python ", "stint.py"} {
		if !strings.Contains(list, name) {
			t.Errorf("stint program sdk does not list %q:\n%s", name, list)
		}
	}
	if r := h.stint("program", "sdk", "cobol"); r.code != 2 || !strings.Contains(r.err, "expected python") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
}
