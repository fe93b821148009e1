package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

// long is an execution of many short operations over single lines: each tells of
// its performance in a file outside before it passes its line on.
type long struct {
	*home
	operations int
	performed  func() map[string]int
	storage    string
	want       string
	args       []string
}

func newLong(t *testing.T, operations int) *long {
	t.Helper()
	l := &long{home: newHome(t), operations: operations}
	l.storage = l.path("storage")
	var lines strings.Builder
	for i := range operations {
		fmt.Fprintf(&lines, "line%06d\n", i) // eleven bytes each
	}
	l.want = lines.String()
	in := l.write("in.txt", l.want)
	mapper, performed := l.counter("0")
	l.performed = performed
	l.args = []string{"run", "--map", "sh count.sh", "--file", mapper, "--subset-size", "11", "--input", in, "--output", "out"}
	return l
}

// upWith starts a service on a data folder with the test's storage.
func (h *home) upWith(nodes int, args ...string) *running {
	h.t.Helper()
	r := h.begin(append([]string{"up", "--data", h.data, "--listen", "127.0.0.1:0", "--nodes", strconv.Itoa(nodes), "--slots", "1"}, args...)...)
	h.awaitNodes(r, nodes)
	return r
}

// elsewhere is the same test on another data folder: another service.
func (h *home) elsewhere(name string) *home {
	other := *h
	other.data = h.path(name)
	return &other
}

// killAll kills everything of this test at once and waits for its end.
func (h *home) killAll(up *running) {
	h.t.Helper()
	for _, p := range h.processes("") {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
	_ = up.cmd.Wait()
	h.wait("the end of all processes", func() bool { return len(h.processes("")) == 0 })
}

func (h *home) status(id string) stint.ExecutionStatus {
	h.t.Helper()
	return h.execution("show", id).Status
}

func (l *long) until(performed int) {
	l.t.Helper()
	l.wait(fmt.Sprintf("%d performances", performed), func() bool { return total(l.performed()) >= performed })
}

func (l *long) check(again int) {
	l.t.Helper()
	if diff := cmp.Diff(l.want, strings.Join(l.parts(l.path("out")), "")); diff != "" {
		l.t.Error(diff)
	}
	counts := l.performed()
	if len(counts) != l.operations || total(counts) > l.operations+again {
		l.t.Errorf("%d operations performed %d times, want %d and at most %d more", len(counts), total(counts), l.operations, again)
	}
	for op, n := range counts {
		if n > 2 {
			l.t.Errorf("%s performed %d times", op, n)
		}
	}
}

func TestSuspendedTwiceAndResumedElsewhere(t *testing.T) {
	t.Parallel()
	l := newLong(t, 2000)
	up := l.upWith(3, "--storage", l.storage)
	id := strings.TrimSpace(l.ok(append(l.args, "--detach")...))
	l.until(l.operations / 3)
	l.ok("suspend", id)
	x := l.execution("show", id)
	if x.Status != stint.Suspended || len(x.Receipts) != 1 || x.Receipts[0].OperationsKept != x.Operations.Completed || x.Receipts[0].SavedBytes == 0 {
		t.Fatalf("status %s, receipts %+v, %d operations completed", x.Status, x.Receipts, x.Operations.Completed)
	}
	l.killAll(up)
	if err := os.RemoveAll(filepath.Join(l.data, "agents")); err != nil {
		t.Fatal(err)
	}
	up = l.upWith(2, "--storage", l.storage)
	if got := l.status(id); got != stint.Suspended {
		t.Errorf("status %s after a restart", got)
	}
	l.ok("resume", id, "--detach")
	l.until(2 * l.operations / 3)
	l.ok("suspend", id)
	_ = up.cmd.Process.Signal(syscall.SIGTERM)
	_ = up.cmd.Wait()
	if err := os.RemoveAll(l.data); err != nil { // nothing but the storage is left
		t.Fatal(err)
	}
	fresh := l.elsewhere("fresh")
	fresh.upWith(1)
	done := fresh.execution("resume", id, "--from", l.storage)
	if done.Status != stint.Completed || len(done.Stints) != 3 || done.Operations.Reused == 0 {
		t.Errorf("status %s after %d stints, %d reused", done.Status, len(done.Stints), done.Operations.Reused)
	}
	l.check(3 + 2)
	left, _ := filepath.Glob(filepath.Join(l.storage, "saved", "*", "*"))
	if len(left) != 1 || filepath.Base(left[0]) != "ended" { // for the service that has suspended it
		t.Errorf("left in storage: %v", left)
	}
}

// What a second service has brought over and not begun with is ended there: the first,
// where it was suspended, has to be told, and must not be left with an execution whose
// saved state is gone.
func TestWhatIsEndedWhereItWasBroughtToIsOverWhereItWasSuspended(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	storage := g.path("storage")
	g.upWith(1, "--storage", storage)
	id := g.mapped()
	g.ok("suspend", id)
	other := g.elsewhere("other")
	other.upWith(1)
	x := other.execution("resume", id, "--from", storage, "--at", "24h", "--detach")
	if x.Status != stint.Suspended || x.ResumeAt == nil {
		t.Fatalf("brought over: %s, to be resumed at %v", x.Status, x.ResumeAt)
	}
	other.ok("terminate", id)
	other.wait("the end there", func() bool { return other.status(id) == stint.Terminated })
	if r := g.stint("resume", id); r.code == 0 || !strings.Contains(r.err, "ended_elsewhere: execution "+id+" was terminated by service ") {
		t.Errorf("resumed where it was suspended: exit code %d, %s", r.code, r.err)
	}
	if got := g.status(id); got != stint.Terminated {
		t.Errorf("where it was suspended it is %s", got)
	}
}

// gated is an execution of map operations that count themselves and reduce
// operations that wait for a file.
type gated struct {
	*home
	performed func() map[string]int
	args      []string
	want      string
}

const gatedOperations = 40

func newGated(t *testing.T) *gated {
	t.Helper()
	g := &gated{home: newHome(t)}
	in := g.numbered(gatedOperations)
	mapper, performed := g.counter("0")
	g.performed = performed
	reducer := g.write("gate.sh", g.gate()+"exec cat\n")
	g.want = g.shell(`cat "$1"/* | sort`, in)
	g.args = []string{
		"run", "--map", "sh count.sh", "--reduce", "sh gate.sh", "--partitions", "2", "--file", mapper, "--file", reducer,
		"--split", "files", "--subset-size", "1", "--input", in, "--output", "out", "--detach",
	}
	return g
}

// mapped starts the execution and returns its id once all of its map operations are completed.
func (g *gated) mapped(more ...string) string {
	g.t.Helper()
	id := strings.TrimSpace(g.ok(append(g.args, more...)...))
	g.wait("the map stage", func() bool { return g.execution("show", id).Stages[0].Operations.Completed == gatedOperations })
	return id
}

func (g *gated) check() {
	g.t.Helper()
	if diff := cmp.Diff(g.want, sorted(g.parts(g.path("out"))...)); diff != "" {
		g.t.Error(diff)
	}
	if counts := g.performed(); len(counts) != gatedOperations || total(counts) != gatedOperations {
		g.t.Errorf("map operations performed %d times, want each of %d once: %v", total(counts), gatedOperations, counts)
	}
}

func TestMapOutputIsSavedAndBroughtBack(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	storage := g.path("storage")
	up := g.upWith(2, "--storage", storage)
	id := g.mapped()
	g.ok("suspend", id, "--grace", "0s")
	g.killAll(up)
	if err := os.RemoveAll(g.data); err != nil {
		t.Fatal(err)
	}
	g.open()
	fresh := g.elsewhere("fresh")
	if x := fresh.execution("resume", id, "--from", storage, "--nodes", "3"); x.Status != stint.Completed { // with a service for its own time
		t.Errorf("status %s", x.Status)
	}
	g.check()
}

func TestReplicasTakeThePlaceOfAnAgentsFolder(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	g.up(3)
	id := g.mapped("--replication", "2")
	g.wait("two copies of everything", func() bool { return g.leastCopies(id) >= 2 })
	g.loseAgent(g.data + "/agents/2")
	g.wait("two copies again", func() bool { return g.leastCopies(id) >= 2 })
	g.open()
	if r := g.stint("show", id, "--watch"); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	g.check()
}

// leastCopies returns how many copies the output of a completed map operation has at least.
func (h *home) leastCopies(id string) int {
	h.t.Helper()
	least := 1 << 30
	for _, op := range h.operations(id) {
		if op.Stage == "map" && op.Status == stint.OpCompleted {
			least = min(least, len(op.Copies))
		}
	}
	return least
}

func (h *home) operations(id string) []stint.Operation {
	h.t.Helper()
	var ops []stint.Operation
	decode(h.t, h.ok("show", id, "--operations", "--json"), &ops)
	return ops
}

func TestContinuousSavingLeavesNothingToLose(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	g.up(2)
	id := g.mapped("--save", "continuous")
	g.wait("everything saved", func() bool { return g.execution("show", id).Saved.Operations >= gatedOperations })
	for _, n := range []string{"1", "2"} {
		g.loseAgent(g.data + "/agents/" + n)
	}
	g.open()
	if r := g.stint("show", id, "--watch"); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	g.check()
}

func TestOperationGoesOnFromItsOwnCheckpoint(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	storage := h.path("storage")
	steps := h.path("steps")
	// A simulation of many steps, none of which may be done twice.
	program := h.write("simulate.sh", fmt.Sprintf(`
read seed
n=0
[ -e "$STINT_CHECKPOINT_DIR/n" ] && n=$(cat "$STINT_CHECKPOINT_DIR/n")
trap 'echo $n > "$STINT_CHECKPOINT_DIR/n"; exit 0' TERM
while [ $n -lt 200 ]; do
	n=$((n + 1))
	echo "$seed $n" >> '%s'
	[ $n -gt 100 ] && [ ! -e '%s' ] && sleep 0.05
done
echo "seed $seed after $n steps"
`, steps, h.path("open")))
	up := h.upWith(2, "--storage", storage)
	id := strings.TrimSpace(h.ok("run", "--map", "sh simulate.sh", "--file", program, "--input", "range:1..2", "--subset-size", "1", "--output", "out", "--detach"))
	h.wait("both halfway", func() bool {
		b, _ := os.ReadFile(steps)
		return strings.Contains(string(b), "1 110\n") && strings.Contains(string(b), "2 110\n")
	})
	h.ok("suspend", id)
	x := h.execution("show", id)
	if x.Receipts[0].WorkLost != 0 {
		t.Errorf("work lost: %v core-seconds", x.Receipts[0].WorkLost)
	}
	h.killAll(up)
	if err := os.RemoveAll(filepath.Join(h.data, "agents")); err != nil {
		t.Fatal(err)
	}
	h.write("open", "")
	h.upWith(1, "--storage", storage)
	if x := h.execution("resume", id); x.Status != stint.Completed {
		t.Errorf("status %s", x.Status)
	}
	want := "seed 1 after 200 steps\nseed 2 after 200 steps\n"
	if diff := cmp.Diff(want, strings.Join(h.parts(h.path("out")), "")); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(h.read(steps), "\n"); n != 400 {
		t.Errorf("%d steps, want 400", n)
	}
}

func TestEverythingKilledTenTimes(t *testing.T) {
	t.Parallel()
	l := newLong(t, 300)
	up := l.upWith(2)
	id := strings.TrimSpace(l.ok(append(l.args, "--detach")...))
	const kills = 10
	for i := range kills {
		l.until((i + 1) * l.operations / (kills + 2))
		l.killAll(up)
		up = l.upWith(2)
	}
	if r := l.stint("show", id, "--watch"); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	if diff := cmp.Diff(l.want, strings.Join(l.parts(l.path("out")), "")); diff != "" {
		t.Error(diff)
	}
	if n := total(l.performed()); n > l.operations+2*kills {
		t.Errorf("%d performances of %d operations", n, l.operations)
	}
}

func TestCtrlCSuspendsARunThatStartedItsService(t *testing.T) {
	t.Parallel()
	l := newLong(t, 400)
	run := l.begin(append(l.args, "--nodes", "2", "--slots", "1")...)
	l.until(100)
	if err := run.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	r := l.finish(run)
	if r.code != 4 {
		t.Fatalf("exit code %d\n%s", r.code, r.err)
	}
	at := strings.Index(r.err, "stint resume x-")
	if at < 0 {
		t.Fatalf("no resume command in\n%s", r.err)
	}
	id := strings.Trim(strings.Fields(r.err[at:])[2], `"'.,;`)
	if n := len(l.processes("")); n > 0 {
		t.Errorf("%d processes are left", n)
	}
	if x := l.execution("resume", id, "--nodes", "1"); x.Status != stint.Completed || x.Operations.Reused == 0 {
		t.Errorf("status %s, %d reused", x.Status, x.Operations.Reused)
	}
	l.check(2)
}

func TestReuseOfAnEarlierExecutionPerformsOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.numbered(40)
	mapper, performed := h.counter("0")
	args := []string{"run", "--map", "sh count.sh", "--reduce", "cat", "--partitions", "2", "--file", mapper, "--split", "files", "--subset-size", "1", "--input", in}
	h.up(2)
	first := h.execution(append(args, "--output", "first")...)
	for _, n := range []string{"003", "017", "039"} {
		h.write("in/"+n, "changed\t"+n+"\n")
	}
	before := total(performed())
	second := h.execution(append(args, "--output", "second", "--reuse", string(first.ID))...)
	if n := total(performed()) - before; n != 3 || second.Stages[0].Operations.Reused != 37 {
		t.Errorf("%d map operations performed and %d reused, want 3 and 37", n, second.Stages[0].Operations.Reused)
	}
	want := h.shell(`cat "$1"/* | sort`, in)
	if diff := cmp.Diff(want, sorted(h.parts(h.path("second"))...)); diff != "" {
		t.Error(diff)
	}
}

func TestChangedInputIsFoundAtResume(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	g.up(2)
	id := g.mapped()
	g.ok("suspend", id, "--grace", "0s")
	g.write("in/007", "changed\t7\n")
	r := g.stint("resume", id)
	if r.code != 2 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, "in/007", "changed", "--redo")
	if got := g.status(id); got != stint.Suspended {
		t.Errorf("status %s", got)
	}
	contains(t, g.ok("resume", id, "--dry-run", "--redo"), "007")
	g.open()
	g.ok("resume", id, "--redo")
	want := g.shell(`cat "$1"/* | sort`, g.path("in"))
	if diff := cmp.Diff(want, sorted(g.parts(g.path("out"))...)); diff != "" {
		t.Error(diff)
	}
	if n := total(g.performed()); n != gatedOperations+1 {
		t.Errorf("%d map operations performed, want one again", n)
	}
}

func TestNodeIsDrainedWithoutLosingAnything(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	g.up(3)
	id := g.mapped()
	var nodes []stint.Node
	decode(t, g.ok("node", "list", "--json"), &nodes)
	leaving := nodes[0]
	g.ok("node", "evacuate", string(leaving.ID), "--by", "2s")
	for _, op := range g.operations(id) {
		if op.Stage == "map" && op.Status == stint.OpCompleted && len(op.Copies) == 1 && op.Copies[0] == string(leaving.ID) {
			t.Errorf("the only copy of %s is on the node that leaves", op.ID)
		}
	}
	g.loseAgent(g.data + "/agents/" + strings.TrimPrefix(leaving.Name, "local-"))
	g.open()
	if r := g.stint("show", id, "--watch"); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	g.check()
}

func TestJobIsMovedToAnotherNode(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(2)
	program := h.write("wait.sh", fmt.Sprintf("while [ ! -e '%s' ]; do sleep 0.05; done\nexec cat\n", h.path("open")))
	id := strings.TrimSpace(h.ok("run", "--map", "sh wait.sh", "--file", program, "--input", h.write("in.txt", "x\n"), "--output", "out", "--detach"))
	place := func() (job string, node stint.NodeID) {
		for _, op := range h.operations(id) {
			if op.Status == stint.OpInProgress {
				return op.Job, op.Node
			}
		}
		return "", ""
	}
	h.wait("an operation in progress", func() bool { job, _ := place(); return job != "" })
	job, node := place()
	h.ok("move", id, "--job", job, "--grace", "0s")
	h.wait("it to be on the other node", func() bool { _, now := place(); return now != "" && now != node })
	h.write("open", "")
	if r := h.stint("show", id, "--watch"); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
}

func TestSuspendedJobWaitsForItsResume(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	g.up(2)
	id := g.mapped()
	var job string
	g.wait("a reduce operation in progress", func() bool {
		for _, op := range g.operations(id) {
			if op.Stage == "reduce" && op.Status == stint.OpInProgress {
				job = op.Job
			}
		}
		return job != ""
	})
	g.ok("suspend", id, "--job", job, "--grace", "0s")
	x := g.execution("show", id)
	if x.Status != stint.InProgress || len(x.Held) != 1 || x.Held[0] != job {
		t.Errorf("status %s, suspended jobs %v", x.Status, x.Held)
	}
	g.open()
	g.wait("the others", func() bool { return g.execution("show", id).Operations.Completed == gatedOperations+1 })
	g.ok("resume", id, "--job", job)
	if r := g.stint("show", id, "--watch"); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	g.check()
}

func TestRetryPerformsOnlyWhatFailed(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.numbered(10)
	counts := h.path("performed")
	bad := h.write("bad", "")
	program := h.write("picky.sh", fmt.Sprintf("echo \"$STINT_OPERATION\" >> '%s'\n[ -e '%s' ] && [ \"$STINT_OPERATION\" = map/4 ] && { echo 'no good' >&2; exit 3; }\nexec cat\n", counts, bad))
	h.up(2)
	r := h.stint("run", "--map", "sh picky.sh", "--file", program, "--split", "files", "--subset-size", "1", "--input", in, "--output", "out", "--attempts", "1", "--complete-as-much-as-possible", "--json")
	x := document(t, r.out)
	if r.code != 3 || x.Status != stint.CompletedErrors || len(x.Missing) == 0 || x.Missing[0].Operation != "map/4" {
		t.Fatalf("exit code %d, status %s, missing %+v\n%s", r.code, x.Status, x.Missing, r.err)
	}
	if _, err := os.Stat(h.path("out/_SUCCESS")); !os.IsNotExist(err) {
		t.Errorf("_SUCCESS is there: %v", err)
	}
	contains(t, h.read(h.path("out/_manifest.json")), "map/4")
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	if y := h.execution("retry", string(x.ID)); y.Status != stint.Completed || len(y.Missing) > 0 {
		t.Errorf("status %s, missing %+v", y.Status, y.Missing)
	}
	want := h.shell(`cat "$1"/*`, in)
	if diff := cmp.Diff(want, strings.Join(h.parts(h.path("out")), "")); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(h.read(counts), "\n"); n != 11 {
		t.Errorf("%d performances, want 11", n)
	}
}

func TestUpWithFewerAgentsTakesOverWhatTheOthersHold(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	up := g.up(3)
	id := g.mapped()
	g.killAll(up)
	g.up(1)
	g.wait("the drained agents to be gone", func() bool {
		left, _ := filepath.Glob(filepath.Join(g.data, "agents", "*"))
		return len(left) == 1
	})
	g.open()
	if r := g.stint("show", id, "--watch"); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	g.check()
}

func TestAgentsThatAreWantedAgainAreNotDrained(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	up := g.up(3)
	id := g.mapped()
	g.killAll(up)
	g.write("data/agents/3.retiring", "") // as if an up with fewer agents had been killed before they were drained
	up = g.begin("up", "--data", g.data, "--listen", "127.0.0.1:0", "--nodes", "3", "--slots", "1")
	g.awaitNodes(up, 3)
	var nodes []stint.Node
	decode(t, g.ok("node", "list", "--json"), &nodes)
	third := nodes[slices.IndexFunc(nodes, func(n stint.Node) bool { return n.Name == "local-3" })]
	g.ok("node", "drain", string(third.ID), "--detach")
	g.killAll(up)
	g.write("data/agents/3.retiring", "")
	g.up(3) // all of them ready
	g.open()
	if r := g.stint("show", id, "--watch"); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	g.check()
}
