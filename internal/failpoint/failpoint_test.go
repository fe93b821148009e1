package failpoint_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// build builds the player, which passes points and tells what came of it, with these tags.
func build(t *testing.T, tags string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "player")
	if out, err := exec.Command("go", "build", "-tags", tags, "-o", path, "./testdata/player").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// play runs the player and returns how it ended and what it said.
func play(t *testing.T, path, order string) (status syscall.WaitStatus, said string) {
	t.Helper()
	c := exec.Command(path)
	c.Env = append(os.Environ(), "FAILPOINT="+order)
	out, err := c.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.Sys().(syscall.WaitStatus), string(out)
}

const clean = "<nil>\n<nil>\n<nil>\n"

func TestAPointStrikesOnceOverAllProcesses(t *testing.T) {
	t.Parallel()
	path, dir := build(t, "failpoint"), t.TempDir()
	order := "play.before-step:5:kill:" + dir
	if status, said := play(t, path, order); status.ExitStatus() != 0 || said != clean {
		t.Errorf("the first process: %v, %q", status, said)
	}
	if status, said := play(t, path, order); status.Signal() != syscall.SIGKILL || said != "<nil>\n" {
		t.Errorf("the second process: %v, %q", status, said)
	}
	if status, said := play(t, path, order); status.ExitStatus() != 0 || said != clean {
		t.Errorf("the third process: %v, %q", status, said)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "struck")); !strings.HasPrefix(string(b), "play.before-step ") {
		t.Errorf("struck: %q, %v", b, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "play.before-step")); err != nil || info.Size() != 8 {
		t.Errorf("passings: %v, %v", info, err)
	}
}

func TestAnErrorIsThatOfADisk(t *testing.T) {
	t.Parallel()
	path, dir := build(t, "failpoint"), t.TempDir()
	want := "<nil>\nfailpoint play.before-sync: input/output error\n<nil>\n"
	if status, said := play(t, path, "play.before-sync:2:fail:"+dir); status.ExitStatus() != 0 || said != want {
		t.Errorf("%v, %q", status, said)
	}
	for _, order := range []string{"play.before-step:1:fail:" + dir, "play.before-step:1:burn:" + dir, "play.before-step", "play.before-step:x:kill:" + dir} {
		if status, _ := play(t, path, order); status.ExitStatus() != 2 {
			t.Errorf("%s: %v, want a refusal", order, status)
		}
	}
}

func TestAnyOtherBuildKnowsNoPoints(t *testing.T) {
	t.Parallel()
	path, dir := build(t, ""), t.TempDir()
	if status, said := play(t, path, "*:1:kill:"+dir); status.ExitStatus() != 0 || said != clean {
		t.Errorf("%v, %q", status, said)
	}
	b, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(b), "play.before-") {
		t.Errorf("a name is in the executable: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("passings were counted: %v, %v", entries, err)
	}
}
