package command_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stint"
)

// stopped performs a program that is asked to end when it has written six bytes,
// and that is ended when a grace period is over, which begins when it has written
// as many bytes as last has. It returns what its checkpoint folder holds then.
func (p *performance) stopped(t *testing.T, last string, grace time.Duration) (saved string, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stop, ask := context.WithCancel(t.Context())
	defer ask()
	if p.attempt.Checkpoint == "" {
		p.attempt.Checkpoint = t.TempDir()
	}
	p.attempt.OnStop = func(call func()) func() bool { return context.AfterFunc(stop, call) }
	p.out = io.MultiWriter(
		&cancelAfter{n: 6, cancel: ask},
		&cancelAfter{n: len(last), cancel: func() { time.AfterFunc(grace, cancel) }},
	)
	err = p.perform(ctx, t)
	b, rerr := os.ReadFile(filepath.Join(p.attempt.Checkpoint, "state"))
	if rerr != nil && !os.IsNotExist(rerr) {
		t.Fatal(rerr)
	}
	return string(b), err
}

const (
	save = `echo state > $STINT_CHECKPOINT_DIR/state`
	wait = `while :; do sleep 0.02; done`
)

func TestOnlyAProgramThatCatchesSIGTERMGetsIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script, input string
		saved               string
		completed           bool
	}{
		{"does not catch it and completes", `echo ready; sleep 0.2; echo done`, "", "", true},
		{"ignores it and completes", `trap '' TERM; echo ready; sleep 0.2`, "", "", true},
		{"catches it, saves itself and exits with 0", `trap '` + save + `; exit 0' TERM; echo ready; ` + wait, "", "state\n", false},
		{"catches it, saves itself and fails", `trap '` + save + `; exit 1' TERM; echo ready; ` + wait, "", "state\n", false},
		{"catches it and completes", `trap 'end=1' TERM; cat; echo ready; until [ "$end" ]; do sleep 0.02; done; touch $STINT_CHECKPOINT_DIR/completed`, "input\n", "", true},
		{"catches it and says it completed, but failed", `trap 'touch $STINT_CHECKPOINT_DIR/completed; exit 1' TERM; echo ready; ` + wait, "input\n", "", false},
		{"catches it and exits with 0", `trap 'exit 0' TERM; cat; echo ready; ` + wait, "input\n", "", false},
		{"catches it late", `echo ready; sleep 0.1; trap '` + save + `; exit 0' TERM; ` + wait, "", "state\n", false},
		{"is behind a shell that does not", `(trap 'sleep 0.3; ` + save + `; exit 0' TERM; echo ready; ` + wait + `); true`, "", "state\n", false},
	} {
		p := sh(c.script)
		p.in = strings.NewReader(c.input)
		saved, err := p.stopped(t, "ready\n", time.Minute)
		if (err == nil) != c.completed || err != nil && stint.CodeOf(err) != stint.Canceled || saved != c.saved {
			t.Errorf("%s: %v, saved %q; stderr %s", c.name, err, saved, p.stderr.String())
		}
		mustBeGone(t, c.name)
	}
}

func TestAProgramThatGoesOnIsKilledAfterItsGracePeriod(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, script, last string }{
		{"does not catch SIGTERM", save + `; echo ready; exec sleep 60`, "ready\n"},
		{"catches it", `trap '` + save + `; echo saved' TERM; echo ready; ` + wait, "ready\nsaved\n"},
	} {
		p := sh(c.script)
		saved, err := p.stopped(t, c.last, 200*time.Millisecond)
		if stint.CodeOf(err) != stint.Canceled || saved != "state\n" {
			t.Errorf("%s: %v, saved %q; stderr %s", c.name, err, saved, p.stderr.String())
		}
		mustBeGone(t, c.name)
	}
}

func TestAnEarlierAttemptsWordThatItCompletedDoesNotCount(t *testing.T) {
	t.Parallel()
	p := sh(`trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done`)
	p.attempt.Checkpoint = t.TempDir()
	if err := os.WriteFile(filepath.Join(p.attempt.Checkpoint, "completed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.stopped(t, "ready\n", time.Minute); stint.CodeOf(err) != stint.Canceled {
		t.Error(err)
	}
}

func TestTheCheckpointFolderIsNamedToTheProgram(t *testing.T) {
	t.Parallel()
	p := sh(`echo "$STINT_CHECKPOINT_DIR"`)
	p.attempt.Checkpoint = "/some/folder"
	p.mustPerform(t)
	if got := p.stdout.String(); got != "/some/folder\n" {
		t.Error(got)
	}
}

func TestAProgramThatFailsByItselfWhenItIsToEndHasFailed(t *testing.T) {
	t.Parallel()
	p := sh(`echo ready; exit 3`)
	if _, err := p.stopped(t, "ready\n", time.Minute); stint.CodeOf(err) != stint.Failed {
		t.Error(err)
	}
}

func TestAFolderOfTheNameOfTheMarkIsTheProgramsOwn(t *testing.T) {
	t.Parallel()
	p := sh(`echo kept; ls $STINT_CHECKPOINT_DIR/completed`)
	p.attempt.Checkpoint = t.TempDir()
	if err := os.MkdirAll(filepath.Join(p.attempt.Checkpoint, "completed", "file"), 0o700); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	p.out = &out
	if err := p.perform(t.Context(), t); err != nil || out.String() != "kept\nfile\n" {
		t.Errorf("%q %v", out.String(), err)
	}
}
