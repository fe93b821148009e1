package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stint"
)

// touchAll gives all files of the input another time.
func (h *home) touchAll() {
	h.t.Helper()
	names, err := filepath.Glob(h.path("in/*"))
	if err != nil || len(names) == 0 {
		h.t.Fatalf("no input: %v", err)
	}
	at := time.Now().Add(time.Hour)
	for _, name := range names {
		if err := os.Chtimes(name, at, at); err != nil {
			h.t.Fatal(err)
		}
	}
}

func TestTouchedInputIsNoChangeForAResume(t *testing.T) {
	t.Parallel()
	g := newGated(t)
	g.up(2)
	id := g.mapped()
	g.ok("suspend", id, "--grace", "0s")
	g.touchAll()
	contains(t, g.ok("resume", id, "--dry-run"), "touched", "in/007", fmt.Sprintf("%d of %d operations are reused", gatedOperations, gatedOperations+2))
	g.open()
	if x := g.execution("resume", id); x.Status != stint.Completed || x.Operations.Reused != gatedOperations {
		t.Errorf("status %s, %d reused", x.Status, x.Operations.Reused)
	}
	g.check()
}

func TestTouchedInputIsReadAsItIsNow(t *testing.T) {
	t.Parallel()
	l := newLong(t, 300)
	l.holdBack("map/299")
	up := l.upWith(2)
	id := strings.TrimSpace(l.ok(append(l.args, "--detach")...))
	l.until(100)
	l.ok("suspend", id)
	at := time.Now().Add(time.Hour)
	if err := os.Chtimes(l.path("in.txt"), at, at); err != nil {
		t.Fatal(err)
	}
	// Nobody has read all of it, so nobody knows whether it is what it was.
	r := l.stint("resume", id)
	if r.code != 2 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, "in.txt", "changed", "--redo")
	l.open()
	if x := l.execution("resume", id, "--redo"); x.Status != stint.Completed {
		t.Errorf("status %s", x.Status)
	}
	if diff := cmp.Diff(l.want, strings.Join(l.parts(l.path("out")), "")); diff != "" {
		t.Error(diff)
	}
	l.killAll(up)
}

func TestReuseAfterATouchPerformsOnlyWhatChanged(t *testing.T) {
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
	h.touchAll()
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

// Files that are written again and are read many by one operation, and one large
// file that is read by many.
func TestTouchedFilesAreComparedHoweverTheyWereCut(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	for i := range 200 {
		h.write(fmt.Sprintf("in/%03d", i), fmt.Sprintf("file\t%d\n", i))
	}
	large := strings.Repeat("a line of the large one\n", 100_000)
	h.write("in/large", large)
	mapper, performed := h.counter("0")
	args := []string{"run", "--map", "sh count.sh", "--reduce", "uniq -c", "--partitions", "2", "--file", mapper, "--input", h.path("in")}
	h.up(2)
	first := h.execution(append(args, "--output", "first")...)
	h.touchAll()
	before := total(performed())
	second := h.execution(append(args, "--output", "second", "--reuse", string(first.ID))...)
	if n := total(performed()) - before; n != 0 || second.Stages[0].Operations.Reused < 3 {
		t.Errorf("%d map operations performed and %d reused, want none and all", n, second.Stages[0].Operations.Reused)
	}
	h.write("in/large", large[:len(large)/2]+"A"+large[len(large)/2+1:])
	third := h.execution(append(args, "--output", "third", "--reuse", string(first.ID))...)
	if c := third.Stages[0].Operations; c.Reused == 0 || c.Reused == c.Total {
		t.Errorf("%d of %d map operations are reused, though one object has changed", c.Reused, c.Total)
	}
}
