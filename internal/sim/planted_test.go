package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// planted is a bug that is put into a copy of a source file for one test run.
// The old text must be there exactly once.
type planted struct {
	name     string // what it breaks
	file     string // below the module's root
	old, new string
}

// leastCaught is the share of planted bugs that the simulation must catch.
const leastCaught = 0.85

var plant = flag.Int("planted", 12, "how many bugs TestPlantedBugsAreCaught plants; 0: all")

const plantedSeeds = 2500 // for each bug; the first that fails ends the run

// escaped lists the bugs that are known not to be caught by so many seeds, most of
// them because another rule stands behind the one they break. They are planted when
// all are.
func escaped() []string {
	return []string{
		"a grant of an owner that was replaced is accepted",
		"a late report from before a suspend counts",
		"a lost block is still announced",
		"a moved operation is offered to its old node for ever",
		"a node that attaches is not told to stop",
		"a server whose time is over commits",
		"a server whose time is over writes the record in storage",
		"a session of an older process attaches",
		"an execution ends before the stages that none reads",
		"numbers that a node has forgotten elsewhere are waited for",
		"sources are not computed anew",
		"what an old copy of a folder announces from before a retry counts",
		"what few nodes cannot perform is offered to the same ones for ever",
		"what was left before the input changed counts",
		"what was undone meanwhile is saved",
	}
}

func plantedBugs() []planted {
	const apply, reports, step, grant, state, snapshot = "internal/coord/apply.go", "internal/coord/report.go", "internal/coord/step.go", "internal/coord/grant.go", "internal/coord/state.go", "internal/coord/snapshot.go"
	const edges, errand, ledger, report = "internal/coord/edges.go", "internal/coord/errand.go", "internal/agent/ledger.go", "internal/agent/report.go"
	return append([]planted{
		{"a report after a gap is acknowledged", step, "if n.status != nodeReady || r.Seq > n.lastSeq+1 && !n.gap {", "if n.status != nodeReady {"},
		{"reports of an older incarnation are taken in", step, "if !known || r.Incarnation != s.nodes[i].incarnation {", "if !known {"},
		{"a session of an older process attaches", step, "(a.Node.Incarnation < s.nodes[i].incarnation || a.Session < s.nodes[i].session)", "false"},
		{"a node that attaches is not sent the grants it has not seen", step, "		if !seen[id] {", "		if false {"},
		{"what was taken over is not asked for", step, "if missing := s.takenOver(i); len(missing) > 0 {", "if missing := s.takenOver(i); len(missing) > 1000 {"},
		{"a node is gone although it has attached since", step, "if s.over() || g.Session < s.nodes[i].session {", "if s.over() {"},
		{"the commit is not repeated by a new owner", step, "	if len(d.Errands) == 0 {\n		s.dispatch(d)\n	}", ""},
		{"a queued execution is not begun by a new owner", step, "	s.begin(d, now)\n	s.advance(d, now)", "	s.advance(d, now)"},
		{"a terminated execution goes on", errand, "	if s.status != stint.InProgress && s.status != stint.Suspending {\n		return\n	}\n	if s.fatal", "	if s.fatal"},
		{"the operations of a node that is away are not freed", apply, "	s.void(now, i)\n	s.observe(i, nodeAway)", "	s.observe(i, nodeAway)"},
		{"lost output stays done", apply, "		s.lose(i, func(int, uint32) bool { return true })", ""},
		{"output that is not needed is forgotten when it is lost", apply, "o.state == done && o.node == i && !o.gone && gone(k, uint32(n)) {", "o.state == done && o.node == i && !o.gone && gone(k, uint32(n)) && s.needed(k, uint32(n)) {"},
		{"an undone operation leaves the barrier down", edges, "			next.ready = nil\n			continue\n", "			continue\n"},
		{"a gather does not wait for what was undone", edges, "		next.waitingFor[by]++\n", ""},
		{"a superseded completion counts", reports, "return o.node == i && (o.job == id || o.job == 0 && id > s.closed)", "return true"},
		{"a second completion counts", reports, "	case done, failed:\n	}\n	return false\n}\n\n// finish", "	case done, failed:\n		return true\n	}\n	return false\n}\n\n// finish"},
		{"an operation performed again is counted again", reports, "	first = !o.counted\n", "	first = true\n"},
		{"attempts of voided jobs are not counted", reports, "	if j == nil {\n		s.begunVoided(i, b)\n		return\n	}", "	if j == nil {\n		return\n	}"},
		{"interrupted attempts are not counted", apply, "			s.begunVoided(i, b)\n		}\n		s.keepVoided", "			_ = b\n		}\n		s.keepVoided"},
		{"a failed operation is not tried again", reports, "	s.exceptions[key] = e\n	s.release(f.Stage, f.Op)", "	s.exceptions[key] = e"},
		{"lost machines use up the attempts", reports, "		e.infra++\n		wait = backoff(e.infra, s.request.Backoff)", "		e.failed++\n		wait = backoff(1, 0)"},
		{"returned operations are forgotten", reports, "			s.leave(j, back.Job, n)\n			s.release(j.stage, n)\n		}\n	}\n}\n\n// returnedVoided", "			s.leave(j, back.Job, n)\n		}\n	}\n}\n\n// returnedVoided"},
		{"the shuffle does not wait for all", edges, "if s.plan.Whole(k, e) && !s.complete(s.plan.Upstream(k, e)) {", "if s.plan.Whole(k, e) && s.stages[s.plan.Upstream(k, e)].counts[pending] > 0 {"},
		{"parts of any attempt are chosen", reports, "if o := &st.ops[p.Op]; o.state == done && o.node == i {", "if o := &st.ops[p.Op]; o.node != 60000 {"},
		{"sources are not computed anew", apply, "|| o.state == failed || to == failed {\n		st.sources = nil", "|| o.state == failed || to == failed {"},
		{"an operation is granted before its back-off and its inputs", grant, "if e.notBefore > now || !s.unblocked(key.stage, key.op) || s.strands(key.stage, key.op) {", "if e.notBefore > now {"},
		{"a snapshot forgets what is gone", snapshot, "			flags |= flagGone\n", "			flags |= 0\n"},
		{"a snapshot forgets the number of the last report", snapshot, "lastSeq: c.LastSeq, ", ""},
		{"a restored state has no retries", snapshot, "			s.retries = append(s.retries, opKey{e.Stage, e.Op})", ""},
		{"jobs are numbered anew after a reload", snapshot, "s.settled, s.lastJob = snap.Version, c.Status, c.Settled, c.LastJob", "s.settled = snap.Version, c.Status, c.Settled"},
		{"a job is accepted twice", ledger, "	if stint.RangesContain(a.seen, uint32(g.Job)) {", "	if false {"},
		{"a grant of another incarnation is accepted", ledger, "	if g.Incarnation != l.incarnation {", "	if false {"},
		{"what was handed out is given back", ledger, "			j.waiting = stint.SubtractRange(j.waiting, tail)\n", ""},
		{"an answer to a retraction is forgotten", ledger, "	d.Returned = append(d.Returned, answer)", "	_ = d"},
		{"a report is dropped before it is acknowledged", report, "	a.sent = append(a.sent, r)\n", ""},
		{"output is not needed that a second stage reads", edges, "	return slices.ContainsFunc(s.plan.Readers(k), func", "	return slices.ContainsFunc(s.plan.Readers(k)[:min(1, len(s.plan.Readers(k)))], func"},
		{"a broadcast is not needed", edges, "			return !s.complete(r.Stage)\n", "			return r.Edge == 0 && !s.complete(r.Stage)\n"},
		{"a join begins before its second side is complete", edges, "	for e := range s.plan.Edges(k) {\n		if s.plan.Whole(k, e) && !s.complete", "	for e := range 1 {\n		if s.plan.Whole(k, e) && !s.complete"},
		{"a stage that reads one to one does not wait for its broadcast", edges, "	for e := range s.plan.Edges(k) {\n		if s.plan.Whole(k, e) && !s.complete", "	for e := range s.plan.Edges(k) {\n		if s.plan.Whole(k, 0) && s.plan.Whole(k, e) && !s.complete"},
		{"an end frees the first stage alone that waits for it", edges, "	for _, r := range s.plan.Readers(k) {\n		next := &s.stages[r.Stage]\n		if s.plan.Whole(r.Stage, r.Edge) {\n			if s.complete", "	for _, r := range s.plan.Readers(k)[:min(1, len(s.plan.Readers(k)))] {\n		next := &s.stages[r.Stage]\n		if s.plan.Whole(r.Stage, r.Edge) {\n			if s.complete"},
		{"a grant names no sources of what is beside", grant, "	for e := 1; e < s.plan.Edges(j.stage); e++ {", "	for e := 1; e < 1; e++ {"},
		{"what is beside is said to lie where the input does", edges, "	from := s.plan.Upstream(k, e)\n	if s.plan.Whole(k, e) {", "	from := s.plan.Upstream(k, 0)\n	if s.plan.Whole(k, e) {"},
		{"an execution ends before the stages that none reads", errand, "return !slices.ContainsFunc(s.ends, func(k int) bool { return !s.complete(k) })", "return s.complete(len(s.stages) - 1)"},
		{"what an operation waits for is not counted anew", edges, "				st.waitingFor[by]++\n", ""},
		{"a lost block is still announced", ledger, "			a.completed = subtractFromStage(a.completed, s.Stage, ops)\n", ""},
	}, plantedFeatures()...)
}

// plantedKeeping lists bugs in what keeps output and has work stop and go on.
func plantedKeeping() []planted {
	const apply, copies, chores, save, suspend, drop, errand = "internal/coord/apply.go", "internal/coord/copies.go", "internal/coord/chores.go", "internal/coord/save.go", "internal/coord/suspend.go", "internal/coord/drop.go", "internal/coord/errand.go"
	const drain, hold, snapshot, state, reports, grant, step, sources = "internal/coord/drain.go", "internal/coord/hold.go", "internal/coord/snapshot.go", "internal/coord/state.go", "internal/coord/report.go", "internal/coord/grant.go", "internal/coord/step.go", "internal/coord/sources.go"
	const edges, ledger, storage = "internal/coord/edges.go", "internal/agent/ledger.go", "internal/sim/storage.go"
	return []planted{
		{"suspended before all is saved", suspend, "	return s.left() == 0\n", "	return true\n"},
		{"suspended while something is in progress", suspend, "if s.status != stint.Suspending || s.out > 0 {", "if s.status != stint.Suspending {"},
		{"an error of a save is taken for done", chores, "	if r.Error != nil {\n		s.putOff(now, r.Error)\n		return true\n	}", "	if r.Error != nil {\n		s.record(d, Record{At: now, Saved: &SavedRecord{Packs: []stint.Pack{{Key: r.ID, Stage: f.stage, Ops: f.ops}}, Ops: f.ops}})\n		return true\n	}"},
		{"a gather that is in progress does not need its input", edges, "		return by != done && by != failed", "		return by < begun"},
		{"a shuffle that is in progress does not need its input", edges, "			return !s.complete(r.Stage)\n", "			return s.stages[r.Stage].counts[pending] > 0\n"},
		{"a claim is not conditional", storage, "if _, there := s.objects[key]; there {", "if _, there := s.objects[key]; there && generation > 1000 {"},
		{"a resume keeps the generation", suspend, "Status: stint.InProgress, Generation: a.Generation,", "Status: stint.InProgress, Generation: s.generation,"},
		{"a snapshot forgets the generation", snapshot, "	s.generation, s.claimed, s.home,", "	_, s.claimed, s.home,"},
		{"a commit does not name its generation", errand, "Storage: s.home, Generation: s.generation, Stint", "Storage: s.home, Stint"},
		{"errands are not given up with their node", chores, "s.nodes[f.node].status != nodeReady || len(f.ops) == 0", "len(f.ops) == 0"},
		{"a promoted copy is on the old node", copies, "o.gone, o.node = false, uint16(i)\n			break", "o.gone = false\n			break"},
		{"a lost node keeps its copies", apply, "			st.loseCopies(i, func(n uint32) bool { return gone(k, n) })", ""},
		{"what was undone meanwhile is saved", save, "					if st.ops[n].state == done {", "					if st.ops[n].state != failed {"},
		{"a suspended job goes on after a restart", snapshot, "			s.held = slices.Insert(s.held, at, heldJob{h.Job, h.Stage, h.Ops})", "			_ = at"},
		{"a suspended job goes on when its node returns it", hold, "	if h := s.heldJob(id); h != nil {", "	if h := s.heldJob(id); h != nil && j.moving {"},
		{"a snapshot forgets checkpoints", snapshot, "		s.checkpoints[opKey{p.Stage, p.Checkpoint.Op}] = p.Checkpoint", ""},
		{"a grant does not name checkpoints", grant, "if key.stage == j.stage && key.op >= j.ops.From", "if key.stage == j.stage && key.op > j.ops.From"},
		{"a bad copy stays", reports, "len(bad) > 0 {", "len(bad) > 1000 {"},
		{"a bad pack stays", copies, "		s.stages[b.Stage].unpackFrom(b.Pack, b.Ops)\n", ""},
		{"output is dropped before what was made of it is safe", drop, "(s.outlives(r.Stage) || !s.retryReads(r.Stage) && s.readSafely(r.Stage, known))", "true"},
		{"output is dropped that a second stage has to read", drop, "	for _, r := range readers {", "	for _, r := range readers[:min(1, len(readers))] {"},
		{"output is dropped behind a part that another stage reads too", drop, " || len(s.plan.Readers(from)) > 1 {", " {"},
		{"what is performed again has its input dropped", drop, "k, ops = from, s.doneAmong(from, read)", "k, ops = from, read"},
		{"output that is gathered in part is dropped", drop, "s.stages[k].ops[u.Op].state == done && !s.redone", "s.stages[k].ops[u.Op].state != done && !s.redone"},
		{"a drained node has the only copy", drain, "&& !s.spared(k, i) {", "&& s.spared(k, i) {"},
		{"copies on nodes that are drained count", copies, "s.nodes[i].status == nodeReady && !s.isDraining(i)", "s.nodes[i].status == nodeReady"},
		{"one copy is enough", chores, "	if here < s.chores.want {", "	if here+1 < s.chores.want {"},
		{"a snapshot forgets copies", snapshot, "		for _, at := range c.Copies {", "		for _, at := range c.Copies[:0] {"},
		{"a snapshot forgets packs", snapshot, "			st.packs = append(st.packs, pack{p.Pack, p.Ops, p.Renamed})", ""},
		{"what was interrupted is not performed again", reports, "	delete(s.messages, key)\n	s.release(j.stage, in.Op)", "	delete(s.messages, key)"},
		{"the nodes of a suspended execution are not told", errand, "Status: &StatusRecord{Status: stint.Suspended}})\n		s.forgetAll(d, now)", "Status: &StatusRecord{Status: stint.Suspended}})"},
		{"a storage that refuses the record fails the execution", errand, "		return err.Code != stint.Conflict", "		return false"},
		{"numbers that a node has forgotten are waited for", suspend, "		s.nodes[i].gap = true\n", ""},
		{"numbers that a node has forgotten elsewhere are waited for", apply, "a.Node.Incarnation, 0, s.generation > 0", "a.Node.Incarnation, 0, s.status == stint.Suspended"},
		{"what was brought here ends under the claim of who had it before", errand, "Error: err, Generation: s.claimed}", "Error: err}"},
		{"what a copied folder has from before a retry is taken for new", "internal/coord/outdated.go", "return h.Latest > 0 && h.Latest <= s.closed", "return h.Latest > s.lastJob"},
		{"a late report from before a suspend counts", reports, "		return id > s.closed", "		return true"},
		{"what an old copy of a folder announces from before a retry counts", reports, "o.job == 0 && id > s.closed)", "o.job == 0)"},
		{"packs are no sources", sources, "		ops := common(st.packs[p].ops, within)\n		if len(ops) == 0 {", "		ops := common(st.packs[p].ops, within)\n		if len(ops) < 1000 {"},
		{"what is taken from a node stays its own", apply, "			s.voidJob(now, id)\n		}\n	}\n}", "		}\n	}\n}"},
		{"a moved operation is offered to its old node for ever", "internal/sched/sched.go", " && (l.Avoid == 0 || l.Avoid < d.Ready) {", " {"},
		{"what few nodes cannot perform is offered to the same ones for ever", "internal/sched/sched.go", "	if slices.ContainsFunc(d.Loads, func(l coord.Load) bool { return l.Avoid > 0 }) {", "	if false {"},
		{"a node that attaches is not told to stop", step, "	s.tellStop(d, now, i)\n", ""},
		{"an interruption is not reported", ledger, "	a.draftInterrupted(i)\n", ""},
		{"copies are not announced", ledger, "Copies: cloneStages(a.copies), ", ""},
	}
}

// TestPlantedBugsAreCaught runs the seeds against copies of the product with one
// bug each, and says which law noticed.
func TestPlantedBugsAreCaught(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	bugs := sample(allPlanted(), *plant)
	caught, began := 0, time.Now()
	schedules := slices.Collect(maps.Values(keptSchedules(t)))
	for _, b := range bugs {
		law, seed := b.find(t, root, schedules)
		if law != "" {
			caught++
		}
		t.Logf("%-62s %-10s %s", b.name, law, seed)
	}
	share := float64(caught) / float64(len(bugs))
	t.Logf("%d of %d caught, %.0f %%, in %.0f s", caught, len(bugs), 100*share, time.Since(began).Seconds())
	if share < leastCaught {
		t.Errorf("%.0f %% of the planted bugs were caught; at least %.0f %%", 100*share, 100*leastCaught)
	}
}

// TestPlantedBugsFitTheSources finds the text that each bug replaces, also of those
// that a plain run does not plant.
func TestPlantedBugsFitTheSources(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range allPlanted() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.overlay(t, root)
		})
	}
}

// sample returns n bugs that are spread over the list of those that do not
// escape, or all if n is 0.
func sample(bugs []planted, n int) []planted {
	if n == 0 || n >= len(bugs) {
		return bugs
	}
	bugs = slices.DeleteFunc(bugs, func(b planted) bool { return slices.Contains(escaped(), b.name) })
	out := make([]planted, n)
	for i := range out {
		out[i] = bugs[i*len(bugs)/n]
	}
	return out
}

// allPlanted lists all the bugs there are to plant.
func allPlanted() []planted {
	return slices.Concat(plantedBugs(), plantedKeeping(), plantedProcesses())
}

// plantedProcesses lists bugs in what guards against disks, clocks and processes that
// are not what they were.
func plantedProcesses() []planted {
	const reports, apply, snapshot, ledger, again = "internal/coord/report.go", "internal/coord/apply.go", "internal/coord/snapshot.go", "internal/agent/ledger.go", "internal/agent/report.go"
	const process, drive, disk, store, errand, resume, worker = "internal/sim/process.go", "internal/sim/drive.go", "internal/sim/disk.go", "internal/sim/store.go", "internal/sim/errand.go", "internal/sim/resume.go", "internal/sim/worker.go"
	return []planted{
		{"what was announced and cannot be reported is waited for", reports, "			if o.state == granted && o.job == 0 && o.node == i {\n				s.setState(l.Stage", "			if false {\n				s.setState(l.Stage"},
		{"what the log does not tell of is not reported as lost", again, "	if lost := missing(missed, list); len(lost) > 0 {\n		l.Lost(x, lost)\n	}\n", ""},
		{"the time of a server goes back with the clock", process, "		at = max(at, c.was+now-c.read)\n", "		at += 0\n"},
		{"the time of a state does not go on from its record", drive, "	d.ahead = max(d.state.Latest()-d.server.millis(), 0)\n", ""},
		{"a state does not know when its records were made", apply, "	s.latest = max(s.latest, r.At)\n", ""},
		{"a snapshot forgets when the latest record was made", snapshot, "	s.latest = max(s.latest, c.Latest)\n", ""},
		{"starts are counted", disk, "	m.folder.incarnation = max(m.folder.incarnation+1+stint.Incarnation(w.rng.Uint64N(incarnationGap)), stint.Incarnation((w.millis()+m.skew)*millisecond+w.now%millisecond))\n", "	m.folder.incarnation += stint.Incarnation(min(w.rng.Uint64N(incarnationGap), 0) + 1)\n"},
		{"a server whose time is over commits", store, " || !b.revive && r.epoch != b.epoch {\n", " {\n"},
		{"a server whose time is over answers", drive, "		if ok && d.server.service.store.epoch == d.server.epoch {", "		if ok {"},
		{"a server whose time is over writes the record in storage", resume, "			if v.store.epoch != s.epoch {\n", "			if v.store.epoch < s.epoch {\n"},
		{"a storage that denies the commit fails the execution", errand, "result.Error != nil && result.Error.Code == stint.Denied {", "result.Error != nil && result.Error.Code == stint.Internal {"},
		{"what a damaged log had is waited for", worker, "		if r.done != nil || r.failed != nil {\n", "		if r.done != nil && r.failed != nil {\n"},
		{"a grant of an owner that was replaced is accepted", ledger, "	if g.Epoch < a.epoch {\n", "	if false {\n"},
	}
}

// find returns the law that notices the bug, and the first seed that breaks it, or the
// one of the schedule that is kept for the bug, which has to find it.
func (b *planted) find(t *testing.T, root string, schedules []kept) (law, seed string) {
	t.Helper()
	if slices.ContainsFunc(schedules, func(k kept) bool { return k.planted == b.name }) {
		if law, seed = b.run(t, root, "-run=^TestKeptSchedulesBreakNoLaw$", "-bug="+b.name); law == "" && *keep == "" {
			t.Errorf("%s: the schedule that is kept for it does not find it any more; -keep makes another", b.name)
		}
	}
	if l, first := b.run(t, root, "-run=^TestSeeds$", fmt.Sprintf("-seeds=%d", plantedSeeds), "-keep="+*keep, "-bug="+b.name, fmt.Sprintf("-shrink=%d", plantedTries())); l != "" {
		return l, first
	}
	return law, seed
}

// plantedTries is how often a schedule is run to shrink it: it is not, unless it is kept.
func plantedTries() int {
	if *keep == "" {
		return 0
	}
	return *tries
}

// run plants the bug and returns the law that noticed and the first seed that
// broke it; both empty if none did.
func (b *planted) run(t *testing.T, root string, flags ...string) (law, seed string) {
	t.Helper()
	args := append([]string{"test", "./internal/sim", "-vet=off", "-count=1", "-timeout=5m", "-overlay=" + b.overlay(t, root)}, flags...)
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err == nil {
		return "", ""
	}
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`law (\w+): [\s\S]*?-seed=(\d+)`).FindSubmatch(out); m != nil {
		return string(m[1]), string(m[2])
	}
	if bytes.Contains(out, []byte("panic: test timed out")) {
		t.Fatalf("%s: no law was broken within the test's time:\n%s", b.name, out)
	}
	if bytes.Contains(out, []byte("panic:")) {
		return "panic", ""
	}
	if m := regexp.MustCompile(`(.*): never happened`).FindSubmatch(out); m != nil {
		return "counter", string(bytes.TrimSpace(m[1]))
	}
	t.Fatalf("%s: neither passed nor broke a law:\n%s", b.name, out)
	return "", ""
}

// overlay writes the changed file, and the list that tells the compiler of it.
func (b *planted) overlay(t *testing.T, root string) string {
	t.Helper()
	path := filepath.Join(root, filepath.FromSlash(b.file))
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), b.old); n != 1 {
		t.Fatalf("%s: the text is in %s %d times", b.name, b.file, n)
	}
	dir := t.TempDir()
	changed, list := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	bug := strings.Replace(string(source), b.old, b.new, 1)
	if err := errors.Join(os.WriteFile(changed, []byte(bug), 0o600), os.WriteFile(list, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	return list
}
