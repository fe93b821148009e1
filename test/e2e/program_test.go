package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"stint"
)

// counting is a program of commands with parameters, files in folders, and a join
// of its own words.
const counting = `name: counting
type: indexing
description: counts words that are long enough
params:
  least: {type: integer, default: 1, description: letters of a word}
  mark: {values: ["!", "?"], default: "!"}
environment: {GREETING: hello}
stages:
  - name: words
    command: [sh, lib/words.sh]
  - name: count
    command: [./count.sh]
    input: {from: words, shuffle: key, partitions: 1}
`

const (
	words = `tr -s ' ' '\n' | awk -v least="$STINT_PARAM_LEAST" 'length($0) >= least && length($0) > 0 { print $0 "\t1" }'` + "\n"
	count = "#!/bin/sh\n" + `cut -f1 | uniq -c | awk -v mark="$STINT_PARAM_MARK" '{ print $2 mark $1 }'` + "\n"
)

// counting writes the program into a folder and returns its path.
func (h *home) counting(folder string) string {
	h.t.Helper()
	h.write(folder+"/program.yaml", counting)
	h.write(folder+"/lib/words.sh", words)
	h.write(folder+"/count.sh", count)
	h.write(folder+"/.git/config", "left out\n")
	if err := os.Chmod(h.path(folder+"/count.sh"), 0o755); err != nil { //nolint:gosec // a program
		h.t.Fatal(err)
	}
	return h.path(folder)
}

func TestProgramIsUploadedAndRunByName(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	folder := h.counting("program")
	in := h.write("in.txt", "a bb a\nccc bb a\n")
	h.up(1)
	first := strings.TrimSpace(h.ok("program", "upload", folder))
	name, version, _ := strings.Cut(first, "@")
	if name != "counting" || len(version) != 64 {
		t.Fatalf("uploaded %q", first)
	}
	if again := strings.TrimSpace(h.ok("program", "upload", filepath.Join(folder, "program.yaml"))); again != first {
		t.Errorf("the same content is %s, and again %s", first, again)
	}
	run := func(args ...string) string {
		t.Helper()
		x := h.execution(append([]string{"run", "--input", in}, args...)...)
		if x.Status != stint.Completed {
			t.Fatalf("%v: %s %v", args, x.Status, x.Error)
		}
		return h.ok("output", string(x.ID))
	}
	if x := h.execution("run", "counting", "--input", in); x.Program != "counting@blake3:"+version {
		t.Errorf("the execution's program is %s, the version %s", x.Program, version)
	}
	if got := run("counting"); got != "a!3\nbb!2\nccc!1\n" {
		t.Errorf("by name: %q", got)
	}
	if got := run("counting", "--param", "least=2", "--param", "mark=?"); got != "bb?2\nccc?1\n" {
		t.Errorf("with parameters: %q", got)
	}

	h.write("program/lib/words.sh", "tr -s ' ' '\\n' | sed 's/$/\t1/'\n")
	second := strings.TrimSpace(h.ok("program", "upload", folder))
	if second == first || run("counting", "--param", "least=2") != "a!3\nbb!2\nccc!1\n" || run(first, "--param", "least=2") != "bb!2\nccc!1\n" || run("counting@"+version[:10], "--param", "least=2") != "bb!2\nccc!1\n" {
		t.Errorf("versions %s, %s do not stay apart", first, second)
	}

	shown := h.ok("program", "show", "counting@"+version[:10])
	contains(t, shown, "# "+first, "#   lib/words.sh", counting)
	if strings.Contains(shown, ".git") {
		t.Errorf("hidden files were taken: %s", shown)
	}
	var p stint.RegisteredProgram
	decode(t, h.ok("program", "show", "counting", "--json"), &p)
	if p.Name+"@"+p.Version != second || len(p.Versions) != 2 || len(p.Files) != 2 || p.Manifest != counting || p.By == "" {
		t.Errorf("shown %+v", p)
	}
	contains(t, h.ok("program", "list"), "counting", "wordcount", second[len("counting@"):][:12])
	var list []stint.RegisteredProgram
	decode(t, h.ok("program", "list", "--json"), &list)
	if last := list[len(list)-1]; last.Name != "counting" || len(last.Stages) != 2 || last.Shipped || !list[0].Shipped {
		t.Errorf("listed %+v", last)
	}

	h.ok("program", "remove", first)
	if r := h.stint("program", "show", first); r.code != 2 {
		t.Errorf("a version that is removed: exit code %d", r.code)
	}
	h.ok("program", "remove", "counting")
	if r := h.stint("run", "counting", "--input", in); r.code != 2 {
		t.Errorf("a program that is removed: exit code %d", r.code)
	} else {
		contains(t, r.err, "counting", "wordcount")
	}
}

func TestProgramInUseIsNotRemoved(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.write("wait/program.yaml", "name: wait\nstages:\n  - name: hold\n    command: [sh, -c, 'cat; while [ ! -e \"$GATE\" ]; do sleep 0.05; done']\n")
	in := h.write("in.txt", "a\n")
	h.up(1)
	h.ok("program", "upload", "wait")
	x := h.execution("run", "wait", "--input", in, "--env", "GATE="+h.path("gate"), "--detach")
	r := h.stint("program", "remove", "wait")
	if r.code != 2 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, "in_use", string(x.ID))
	h.ok("suspend", string(x.ID), "--grace", "0s")
	if r := h.stint("program", "remove", "wait"); r.code != 2 {
		t.Errorf("while it is suspended: exit code %d", r.code)
	}
	h.write("gate", "")
	h.ok("resume", string(x.ID))
	h.wait("removal", func() bool { return h.stint("program", "remove", "wait").code == 0 })
	if again := h.execution("duplicate", string(x.ID)); again.Status != stint.Completed {
		t.Errorf("a duplicate without the program: %s", again.Status)
	}
}

func TestProgramIsRunFromAPathAndNothingIsRegistered(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	folder := h.counting("program")
	in := h.write("in.txt", "a bb a\nccc bb a\n")
	const want = "a!3\nbb!2\nccc!1\n"
	h.shell(`tar czf program.tar.gz --exclude=.git -C program . && tar cf whole.tar program`)
	if _, err := exec.LookPath("zip"); err == nil {
		h.shell(`cd program && zip -qr ../program.zip program.yaml lib count.sh`)
	}
	archives, err := filepath.Glob(h.path("*.[tz][ai]*"))
	if err != nil {
		t.Fatal(err)
	}
	h.up(1)
	for _, path := range append([]string{folder, "program", folder + "/program.yaml", "./program/"}, archives...) {
		x := h.execution("run", path, "--input", in)
		if got := h.ok("output", string(x.ID)); x.Status != stint.Completed || got != want {
			t.Errorf("%s: %s %q", path, x.Status, got)
		}
		if y := h.execution("duplicate", string(x.ID), "--param", "least=3"); h.ok("output", string(y.ID)) != "ccc!1\n" {
			t.Errorf("%s: a duplicate with another parameter differs", path)
		}
	}
	if r := h.stint("program", "show", "counting"); r.code != 2 {
		t.Errorf("it is registered: exit code %d", r.code)
	}
}

func TestBadProgramsAreRefusedWithTheirPlace(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.write("in.txt", "a\n")
	folder := h.counting("program")
	bad := func(name, old, replacement string) string {
		h.counting(name)
		h.write(name+"/program.yaml", strings.Replace(counting, old, replacement, 1))
		return h.path(name)
	}
	h.write("picture.yaml", "\x89PNG\r\n")
	h.write("empty/x", "")
	h.write("notes.pdf", "%PDF-1.7\n")
	h.write("y.txt", "hello\n")
	h.write("broken.zip", "hello\n")
	h.write("leads/program.yaml", "name: leads\nstages: [{name: map, command: [cat]}]\n")
	h.shell(`mkdir leads/lib && ln -s /etc/hostname leads/lib/l`)
	h.shell(`mkdir evil && cd evil && ln -s /etc/passwd program.yaml && tar cf ../evil.tar program.yaml`)
	h.up(1)
	for _, c := range []struct {
		args string
		says []string
	}{
		{"run " + bad("key", "command: [sh", "comand: [sh"), []string{"unknown_key: ", "key/program.yaml:10:5: ", "did you mean command?"}},
		{"run " + bad("from", "from: words", "from: wrods"), []string{"unknown_reference: ", "program.yaml:13:", `did you mean "words"?`}},
		{"run " + bad("file", "[./count.sh]", "[./cuont.sh]"), []string{"count.sh"}},
		{"run " + folder + " --param least=few", []string{"least", "whole number"}},
		{"run " + folder + " --param laest=1", []string{"unknown_param", "did you mean least?"}},
		{"run " + folder + " --param mark=;", []string{"mark", "!, ?"}},
		{"run picture.yaml", []string{"not_a_manifest: picture.yaml:1:1: byte 0x89"}},
		{"run ./empty", []string{"program.yaml"}},
		{"run ./nosuch", []string{"./nosuch"}},
		{"run evil.tar", []string{"link_not_allowed"}},
		{"run nosuch", []string{"nosuch", "wordcount"}},
		{"run wordcuont", []string{"did you mean wordcount?"}},
		{"run counting@xyz", []string{"NAME@VERSION"}},
		{"program upload " + h.path("key"), []string{"unknown_key: ", "10:5"}},
		{"program upload y.txt", []string{"wrong_type: y.txt:1:1: "}},
		{"program upload broken.zip", []string{"bad_archive: broken.zip: ", "first bytes 68 65 6c 6c"}},
		{"run broken.zip", []string{"bad_archive: broken.zip: "}},
		{"program upload leads", []string{`link_not_allowed: "lib/l" -> "/etc/hostname"`}},
		{"run ./leads", []string{`link_not_allowed: "lib/l" -> "/etc/hostname"`}},
		{"program upload leads/program.yaml", []string{"link_not_allowed"}},
		{"program upload notes.pdf", []string{"unknown_type: first bytes 25 50 44 46 (PDF)"}},
		{"program upload empty/x", []string{"empty_upload"}},
		{"program upload evil.tar", []string{"link_not_allowed"}},
		{"program upload " + folder + " --name wordcount", []string{"name_taken"}},
		{"program upload " + folder + " --name Up", []string{"bad_name"}},
		{"program remove wordcount", []string{"ships"}},
		{"program remove nosuch", []string{"nosuch"}},
		{"run wordcount --skip-bad-records 3", []string{"0.01%"}},
		{"run wordcount --skip-bad-records 300%", []string{"100%"}},
		{"run wordcount --backoff 5h", []string{"1ms to 1h"}},
	} {
		args := strings.Fields(c.args)
		if args[0] == "run" {
			args = append(args, "--input", in)
		}
		r := h.stint(args...)
		if r.code != 2 {
			t.Errorf("%s: exit code %d\n%s", c.args, r.code, r.err)
		}
		contains(t, r.err, c.says...)
	}
	if got := h.ok("program", "list"); strings.Contains(got, "counting") {
		t.Errorf("something is registered: %s", got)
	}
	uploads, err := os.ReadDir(filepath.Join(h.data, "server", "uploads"))
	if err != nil || len(uploads) > 0 {
		t.Errorf("uploads left behind: %v %v", uploads, err)
	}
}

func TestProgramsWithNamedInputs(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.write("joiner/program.yaml", `name: joiner
inputs: [left, right]
stages:
  - {name: l, command: [sed, "s/$/\tleft/"], input: {input: left}}
  - {name: r, command: [sed, "s/$/\tright/"], input: {input: right}}
  - name: both
    command: [cat]
    input: {from: l, shuffle: key, partitions: 1}
    with: [{from: r, shuffle: key, partitions: 1}]
`)
	left, right := h.write("left.txt", "a\nb\n"), h.write("right.txt", "b\nc\n")
	h.up(1)
	x := h.execution("run", "./joiner", "--input", "left="+left, "--input", "right="+right)
	if got := h.ok("output", string(x.ID)); x.Status != stint.Completed || got != "a\tleft\nb\tleft\nb\tright\nc\tright\n" {
		t.Errorf("%s %q", x.Status, got)
	}
	y := h.execution("duplicate", string(x.ID), "--input", "left="+right, "--input", "right="+left)
	if got := h.ok("output", string(y.ID)); got != "a\tright\nb\tleft\nb\tright\nc\tleft\n" {
		t.Errorf("the duplicate has %q", got)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--input", left}, "left, right"},
		{[]string{"--input", "left=" + left}, "right"},
		{[]string{"--input", "lefd=" + left, "--input", "right=" + right}, "did you mean left?"},
		{nil, "left, right"},
	} {
		r := h.stint(append([]string{"run", "./joiner"}, c.args...)...)
		if r.code != 2 {
			t.Errorf("%v: exit code %d", c.args, r.code)
		}
		contains(t, r.err, c.says)
	}
}

// TestShippedProgramsAreShownAsManifestsThatRun compares a shipped program with the
// manifest that is shown of it.
func TestShippedProgramsAreShownAsManifestsThatRun(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.write("in.txt", "a b a\n")
	text := h.ok("program", "show", "wordcount")
	h.write("mine/program.yaml", strings.Replace(text, "name: wordcount", "name: mine", 1))
	h.up(1)
	x, y := h.execution("run", "wordcount", "--input", in), h.execution("run", "./mine", "--input", in)
	if a, b := h.ok("output", string(x.ID)), h.ok("output", string(y.ID)); a != b || a == "" {
		t.Errorf("%q and %q", a, b)
	}
	var p stint.RegisteredProgram
	if err := json.Unmarshal([]byte(h.ok("program", "show", "grep", "--json")), &p); err != nil || !p.Shipped || p.Manifest == "" {
		t.Errorf("%+v %v", p, err)
	}
}
