package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// crash is an execution of countable operations, each a fifth of a second long.
type crash struct {
	*home
	performed func() map[string]int
	args      []string
	want      string
}

const crashOperations = 30

func newCrash(t *testing.T) *crash {
	t.Helper()
	c := &crash{home: newHome(t)}
	in := c.numbered(crashOperations)
	mapper, performed := c.counter("0.2")
	c.performed = performed
	c.want = c.shell(`cat "$1"/* | sort`, in)
	c.args = []string{"run", "--map", "sh count.sh", "--reduce", "cat", "--partitions", "2", "--file", mapper, "--split", "files", "--subset-size", "1", "--input", in, "--output", "out"}
	return c
}

func (c *crash) checkOutput() {
	c.t.Helper()
	if diff := cmp.Diff(c.want, sorted(c.parts(c.path("out"))...)); diff != "" {
		c.t.Error(diff)
	}
}

// checkPerformed checks that every operation was performed, and no more were
// than so many a second time.
func (c *crash) checkPerformed(again int) {
	c.t.Helper()
	counts := c.performed()
	if len(counts) != crashOperations || total(counts) > crashOperations+again {
		c.t.Errorf("%d operations performed %d times, want %d and at most %d more: %v", len(counts), total(counts), crashOperations, again, counts)
	}
}

func (c *crash) midway() {
	c.t.Helper()
	c.wait("a third of the operations", func() bool { return total(c.performed()) >= crashOperations/3 })
}

func TestAgentThatIsKilledPerformsOnlyWhatWasInProgressAgain(t *testing.T) {
	t.Parallel()
	c := newCrash(t)
	c.up(3)
	run := c.begin(c.args...)
	c.midway()
	c.kill("stint agent --data " + c.data + "/agents/2 ")
	if r := c.finish(run); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	c.checkOutput()
	c.checkPerformed(1)
}

func TestServerThatIsKilledCostsNothing(t *testing.T) {
	t.Parallel()
	c := newCrash(t)
	c.up(3)
	run := c.begin(c.args...)
	for range 2 {
		c.midway()
		c.kill("stint server ")
		c.wait("the service", func() bool { return c.stint("list").code == 0 })
	}
	if r := c.finish(run); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	c.checkOutput()
	c.checkPerformed(0)
}

func TestEverythingKilledGoesOnWithTheNextUp(t *testing.T) {
	t.Parallel()
	c := newCrash(t)
	up := c.up(3)
	id := strings.TrimSpace(c.ok(append(c.args, "--detach")...))
	c.midway()
	for _, p := range c.processes("") {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
	_ = up.cmd.Wait()
	c.wait("the end of all processes", func() bool { return len(c.processes("")) == 0 })
	c.up(3)
	if got := c.stint("show", id, "--watch"); got.code != 0 {
		t.Errorf("show: exit code %d\n%s", got.code, got.err)
	}
	c.checkOutput()
	c.checkPerformed(3)
	if x := c.execution("show", id); x.Status != stint.Completed {
		t.Errorf("status %s", x.Status)
	}
}

func TestAgentWhoseFolderIsGoneCostsOnlyWhatLayThere(t *testing.T) {
	t.Parallel()
	c := newCrash(t)
	c.up(3)
	run := c.begin(c.args...)
	c.midway()
	before := total(c.performed())
	c.loseAgent(c.data + "/agents/2")
	if r := c.finish(run); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	c.checkOutput()
	c.checkPerformed(before) // at the very most; a third of them lay there
}

func TestNothingOutlivesUp(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	up := h.up(2)
	in := h.numbered(4)
	mapper, _ := h.counter("600.75")
	h.ok("run", "--map", "sh count.sh", "--file", mapper, "--split", "files", "--subset-size", "1", "--input", in, "--output", "out", "--detach")
	h.killAndWait(up, "600.75")
}

func TestNothingOutlivesARunThatStartedItsService(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.numbered(4)
	mapper, _ := h.counter("600.85")
	run := h.begin("run", "--map", "sh count.sh", "--file", mapper, "--split", "files", "--subset-size", "1", "--input", in, "--output", "out", "--nodes", "2", "--slots", "1")
	h.killAndWait(run, "600.85")
}

func TestResumeAsTheServiceOfAKilledRunEnds(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	gate := h.path("gate")
	mapper := h.write("wait.sh", "until [ -e '"+gate+"' ]; do sleep 0.05; done\nexec cat\n")
	run := h.begin("run", "--map", "sh wait.sh", "--file", mapper, "--input", h.write("in.txt", "x\n"), "--output", "out", "--nodes", "1")
	var list []stint.Execution
	h.wait("an execution in progress", func() bool {
		r := h.stint("list", "--json")
		return r.code == 0 && json.Unmarshal([]byte(r.out), &list) == nil && len(list) == 1 && list[0].Status == stint.InProgress
	})
	if err := run.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = run.cmd.Wait()
	h.wait("a service that does not answer", func() bool { return h.stint("list").code != 0 })
	resumed := h.command("resume", string(list[0].ID))
	said, err := os.Create(h.path("said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close() //nolint:errcheck // another process writes it
	resumed.Stderr = said
	if err := resumed.Start(); err != nil {
		t.Fatal(err)
	}
	h.wait("a service that goes on with it", func() bool { return strings.Contains(h.read(said.Name()), "goes on by itself") })
	h.write("gate", "")
	if err := resumed.Wait(); err != nil || h.read(h.path("out/part-00000")) != "x\n" {
		t.Errorf("%v\n%s", err, h.read(said.Name()))
	}
}

// killAndWait kills a command once two operations sleep for so many seconds, which are
// more than anybody waits for, and waits for the end of all that it started, directly or not.
func (h *home) killAndWait(r *running, seconds string) {
	h.t.Helper()
	h.wait("sleeping operations", func() bool { return len(sleepers(seconds)) >= 2 })
	if err := r.cmd.Process.Kill(); err != nil {
		h.t.Fatal(err)
	}
	_ = r.cmd.Wait()
	h.wait("the end of all processes", func() bool { return len(h.processes(""))+len(sleepers(seconds)) == 0 })
}

func TestFailingProgramIsRetriedAndItsStderrShown(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(2)
	once := h.path("once")
	program := h.write("flaky.sh", fmt.Sprintf("[ -e '%s' ] || { touch '%s'; echo 'the disk ate it' >&2; exit 3; }\nexec cat\n", once, once))
	r := h.stint("run", "--map", "sh flaky.sh", "--file", program, "--input", h.write("in.txt", "x\n"), "--output", "out", "--json")
	if r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.err)
	}
	contains(t, r.err, "map/0 attempt 1 failed", "exit 3", "the disk ate it")
	if x := document(t, r.out); x.Operations.Performed != 2 || x.Operations.Total != 1 {
		t.Errorf("performed %d of %d", x.Operations.Performed, x.Operations.Total)
	}
}

func TestProgramThatAlwaysFailsFailsTheExecution(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(2)
	program := h.write("bad.sh", "echo nothing works >&2\nexit 7\n")
	r := h.stint("run", "--map", "sh bad.sh", "--file", program, "--input", h.write("in.txt", "x\n"), "--output", "out", "--attempts", "2", "--json")
	x := document(t, r.out)
	if r.code != 1 || x.Status != stint.ExecutionFailed || x.Error == nil || x.Operations.Performed != 2 {
		t.Fatalf("exit code %d, document %+v", r.code, x)
	}
	contains(t, r.err, "exit 7: nothing works\n")
	contains(t, h.ok("explain", string(x.ID)), "exit 7: nothing works\n")
	contains(t, h.ok("logs", string(x.ID), "--operation", "map/0"), "nothing works")
	contains(t, h.ok("logs", string(x.ID)), "nothing works")
	h.wait("the end of the output's folder", func() bool { // it goes when the execution has failed
		_, err := os.Stat(h.path("out"))
		return os.IsNotExist(err)
	})
}

func TestSecondUpOnAFolderSaysWhoHoldsIt(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	up := h.up(1)
	r := h.stint("up", "--listen", "127.0.0.1:0")
	if r.code != 2 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, fmt.Sprint(up.cmd.Process.Pid), "https://127.0.0.1:", h.data)
}

func TestInterruptedRunGoesOnWithResume(t *testing.T) {
	t.Parallel()
	c := newCrash(t)
	run := c.begin(append(c.args, "--nodes", "2", "--slots", "1")...)
	c.midway()
	if err := run.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	r := c.finish(run)
	if r.code != 4 || len(c.processes("")) > 0 {
		t.Errorf("exit code %d, processes %v\n%s", r.code, c.processes(""), r.err)
	}
	c.up(2)
	var x []stint.Execution
	decode(t, c.ok("list", "--json"), &x)
	if len(x) != 1 || x[0].Status != stint.Suspended {
		t.Fatalf("%d executions, status %s", len(x), x[0].Status)
	}
	id := string(x[0].ID)
	contains(t, r.err, "stint resume "+id)
	kept := total(c.performed())
	if got := c.execution("resume", id); got.Status != stint.Completed || got.Operations.Reused == 0 {
		t.Errorf("status %s, %d reused after %d were performed", got.Status, got.Operations.Reused, kept)
	}
	c.checkOutput()
	c.checkPerformed(0) // two fifths of a second each, of a grace period of ten
}
