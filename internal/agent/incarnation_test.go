package agent

import (
	"errors"
	"fmt"
	"testing"

	"stint"
)

func TestNoTwoStartsHaveOneNumber(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what        string
		before      stint.Incarnation
		now         int64
		chance      uint64
		least, most stint.Incarnation
	}{
		{"by the clock", 5, 1_700_000_000_000, 7, 1_700_000_000_000, 1_700_000_000_000},
		{"the clock has not moved", 1_700_000_000_000, 1_700_000_000_000, 0, 1_700_000_000_001, 1_700_000_000_001},
		{"the clock is behind", 1_700_000_000_000, 9, 3, 1_700_000_000_004, 1_700_000_000_004},
		{"the clock is before 1970", 0, -9, 0, 1, 1},
	} {
		if got := nextIncarnation(c.before, c.now, c.chance); got < c.least || got > c.most {
			t.Errorf("%s: %d, want %d to %d", c.what, got, c.least, c.most)
		}
	}
}

// A start that is refused, since the clock of one before it was ahead, is the last that is.
func TestTheNextStartOutrunsTheOneThatIsKnown(t *testing.T) {
	t.Parallel()
	const node = stint.NodeID("n-abcdefghjkmn")
	dir := t.TempDir()
	f, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.begin(node, "a"), f.close()); err != nil {
		t.Fatal(err)
	}
	own := f.node.Incarnation
	refusal := stint.Errorf(stint.Conflict, "%s", fmt.Sprint(stint.StaleIncarnation(node, own+1<<40, own))) // as text, as it crosses the wire
	known, stale := stint.NewerIncarnation(refusal)
	if !stale || known != own+1<<40 {
		t.Fatalf("%v names %d, %v", refusal, known, stale)
	}
	if err := f.outrun(known); err != nil || f.node.Incarnation != own {
		t.Fatalf("%v; this start is number %d, was %d", err, f.node.Incarnation, own)
	}
	again, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.begin(node, "a"), again.close()); err != nil || again.node.Incarnation <= known {
		t.Errorf("%v; the next start is number %d, known is %d", err, again.node.Incarnation, known)
	}
	if _, stale := stint.NewerIncarnation(stint.Errorf(stint.Conflict, "node has attached again")); stale {
		t.Error("another conflict names an incarnation")
	}
}
