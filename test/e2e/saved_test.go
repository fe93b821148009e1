package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stint"
)

// suspended is an execution that was suspended between map and reduce, and the
// storage where its saved state lies; nothing else of it is left.
func suspended(t *testing.T) (g *gated, id, storage string) {
	t.Helper()
	g = newGated(t)
	storage = g.path("storage")
	up := g.upWith(2, "--storage", storage)
	id = g.mapped()
	g.ok("suspend", id, "--grace", "0s")
	g.killAll(up)
	if err := os.RemoveAll(g.data); err != nil {
		t.Fatal(err)
	}
	g.open()
	return g, id, storage
}

// saved returns the files of an execution's saved state whose names begin so.
func saved(t *testing.T, storage, id, kind string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(storage, "saved", id, kind+"*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s in saved state: %v", kind, err)
	}
	return names
}

func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func TestSavedStateThatIsNotWholeIsRefused(t *testing.T) {
	t.Parallel()
	g, id, storage := suspended(t)
	fresh := g.elsewhere("fresh")
	fresh.up(1)
	pristine := g.path("pristine")
	g.shell(`cp -a "$1" "$2"`, storage, pristine)
	for _, c := range []struct {
		name   string
		damage func()
		wants  []string
	}{
		{"record truncated", func() {
			rewrite(t, saved(t, storage, id, "record-")[0], func(b []byte) []byte { return b[:len(b)/2] })
		}, []string{"record-"}},
		{"record altered", func() {
			rewrite(t, saved(t, storage, id, "record-")[0], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, []string{"record-"}},
		{"record gone", func() { remove(t, saved(t, storage, id, "record-")[0]) }, []string{id}},
		{"pack gone", func() { remove(t, saved(t, storage, id, "pack-")[0]) }, []string{"pack-"}},
		{"pack truncated", func() {
			rewrite(t, saved(t, storage, id, "pack-")[0], func(b []byte) []byte { return b[:len(b)-1] })
		}, []string{"pack-"}},
		{"no such execution", func() { remove(t, filepath.Join(storage, "saved", id)) }, []string{id}},
	} {
		c.damage()
		r := fresh.stint("resume", id, "--from", storage)
		if r.code != 2 {
			t.Errorf("%s: exit code %d", c.name, r.code)
		}
		contains(t, r.err, c.wants...)
		if out := fresh.ok("list", "--json"); strings.Contains(out, id) {
			t.Errorf("%s: the refused resume left something behind: %s", c.name, out)
		}
		g.shell(`rm -r "$1"; cp -a "$2" "$1"`, storage, pristine)
	}
	if x := fresh.execution("resume", id, "--from", storage); x.Status != stint.Completed {
		t.Errorf("status %s", x.Status)
	}
	g.check()
}

func TestOfTwoResumesOneWins(t *testing.T) {
	t.Parallel()
	g, id, storage := suspended(t)
	one, two := g.elsewhere("one"), g.elsewhere("two")
	one.up(1)
	two.up(1)
	a, b := one.begin("resume", id, "--from", storage), two.begin("resume", id, "--from", storage)
	first, second := g.finish(a), g.finish(b)
	if first.code > second.code {
		first, second = second, first
	}
	if first.code != 0 || second.code != 2 {
		t.Errorf("exit codes %d and %d\n%s\n%s", first.code, second.code, first.err, second.err)
	}
	g.check()
}

func TestWhatCannotBeSuspendedOrResumedIsSaid(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	x := h.execution("run", "identity", "--input", h.write("in.txt", "x\n"), "--output", "out")
	for _, c := range []struct {
		args  []string
		wants []string
	}{
		{[]string{"suspend", string(x.ID)}, []string{string(x.ID), "completed"}},
		{[]string{"resume", string(x.ID)}, []string{string(x.ID), "completed"}},
		{[]string{"retry", string(x.ID)}, []string{string(x.ID), "completed"}},
		{[]string{"move", string(x.ID), "--job", "j-1"}, []string{string(x.ID), "completed"}},
		{[]string{"suspend", "x-aaaaaaaaaaaaaaaa"}, []string{"x-aaaaaaaaaaaaaaaa"}},
		{[]string{"resume", "x-aaaaaaaaaaaaaaaa", "--from", h.path("nowhere")}, []string{"nowhere"}},
		{[]string{"suspend", string(x.ID), "--grace", "soon"}, []string{"soon"}},
		{[]string{"resume", string(x.ID), "--at", "never"}, []string{"never"}},
		{[]string{"node", "drain", "n-aaaaaaaaaaaa"}, []string{"n-aaaaaaaaaaaa"}},
	} {
		r := h.stint(c.args...)
		if r.code != 2 {
			t.Errorf("%v: exit code %d\n%s", c.args, r.code, r.err)
		}
		contains(t, r.err, c.wants...)
	}
	if _, err := os.Stat(h.path("nowhere")); !os.IsNotExist(err) {
		t.Errorf("a refused resume made a folder: %v", err)
	}
}

func TestWhatWasCompletedElsewhereIsCompletedHere(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	storage := g.path("storage")
	g.upWith(2, "--storage", storage)
	id := g.mapped()
	g.ok("suspend", id, "--grace", "0s")
	g.open()
	other := g.elsewhere("other")
	other.upWith(1)
	other.ok("resume", id, "--from", storage)
	r := g.stint("resume", id, "--redo")
	if r.code != 2 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, id+" was completed by service ", "its output is at ", g.path("out"))
	if x := g.execution("show", id); x.Status != stint.Completed || x.Output.Parts != 2 {
		t.Errorf("status %s, output %+v", x.Status, x.Output)
	}
	g.check()
}

func TestTerminateOfASuspendedExecutionClearsItsSavedState(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	storage := g.path("storage")
	g.upWith(2, "--storage", storage)
	id := g.mapped()
	g.ok("suspend", id, "--grace", "0s")
	saved(t, storage, id, "pack-")
	g.ok("terminate", id)
	g.wait("the end", func() bool { return g.status(id) == stint.Terminated })
	if left, _ := filepath.Glob(filepath.Join(storage, "saved", "*", "*")); len(left) > 0 {
		t.Errorf("left in storage: %v", left)
	}
	if _, err := os.Stat(g.path("out")); !os.IsNotExist(err) {
		t.Errorf("the output's folder is left: %v", err)
	}
}

func TestStorageThatFailsDelaysASuspend(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	storage := g.path("storage")
	g.upWith(2, "--storage", storage)
	id := g.mapped()
	if err := os.Rename(storage, storage+".away"); err != nil {
		t.Fatal(err)
	}
	g.write("storage", "not a folder")
	suspend := g.begin("suspend", id, "--grace", "0s")
	g.wait("the reason", func() bool {
		x := g.execution("show", id)
		return x.Status == stint.Suspending && strings.Contains(x.Waiting, "storage")
	})
	if err := os.Remove(storage); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(storage+".away", storage); err != nil {
		t.Fatal(err)
	}
	if r := g.finish(suspend); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	g.open()
	g.ok("resume", id)
	g.check()
}

func TestNodeThatDiesDuringASuspendDoesNotKeepItFromEnding(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	storage := g.path("storage")
	g.upWith(2, "--storage", storage)
	id := g.mapped()
	g.wait("both reduce operations in progress", func() bool { return g.execution("show", id).Operations.InProgress == 2 })
	suspend := g.begin("suspend", id, "--grace", "1m") // it goes on as long as they do
	g.wait("the suspend", func() bool { return g.status(id) == stint.Suspending })
	g.loseAgent(g.data + "/agents/1")
	g.open()
	if r := g.finish(suspend); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	if x := g.execution("resume", id); x.Status != stint.Completed {
		t.Errorf("status %s", x.Status)
	}
	if got := sorted(g.parts(g.path("out"))...); got != g.want {
		t.Errorf("output is %q, want %q", got, g.want)
	}
}

func TestResumeAtATimeHappensByItself(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	g.up(2)
	id := g.mapped()
	g.ok("suspend", id, "--grace", "0s")
	g.open()
	g.ok("resume", id, "--at", time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano), "--detach")
	if x := g.execution("show", id); x.Status != stint.Completed && x.ResumeAt == nil && x.Status == stint.Suspended {
		t.Errorf("status %s and no time of its resume", x.Status)
	}
	if r := g.stint("show", id, "--watch"); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.err)
	}
	g.check()
}
