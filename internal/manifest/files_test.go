package manifest_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"stint"
	"stint/internal/manifest"
)

// beside are files as they may lie beside a manifest.
func beside(names ...string) []stint.ProgramFile {
	out := make([]stint.ProgramFile, len(names))
	for i, name := range names {
		out[i] = stint.ProgramFile{Name: name, Digest: stint.Digest{byte(i + 1)}, Size: 1, Mode: 0o644}
	}
	return out
}

func names(files []stint.ProgramFile) string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.Name
	}
	return strings.Join(out, " ")
}

func TestPatternsChooseFiles(t *testing.T) {
	t.Parallel()
	all := beside("b.py", "a.py", "lib/x.py", "lib/deep/y.txt", ".git/config", "lib/.hidden", "program.yaml", "odd[1]*.txt")
	for _, c := range []struct{ key, want, refused string }{
		{"", "a.py b.py lib/deep/y.txt lib/x.py odd[1]*.txt", ""},
		{"files: []", "", ""},
		{"files: [a.py]", "a.py", ""},
		{"files: ['*.py', a.py]", "a.py b.py", ""},
		{"files: [lib]", "lib/.hidden lib/deep/y.txt lib/x.py", ""},
		{"files: ['lib/*.py']", "lib/x.py", ""},
		{"files: ['odd\\[1]\\*.txt', program.yaml]", "odd[1]*.txt program.yaml", ""},
		{"files: [c.py]", "", `did you mean`},
		{"files: ['*.jar']", "", "unknown_reference: "},
	} {
		text := "name: p\nstages: [{name: a, command: [cat]}]\n" + c.key
		p, _, err := manifest.Resolve(parse(t, text), all)
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v", c.key, err)
			}
			continue
		}
		if err != nil || names(p.Files) != c.want {
			t.Errorf("%s: %q, %v; want %q", c.key, names(p.Files), err, c.want)
			continue
		}
		again, _, err := manifest.Resolve(parse(t, string(manifest.Render(p))), all)
		if err != nil || c.want != "" && names(again.Files) != c.want {
			t.Errorf("%s rendered: %q, %v", c.key, names(again.Files), err)
		}
	}
}

func TestStagesChooseAmongTheFiles(t *testing.T) {
	t.Parallel()
	text := "name: p\nfiles: ['*.py']\nstages: [{name: a, command: [cat], files: %s}]\n"
	p, _, err := manifest.Resolve(parse(t, strings.Replace(text, "%s", "['?.py', a.py]", 1)), beside("b.py", "a.py", "ab.py"))
	if err != nil || strings.Join(p.Stages[0].Files, " ") != "a.py b.py" {
		t.Errorf("%v %v", p.Stages[0].Files, err)
	}
	if _, _, err := manifest.Resolve(parse(t, strings.Replace(text, "%s", "[c.txt]", 1)), beside("a.py", "c.txt")); err == nil || !strings.Contains(err.Error(), "stage a") {
		t.Errorf("a file that is not the program's: %v", err)
	}
	started := strings.NewReplacer("cat", "./b.py", "%s", "[a.py]").Replace(text)
	if _, _, err := manifest.Resolve(parse(t, started), beside("a.py", "b.py")); err == nil || !strings.Contains(err.Error(), `unknown_reference: stage a: it starts "b.py", which is not among its files`) {
		t.Errorf("a file that is not the stage's: %v", err)
	}
	if _, _, err := manifest.Parse("p", []byte(strings.Replace(text, "%s", "[]", 1))); err == nil || !strings.HasPrefix(err.Error(), "empty: p:3:") {
		t.Errorf("no files: %v", err)
	}
}

// TestCommandsThatNameFiles is row M41, where files are made executable as those
// of --file are.
func TestCommandsThatNameFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ command, warning, refused string }{
		{"[./run.sh]", "run.sh", ""},
		{"[run.sh]", "run.sh", ""},
		{"[cat, run.sh]", "", ""},
		{"[bin/tool]", "bin/tool", ""},
		{"[/bin/cat]", "", ""},
		{"[./rum.sh]", "", "did you mean"},
		{"[bin/none-at-all]", "", "unknown_reference: "},
	} {
		p, warnings, err := manifest.Resolve(parse(t, "name: p\nstages: [{name: a, command: "+c.command+"}]"), beside("run.sh", "bin/tool"))
		switch {
		case c.refused != "":
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v", c.command, err)
			}
		case err != nil || (c.warning != "") != (len(warnings) == 1):
			t.Errorf("%s: %v, %q", c.command, err, warnings)
		case c.warning != "":
			for _, f := range p.Files {
				if f.Name == c.warning && f.Mode != 0o755 {
					t.Errorf("%s: mode %o", c.command, f.Mode)
				}
			}
		}
	}
}

// TestFilesThatLookLikeSecretsAreTold is row U71.
func TestFilesThatLookLikeSecretsAreTold(t *testing.T) {
	t.Parallel()
	_, warnings, err := manifest.Resolve(parse(t, "name: p\nfiles: ['*', .env]\nstages: [{name: a, command: [cat]}]"), beside("id_rsa", "a.py", ".env", "x.pem"))
	if err != nil || len(warnings) != 3 || !strings.Contains(warnings[0], ".env") {
		t.Errorf("%q %v", warnings, err)
	}
}

func TestAProgramHasNotTooManyFiles(t *testing.T) {
	t.Parallel()
	many := make([]string, 10_001)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	p := parse(t, "name: p\nstages: [{name: a, command: [cat]}]")
	if _, _, err := manifest.Resolve(p, beside(many...)); err == nil || !strings.HasPrefix(err.Error(), "too_many: ") {
		t.Errorf("%v", err)
	}
	if _, _, err := manifest.Resolve(p, beside(many[:10_000]...)); err != nil {
		t.Error(err)
	}
}

// TestTheDocumentedManifestsAreRead reads every manifest of the documentation.
func TestTheDocumentedManifestsAreRead(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/programs.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "```yaml\n")[1:]
	for _, part := range parts {
		code, _, _ := strings.Cut(part, "```")
		parse(t, code)
	}
	if len(parts) != 2 || !strings.HasPrefix(parts[0], design[:len("name: top-errors")]) {
		t.Errorf("%d manifests", len(parts))
	}
}
