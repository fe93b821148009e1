package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

const wordPipeline = `find "$1" -type f ! -path '*/.*' ! -path '*/_*' | sort | xargs cat |
	tr -s ' \t\n\v\f\r' '\n\n\n\n\n\n' | grep -a . | sort | uniq -c | sed -E 's/^ *([0-9]+) (.*)$/\2\t\1/' | sort`

func TestWordcountEqualsAPipeline(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.text(40, 200)
	x := h.execution("run", "wordcount", "--input", in, "--output", "out", "--partitions", "3", "--subset-size", "20000")
	parts := h.parts(h.path("out"))
	if diff := cmp.Diff(h.shell(wordPipeline, in), sorted(parts...)); diff != "" {
		t.Error(diff)
	}
	if len(parts) != 3 || x.Output.Parts != 3 || x.Status != stint.Completed || x.Progress != 1 || x.Operations.Completed != x.Operations.Total {
		t.Errorf("%d parts; document %+v", len(parts), x)
	}
}

func TestFoldingLowersLetters(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.write("in.txt", "One one ONE \u00c4 \u00e4 two")
	h.ok("run", "wordcount", "--param", "fold=true", "--input", in, "--output", "out")
	if diff := cmp.Diff(sorted("one\t3\n\u00c4\t1\n\u00e4\t1\ntwo\t1\n"), sorted(h.parts(h.path("out"))...)); diff != "" {
		t.Error(diff)
	}
}

func TestStreamingEqualsMapSortReduce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ interpreter, mapper, reducer string }{
		"python": {"python3", pythonMap, pythonReduce},
		"sh":     {"sh", shellMap, shellReduce},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			in := h.text(10, 60)
			mapper, reducer := h.write("map.prog", c.mapper), h.write("reduce.prog", c.reducer)
			want := h.counted(in, c.interpreter+" "+mapper, c.interpreter+" "+reducer)
			streaming := []string{"run", "--map", c.interpreter + " map.prog", "--reduce", c.interpreter + " reduce.prog", "--file", mapper, "--file", reducer, "--input", in}
			h.ok(append(streaming, "--output", "one", "--partitions", "1", "--subset-size", "5000")...)
			if diff := cmp.Diff([]string{want}, h.parts(h.path("one"))); diff != "" {
				t.Error(diff)
			}
			h.ok(append(streaming, "--output", "four", "--partitions", "4", "--combine", c.interpreter+" reduce.prog")...)
			if diff := cmp.Diff(sorted(want), sorted(h.parts(h.path("four"))...)); diff != "" && name == "python" { // uniq counts lines, so it cannot combine
				t.Error(diff)
			}
		})
	}
}

func TestOutputIsTheSameForAnyNodesAndSubsets(t *testing.T) {
	t.Parallel()
	base := newHome(t)
	in := base.text(14, 40)
	few := in + "/a/file-0[06].txt" // python is slow to start
	python := []string{"--file", base.write("map.py", pythonMap), "--file", base.write("reduce.py", pythonReduce)}
	shell := []string{"--file", base.write("map.sh", shellMap), "--file", base.write("reduce.sh", shellReduce)}
	var want map[string][]string
	for _, nodes := range []int{1, 2, 5} {
		h := newHome(t)
		h.up(nodes)
		for _, size := range []string{"", "2000", "64KiB"} {
			got := make(map[string][]string)
			for program, args := range map[string][]string{
				"python":    append([]string{"--map", "python3 map.py", "--reduce", "python3 reduce.py", "--partitions", "2", "--input", few}, python...),
				"shell":     append([]string{"--map", "sh map.sh", "--reduce", "sh reduce.sh", "--partitions", "3", "--input", in}, shell...),
				"map only":  append([]string{"--map", "sh map.sh", "--input", in}, shell...),
				"wordcount": {"wordcount", "--partitions", "2", "--input", in},
				"identity":  {"identity", "--input", in},
			} {
				output := fmt.Sprintf("%s-%s", program, size)
				args = append([]string{"run", "--output", output}, args...)
				if size != "" {
					args = append(args, "--subset-size", size)
				}
				h.ok(args...)
				got[program] = h.parts(h.path(output))
			}
			if want == nil {
				want = got
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d nodes, subset size %q:\n%s", nodes, size, diff)
			}
		}
	}
}

func TestLinesAreKeptExactly(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	lines := "no tab\n\ttab first\nkey\t\nkey\tvalue\ttwo\ncr\r\n\n\xff\xfe\x00\nlast"
	in := h.write("in.txt", lines)
	for _, program := range [][]string{{"--map", "cat"}, {"identity"}} {
		out := "out-" + program[0]
		h.ok(append([]string{"run", "--input", in, "--output", out}, program...)...)
		if diff := cmp.Diff(lines+"\n", strings.Join(h.parts(h.path(out)), "")); diff != "" {
			t.Errorf("%v: %s", program, diff)
		}
	}
	h.ok("run", "--map", "cat", "--reduce", "cat", "--partitions", "1", "--input", in, "--output", "sorted")
	got := strings.Join(h.parts(h.path("sorted")), "")
	if diff := cmp.Diff(sorted(lines+"\n"), sorted(got)); diff != "" {
		t.Error(diff)
	}
}

func TestGrepEqualsGrep(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.text(12, 100)
	for pattern, flags := range map[string]string{"w17": "-F", "w1[0-3][,]": "-E"} {
		out := h.path("out" + flags)
		h.ok("run", "grep", "--param", "pattern="+pattern, "--input", in, "--output", out)
		want := h.shell(`find "$1" -type f ! -path '*/.*' ! -path '*/_*' | sort | xargs grep -ah "$2" -e "$3"`, in, flags, pattern)
		if diff := cmp.Diff(want, strings.Join(h.parts(out), "")); diff != "" {
			t.Errorf("%s: %s", pattern, diff)
		}
	}
}

func TestRangeIsAnInput(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.ok("run", "--map", "cat", "--input", "range:5..1004", "--subset-size", "100", "--output", "out")
	if diff := cmp.Diff(h.shell("seq 5 1004"), strings.Join(h.parts(h.path("out")), "")); diff != "" {
		t.Error(diff)
	}
}

func TestEnvironmentAndFilesReachTheProgram(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.write("in.txt", "x\n")
	program := h.write("show.sh", `#!/bin/sh
echo "$GREETING $STINT_STAGE $STINT_OPERATION $STINT_ATTEMPT $mapreduce_task_ismap $(basename "$mapreduce_map_input_file") $(cat data.txt)"
echo reporter:counter:mine,seen,3 >&2
echo reporter:status:busy >&2
`)
	x := h.execution("run", "--map", "./show.sh", "--file", program, "--file", h.write("data.txt", "content"), "--env", "GREETING=hello", "--input", in, "--output", "out")
	if got, want := strings.Join(h.parts(h.path("out")), ""), "hello map map/0 1 true in.txt content\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
	if x.Counters["mine"]["seen"] != 3 {
		t.Errorf("counters %v", x.Counters)
	}
}

func TestResultWithoutLocationIsShownByOutput(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	x := h.execution("run", "wordcount", "--input", h.write("in.txt", "b a b\n"), "--partitions", "1")
	if got := h.ok("output", string(x.ID)); got != "a\t1\nb\t2\n" {
		t.Errorf("output %q", got)
	}
	if got := h.ok("output", string(x.ID), "--part", "0"); got != "a\t1\nb\t2\n" {
		t.Errorf("part 0 %q", got)
	}
	if r := h.stint("output", string(x.ID), "--part", "1"); r.code != 2 {
		t.Errorf("part 1: exit code %d, %s", r.code, r.err)
	}
}

func TestExistingOutputIsReplacedOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	in := h.write("in.txt", "one\n")
	h.ok("run", "identity", "--input", in, "--output", "out")
	r := h.stint("run", "identity", "--input", in, "--output", "out")
	if r.code != 2 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, "--overwrite", h.path("out"))
	h.write("in.txt", "two\n")
	h.ok("run", "identity", "--input", in, "--output", "out", "--overwrite")
	if got := strings.Join(h.parts(h.path("out")), ""); got != "two\n" {
		t.Errorf("output %q", got)
	}
	entries, err := os.ReadDir(h.path("out"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"_SUCCESS", "_manifest.json", "part-00000"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestDetachedRunIsFollowedByOtherCommands(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.numbered(8)
	mapper, performed := h.counter("0")
	h.holdBack("map/7") // the service ends with the execution
	id := strings.TrimSpace(h.ok("run", "--map", "sh count.sh", "--file", mapper, "--split", "files", "--subset-size", "1", "--input", in, "--output", "out", "--nodes", "2", "--detach", "--name", "nightly"))
	contains(t, h.ok("list", "--search", "nightly"), id)
	contains(t, h.ok("show", id), id, "map")
	watch, shown := h.watch(id)
	h.open()
	if r := h.finish(watch); r.code != 0 {
		t.Fatalf("show --watch: exit code %d\n%s", r.code, r.err)
	}
	lines := strings.Split(strings.TrimSpace(h.read(shown)), "\n")
	last := document(t, lines[len(lines)-1])
	if last.Status != stint.Completed || total(performed()) != 8 || last.Stages[0].Operations.Performed != 8 {
		t.Errorf("status %s, %d performed, document says %d", last.Status, total(performed()), last.Stages[0].Operations.Performed)
	}
	if got := len(h.parts(h.path("out"))); got != last.Output.Parts {
		t.Errorf("%d parts, document says %d", got, last.Output.Parts)
	}
	h.wait("the end of the service", func() bool { return len(h.processes("")) == 0 })
	if r := h.stint("list"); r.code != 5 {
		t.Errorf("list without a service: exit code %d, %s", r.code, r.err)
	}
}

// watch begins to watch an execution and returns when it is shown for the first time,
// with the path of what is shown.
func (h *home) watch(id string) (watch *running, shown string) {
	h.t.Helper()
	f, err := os.Create(h.path("shown"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = f.Close() }) // another process writes it
	watch = &running{cmd: h.command("show", id, "--watch", "--json"), out: new(bytes.Buffer), err: new(bytes.Buffer)}
	watch.cmd.Stdout, watch.cmd.Stderr = f, watch.err
	if err := watch.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.wait("what is watched to be shown", func() bool { return strings.Contains(h.read(f.Name()), "\n") })
	return watch, f.Name()
}

// Only commands that an execution is waited for with say by their exit code how it has ended.
func TestWhoWatchesIsShownHowItEndedAndWhoRunsGetsItsCode(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	endings := map[string][]string{
		"failed":             {"run", "--map", "sh -c 'exit 3'", "--attempts", "1", "--input", h.write("in", "a\n"), "--output", "out"},
		"completed (errors)": {"run", "--map", "sh -c 'exit 3'", "--attempts", "1", "--complete-as-much-as-possible", "--input", h.write("in", "a\n"), "--output", "out2"},
	}
	codes := map[string]int{"failed": 1, "completed (errors)": 3}
	for status, args := range endings {
		id := strings.TrimSpace(h.ok(append(args, "--detach")...))
		watched := h.stint("show", id, "--watch")
		if watched.code != 0 || !strings.Contains(watched.out+watched.err, status) {
			t.Errorf("show --watch: exit code %d, want 0 and %q: %s%s", watched.code, status, watched.out, watched.err)
		}
		lines := strings.Split(strings.TrimSpace(h.ok("show", id, "--watch", "--json")), "\n")
		if last := document(t, lines[len(lines)-1]); string(last.Status) != status {
			t.Errorf("show --watch --json ends with %s, want %s", last.Status, status)
		}
		contains(t, h.ok("show", id), status)
		args[len(args)-1] += "-again"
		if r := h.stint(args...); r.code != codes[status] {
			t.Errorf("run: exit code %d, want %d: %s", r.code, codes[status], r.err)
		}
	}
}

func TestOperationsAreListed(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(2)
	x := h.execution("run", "wordcount", "--input", h.text(10, 40), "--subset-size", "500", "--partitions", "2")
	text := h.ok("show", string(x.ID), "--operations", "--json")
	if n := strings.Count(text, `"id":`); int64(n) != x.Operations.Total {
		t.Errorf("%d operations listed of %d", n, x.Operations.Total)
	}
	contains(t, h.ok("show", string(x.ID), "--operations"), "count/0", "total/1", "completed")
}

func TestTerminateStopsAnExecution(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(2)
	in := h.numbered(4)
	mapper, performed := h.counter("600.25")
	run := h.begin("run", "--map", "sh count.sh", "--file", mapper, "--split", "files", "--subset-size", "1", "--input", in, "--output", "out", "--name", "endless")
	h.wait("performances", func() bool { return total(performed()) >= 2 })
	var x []stint.Execution
	decode(t, h.ok("list", "--json"), &x)
	h.ok("terminate", string(x[0].ID))
	if r := h.finish(run); r.code != 1 {
		t.Errorf("run: exit code %d, %s", r.code, r.err)
	}
	if got := h.execution("show", string(x[0].ID)); got.Status != stint.Terminated {
		t.Errorf("status %s", got.Status)
	}
	h.wait("the end of the operations", func() bool { return len(sleepers("600.25")) == 0 })
	h.wait("the end of the staged output", func() bool {
		_, err := os.Stat(h.path("out"))
		return os.IsNotExist(err)
	})
}

// sleepers returns the processes that sleep for so many seconds.
func sleepers(seconds string) []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range dirs {
		if b, err := os.ReadFile(path); err == nil && string(b) == "sleep\x00"+seconds+"\x00" {
			found = append(found, path)
		}
	}
	return found
}
