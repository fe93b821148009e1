package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tool runs a command in the test's folder and returns what it printed.
func (h *home) tool(name string, args ...string) string {
	h.t.Helper()
	c := exec.CommandContext(h.t.Context(), name, args...)
	h.settle(c)
	r := h.finish(h.start(c))
	if r.code != 0 {
		h.t.Fatalf("%s: exit code %d\n%s", name, r.code, r.err)
	}
	return r.out
}

// sourceText is the text of this repository's sources, a few hundred thousand bytes of it.
func (h *home) sourceText() string {
	h.t.Helper()
	paths, err := filepath.Glob("../../internal/*/*.go")
	if err != nil || len(paths) == 0 {
		h.t.Fatal(paths, err)
	}
	var text strings.Builder
	for _, path := range paths {
		text.WriteString(h.read(path))
	}
	return text.String()
}

func TestSortIsThatOfTheMachine(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.write("in/a.txt", h.sourceText())
	h.write("in/b.txt", "\n\xff\xfe\x00\nno end")
	h.tool("gzip", "-k", "-n", in)
	h.up(2)
	inputs := []string{"in/a.txt", "in/a.txt.gz", "in/b.txt"}
	if err := os.WriteFile(h.path("all"), []byte(h.read(in)+h.read(in)+h.read(h.path("in/b.txt"))), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ params, options []string }{
		{nil, nil},
		{[]string{"reverse=true", "unique=true"}, []string{"-r", "-u"}},
		{[]string{"key=-k2,2n -k1,1r"}, []string{"-k2,2n", "-k1,1r"}},
		{[]string{"key=-k2,2", "separator=(", "stable=true"}, []string{"-t(", "-k2,2", "-s"}},
	} {
		output := fmt.Sprintf("out%d", i)
		args := []string{"run", "sort", "--subset-size", "50001", "--partitions", "5", "--output", output}
		for _, in := range inputs {
			args = append(args, "--input", h.path(in))
		}
		for _, p := range c.params {
			args = append(args, "--param", p)
		}
		h.ok(args...)
		want := h.tool("sort", append(c.options, "all")...)
		if got := strings.Join(h.parts(h.path(output)), ""); got != want {
			t.Errorf("sort %q: %d bytes, want %d, that differ: %.2000s", c.options, len(got), len(want), cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
		}
	}
	for part := range 5 {
		if fi, err := os.Stat(h.path(fmt.Sprintf("out0/part-%05d", part))); err != nil || fi.Size() < 1000 {
			t.Errorf("part %d is nearly empty: %v, %v", part, fi, err)
		}
	}
}

// report is what logstats says, counted by awk.
const report = `{
	if (!match($0, /\[[^]]*\] "/)) { bad++; next }
	at = substr($0, RSTART + 1, RLENGTH - 4); rest = substr($0, RSTART + RLENGTH)
	q = index(rest, "\""); split(substr(rest, 1, q - 1), request, " ")
	n = split(substr(rest, q + 2), field, " ")
	path = request[2]; sub(/\?.*/, "", path)
	requests++; bytes += field[2]
	count["hour\t2026-03-01T" substr(at, 13, 2)]++; size["hour\t2026-03-01T" substr(at, 13, 2)] += field[2]
	count["method\t" request[1]]++; size["method\t" request[1]] += field[2]
	count["status\t" field[1]]++; size["status\t" field[1]] += field[2]
	count["path\t" path]++; size["path\t" path] += field[2]
} END {
	printf "requests\t%d\nbytes\t%d\nbad_lines\t%d\n", requests, bytes, bad
	for (k in count) printf "%s\t%d\t%d\n", k, count[k], size[k]
}`

func TestLogstatsAreThoseOfAwk(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	script, err := filepath.Abs(filepath.Join(examplesDir, "logstats", "make-log.awk"))
	if err != nil {
		t.Fatal(err)
	}
	for i, seed := range []string{"7", "8"} {
		h.write(fmt.Sprintf("logs/%d.log", i), h.tool("awk", "-v", "n=8000", "-v", "seed="+seed, "-f", script))
	}
	h.up(2)
	h.ok("run", "logstats", "--input", h.path("logs"), "--output", "out", "--param", "top=1000", "--param", "latency=none", "--subset-size", "99999", "--partitions", "3")
	want := strings.Split(h.tool("awk", report, "logs/0.log", "logs/1.log"), "\n")
	got := strings.Split(strings.Join(h.parts(h.path("out")), ""), "\n")
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestJoinAndIndexOfFilesInManyOperations(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	var left, right strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&left, "k%04d l%d\n", i*7919%3000, i)
		fmt.Fprintf(&right, "r%d k%04d\n", i, i*i%2500)
	}
	h.write("left.txt", left.String())
	h.write("right.txt", right.String())
	h.up(2)
	h.ok("run", "join", "--input", "left="+h.path("left.txt"), "--input", "right="+h.path("right.txt"), "--param", "separator= ", "--param", "right_key=2",
		"--output", "joined", "--subset-size", "5003", "--partitions", "4")
	h.write("left.sorted", h.tool("sort", "left.txt"))
	h.write("right.sorted", h.tool("sort", "-k2,2", "right.txt"))
	want := strings.Split(h.tool("join", "-2", "2", "left.sorted", "right.sorted"), "\n")
	got := strings.Split(strings.Join(h.parts(h.path("joined")), ""), "\n")
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%.2000s", d)
	}

	h.ok("run", "index", "--input", h.path("left.txt"), "--input", h.path("right.txt"), "--output", "index")
	both := 0
	for line := range strings.Lines(strings.Join(h.parts(h.path("index")), "")) {
		if strings.HasPrefix(line, "k") && strings.Contains(line, "/left.txt:1,") && strings.Contains(line, "/right.txt:") {
			both++
		}
	}
	keys := make(map[int]bool)
	for i := range 3000 {
		keys[i*i%2500] = true
	}
	if both != len(keys) {
		t.Errorf("%d keys are in both files, want %d", both, len(keys))
	}
}
