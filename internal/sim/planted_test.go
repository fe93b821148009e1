package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

const plantedSeeds = 2500 // for each bug; the first that fails ends the run

func plantedBugs() []planted {
	const apply, reports, step, grant, state, snapshot = "internal/coord/apply.go", "internal/coord/report.go", "internal/coord/step.go", "internal/coord/grant.go", "internal/coord/state.go", "internal/coord/snapshot.go"
	const ledger, report = "internal/agent/ledger.go", "internal/agent/report.go"
	return []planted{
		{"a report after a gap is acknowledged", step, "if n.status != nodeReady || r.Seq > n.lastSeq+1 {", "if n.status != nodeReady {"},
		{"reports of an older incarnation are taken in", step, "if !known || r.Incarnation != s.nodes[i].incarnation {", "if !known {"},
		{"a session of an older process attaches", step, "(a.Node.Incarnation < s.nodes[i].incarnation || a.Session < s.nodes[i].session)", "false"},
		{"a node that attaches is not sent the grants it has not seen", step, "		if !seen[id] {", "		if false {"},
		{"what was taken over is not asked for", step, "if missing := s.takenOver(i); len(missing) > 0 {", "if missing := s.takenOver(i); len(missing) > 1000 {"},
		{"a node is gone although it has attached since", step, "s.status == stint.Terminating || g.Session < s.nodes[i].session {", "s.status == stint.Terminating {"},
		{"the commit is not repeated by a new owner", step, "	if d.Errand == nil {\n		d.Errand = s.errand()\n	}", ""},
		{"a queued execution is not begun by a new owner", step, "	s.begin(d, now)\n	s.advance(d, now)", "	s.advance(d, now)"},
		{"a terminated execution goes on", step, "	if s.status != stint.InProgress {\n		return\n	}\n	if s.fatal", "	if s.fatal"},
		{"the operations of a node that is away are not freed", apply, "	s.void(i)\n	s.nodes[i].status = nodeAway", "	s.nodes[i].status = nodeAway"},
		{"lost output stays done", apply, "		s.lose(i, func(int, uint32) bool { return true })", ""},
		{"output that is not needed is forgotten when it is lost", apply, "o.state == done && o.node == i && !o.gone && gone(k, uint32(n)) {", "o.state == done && o.node == i && !o.gone && gone(k, uint32(n)) && s.needed(k, uint32(n)) {"},
		{"an undone operation leaves the barrier down", apply, "	if next.spec.Gather == nil {\n		next.ready = nil\n		return\n	}", "	if next.spec.Gather == nil {\n		return\n	}"},
		{"a gather does not wait for what was undone", apply, "	next.waitingFor[g]++\n", ""},
		{"a superseded completion counts", reports, "return o.node == i && (o.job == id || o.job == 0)", "return true"},
		{"a second completion counts", reports, "	case done, failed:\n	}\n	return false\n}\n\n// finish", "	case done, failed:\n		return true\n	}\n	return false\n}\n\n// finish"},
		{"an operation performed again is counted again", reports, "	first = !o.counted\n", "	first = true\n"},
		{"attempts of voided jobs are not counted", reports, "	if j == nil {\n		s.begunVoided(i, b)\n		return\n	}", "	if j == nil {\n		return\n	}"},
		{"interrupted attempts are not counted", apply, "			s.begunVoided(i, b)\n		}\n		s.keepVoided", "			_ = b\n		}\n		s.keepVoided"},
		{"a failed operation is not tried again", reports, "	s.exceptions[key] = e\n	s.release(f.Stage, f.Op)", "	s.exceptions[key] = e"},
		{"lost machines use up the attempts", reports, "		e.infra++\n		wait = backoff(e.infra)", "		e.failed++\n		wait = backoff(1)"},
		{"returned operations are forgotten", reports, "			o.job = 0\n			s.release(j.stage, n)\n		}\n	}\n}\n\n// returnedVoided", "			o.job = 0\n		}\n	}\n}\n\n// returnedVoided"},
		{"the shuffle does not wait for all", state, "st.spec.Gather == nil && !s.complete(i-1) {", "st.spec.Gather == nil && s.stages[i-1].counts[pending] > 0 {"},
		{"parts of any attempt are chosen", reports, "if o := &st.ops[p.Op]; o.state == done && o.node == i {", "if o := &st.ops[p.Op]; o.node != 60000 {"},
		{"sources are not computed anew", apply, "	if o.state == done || to == done {\n		st.sources = nil\n	}", ""},
		{"an operation is granted before its back-off and its inputs", grant, "if e.notBefore > now || !s.unblocked(key.stage, key.op) {", "if e.notBefore > now {"},
		{"a snapshot forgets what is gone", snapshot, "			flags |= flagGone\n", "			flags |= 0\n"},
		{"a snapshot forgets the number of the last report", snapshot, "lastSeq: c.LastSeq, ", ""},
		{"a restored state has no retries", snapshot, "			s.retries = append(s.retries, opKey{e.Stage, e.Op})", ""},
		{"jobs are numbered anew after a reload", snapshot, "s.settled, s.lastJob = snap.Version, c.Status, c.Settled, c.LastJob", "s.settled = snap.Version, c.Status, c.Settled"},
		{"a job is accepted twice", ledger, "	if stint.RangesContain(a.seen, uint32(g.Job)) {", "	if false {"},
		{"a grant of another incarnation is accepted", ledger, "	if g.Incarnation != l.incarnation {", "	if false {"},
		{"what was handed out is given back", ledger, "			j.waiting = stint.SubtractRange(j.waiting, tail)\n", ""},
		{"an answer to a retraction is forgotten", ledger, "	d.Returned = append(d.Returned, answer)", "	_ = d"},
		{"a report is dropped before it is acknowledged", report, "	a.sent = append(a.sent, r)\n", ""},
		{"a lost block is still announced", report, "			a.completed = subtractFromStage(a.completed, s.Stage, ops)\n", ""},
	}
}

// TestPlantedBugsAreCaught runs the seeds against copies of the product with one
// bug each, and says which law noticed.
func TestPlantedBugsAreCaught(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	bugs := plantedBugs()
	caught, began := 0, time.Now()
	for _, b := range bugs {
		law, seed := b.run(t, root)
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

// run plants the bug and returns the law that noticed and the first seed that
// broke it; both empty if none did.
func (b *planted) run(t *testing.T, root string) (law, seed string) {
	t.Helper()
	args := []string{
		"test", "./internal/sim", "-vet=off", "-count=1", "-timeout=90s", "-overlay=" + b.overlay(t, root),
		"-run=^TestSeeds$", fmt.Sprintf("-seeds=%d", plantedSeeds),
	}
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
