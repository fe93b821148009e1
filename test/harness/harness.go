// Package harness is what tests of real processes have in common, whatever they do to
// them: files in a folder, commands that are run to their ends, waiting for what comes
// to be by itself.
package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"stint"
)

// Write writes a file, and the folders above it, and returns its path.
func Write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Read returns what a file has.
func Read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ShowLogs shows the ends of the files that a pattern names, by their names below a
// folder.
func ShowLogs(t *testing.T, folder, pattern string) {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(folder, pattern))
	for _, path := range logs {
		b, _ := os.ReadFile(path)
		t.Logf("%s:\n%s", strings.TrimPrefix(path, folder+"/"), b[max(0, len(b)-4000):])
	}
}

// Environ is our environment without variables that are for tests: the executable
// refuses those with its prefix that it does not know.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "STINT_") })
}

// Start starts a command and returns what it prints.
func Start(t *testing.T, c *exec.Cmd) (out, err *bytes.Buffer) {
	t.Helper()
	out, err = new(bytes.Buffer), new(bytes.Buffer)
	c.Stdout, c.Stderr = out, err
	c.WaitDelay = time.Second // others may have inherited its pipes
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return out, err
}

// Finish waits for the end of a command that was started, and returns its exit code.
// One that does not end in time says where it is.
func Finish(t *testing.T, c *exec.Cmd, patience time.Duration) (code int) {
	t.Helper()
	timeout := time.AfterFunc(patience, func() { _ = c.Process.Signal(syscall.SIGQUIT) })
	defer timeout.Stop()
	err := c.Wait()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode()
}

// Wait returns when done reports true.
func Wait(t *testing.T, patience time.Duration, what string, done func() bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s", patience, what)
		case <-tick.C:
		}
	}
}

// ReadyNodes returns how many nodes of a list, as the command line prints it, are
// ready; none of what is no list.
func ReadyNodes(list string) (n int) {
	var nodes []stint.Node
	if json.Unmarshal([]byte(list), &nodes) != nil {
		return 0
	}
	for _, node := range nodes {
		if node.Status == stint.NodeReady {
			n++
		}
	}
	return n
}

// Commandline returns the arguments of the process that has a folder of /proc; nothing
// of one that has ended.
func Commandline(folder string) string {
	b, err := os.ReadFile(filepath.Join(folder, "cmdline"))
	if err != nil {
		return ""
	}
	return strings.Trim(string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})), " ")
}

// Report is what "stint fsck --json" prints.
type Report struct {
	Running  bool `json:"running"`
	Looked   struct{ Executions, Operations, Nodes, Blocks, Packs, Parts, Bytes int64 }
	Findings []struct {
		Code, Severity, Execution, Place, Text string
	} `json:"findings"`
	Unlooked []struct {
		Place, Why string
		Failure    bool
	} `json:"not_looked_at"`
}

// Codes returns the codes of what was found, each once, without what is left over.
func (r *Report) Codes() []string {
	var codes []string
	for _, f := range r.Findings {
		if f.Severity != "leftover" && !slices.Contains(codes, f.Code) {
			codes = append(codes, f.Code)
		}
	}
	return codes
}

// Leftovers returns the codes of what is left over, one for each finding.
func (r *Report) Leftovers() []string {
	var codes []string
	for _, f := range r.Findings {
		if f.Severity == "leftover" {
			codes = append(codes, f.Code)
		}
	}
	return codes
}

// CheckSound runs "stint fsck --json", as prepared, over what a test leaves behind:
// whatever was killed, nothing is lost, and there is nothing that cannot be looked at.
func CheckSound(t *testing.T, fsck *exec.Cmd) {
	t.Helper()
	out, text := Start(t, fsck)
	code := Finish(t, fsck, 2*time.Minute)
	var r Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("fsck: exit code %d, %v\n%s%s", code, err, out, text)
	}
	for _, f := range r.Findings {
		if f.Severity != "leftover" {
			t.Errorf("fsck: %s %s at %s: %s", f.Severity, f.Code, f.Place, f.Text)
		}
	}
	for _, u := range r.Unlooked {
		if u.Failure {
			t.Errorf("fsck did not look at %s: %s", u.Place, u.Why)
		}
	}
}
