package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func TestATimingIsTheMedianBesideItsBar(t *testing.T) {
	t.Parallel()
	got := timed("suspend", "until suspended", []float64{3, 1, 2}, suspendBar(0.5))
	want := timing{Name: "suspend", What: "until suspended", Seconds: 2, Runs: []float64{3, 1, 2}, Bar: 1.6}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, want := got.text(), "2.00 s (1.00 to 3.00) until suspended; meant: at most 1.6 s"; got != want {
		t.Error(got)
	}
	if got := timed("", "", []float64{1}, 0).text(); strings.Contains(got, "meant") {
		t.Error(got)
	}
}

func TestWhatDoesNotApplyIsLeftOut(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(measurement{Name: "recovery", Times: []timing{{Name: "server_killed", What: "w", Seconds: 1, Runs: []float64{1}}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), `{"name":"recovery","times":[{"name":"server_killed","what":"w","seconds":1,"runs":[1]}]}`; got != want {
		t.Error(got)
	}
	m := measurement{Name: "resume", Unit: perClockSecond, Rate: 1 << 20, CPU: 2, Saved: 3 << 20, Quantity: inUnit(perClockSecond, 1<<20)}
	if got, want := m.text(), "resume      1.0 MiB/s, 2.00 CPU seconds for 3.0 MiB saved"; !strings.HasPrefix(strings.Join(strings.Fields(got), " "), strings.Join(strings.Fields(want), " ")) || m.Bytes != 1<<20 {
		t.Error(got, m.Quantity)
	}
}

func TestTheReferenceWritesAsManyBytesAndLeavesNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "in")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if run, err := writeAndSync(t.Context(), path, dir, 900); err != nil || run.wall <= 0 {
		t.Error(run, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if _, err := writeAndSync(t.Context(), filepath.Join(dir, "nothing"), dir, 1); err == nil {
		t.Error("what is not there was written")
	}
}

func TestTheChildOfACommandIsKilled(t *testing.T) {
	t.Parallel()
	child := exec.CommandContext(t.Context(), "sleep", "601.5")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if err := killChild(os.Getpid(), "server"); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("another child was killed: %v", err)
	}
	if err := killChild(os.Getpid(), "601.5"); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Error(err)
	}
}
