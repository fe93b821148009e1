package e2e

import (
	"testing"

	"stint"
)

func TestDuplicatePerformsTheSameWithOtherInput(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	program := h.write("say.sh", "sed \"s/^/$WORD /\"\n")
	first := h.write("first.txt", "1\n2\n")
	second := h.write("second.txt", "3\n")
	args := []string{"run", "--map", "sh say.sh", "--file", program, "--env", "WORD=old", "--input", first, "--nodes", "1"}
	x := h.execution(append(args, "--output", "one")...)
	if r := h.stint("duplicate", string(x.ID)); r.code != 5 {
		t.Errorf("without a service: exit code %d", r.code)
	}
	h.up(1)
	if err := h.stint("duplicate", string(x.ID)); err.code != 2 {
		t.Errorf("without an output of its own: exit code %d", err.code)
	} else {
		contains(t, err.err, "--output", h.path("one"))
	}
	y := h.execution("duplicate", string(x.ID), "--input", second, "--env", "WORD=new", "--output", "two")
	if y.Status != stint.Completed || y.ID == x.ID || h.parts(h.path("two"))[0] != "new 3\n" || h.parts(h.path("one"))[0] != "old 1\nold 2\n" {
		t.Errorf("status %s, output %q", y.Status, h.parts(h.path("two")))
	}
	z := h.execution(args...)
	if again := h.execution("duplicate", string(z.ID)); h.ok("output", string(again.ID)) != "old 1\nold 2\n" {
		t.Error("the output in system storage is another")
	}
}
