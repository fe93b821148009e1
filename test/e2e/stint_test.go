// Package e2e drives the real binary as people and programs do: by its command
// line, its files and signals to its processes.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"stint"
	"stint/test/harness"
)

// binary is the executable under test.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "stint-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // other users execute the binary
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "stint")
	if out, err := exec.Command("go", "build", "-o", binary, "stint/cmd/stint").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// patience is how long anything may take that ends by itself.
const patience = 90 * time.Second

// home is a data folder, and what a user of it does.
type home struct {
	t    *testing.T
	dir  string // everything of the test
	data string
	user *syscall.Credential // whose commands they are; nil: ours
	env  []string            // of its commands, beside what all have

	damaged bool // the test has altered what the service wrote: fsck would say so
	checked bool // fsck has looked at what the test leaves behind
}

func newHome(t *testing.T) *home {
	t.Helper()
	dir := t.TempDir()
	h := &home{t: t, dir: dir, data: filepath.Join(dir, "data")}
	t.Cleanup(func() {
		if t.Failed() {
			h.showLogs()
		}
		for _, p := range h.processes("") {
			t.Errorf("process %d is left over: %s", p.pid, p.args)
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		h.isSound()
	})
	return h
}

// isSound has fsck look at what the test leaves behind: whatever was killed,
// nothing is lost.
func (h *home) isSound() {
	h.t.Helper()
	if _, err := os.Stat(filepath.Join(h.data, "server", "store.db")); err != nil || h.damaged || h.checked || h.t.Failed() {
		return
	}
	h.checked = true
	harness.CheckSound(h.t, h.command("fsck", "--json", "--data", h.data))
}

// showLogs shows the ends of what the children of "stint up" printed.
func (h *home) showLogs() {
	harness.ShowLogs(h.t, h.data, filepath.Join("logs", "*.log"))
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

// write writes a file below the test's folder and returns its path.
func (h *home) write(name, text string) string {
	h.t.Helper()
	return harness.Write(h.t, h.path(name), text)
}

func (h *home) read(path string) string {
	h.t.Helper()
	return harness.Read(h.t, path)
}

func (h *home) command(args ...string) *exec.Cmd {
	c := exec.CommandContext(context.WithoutCancel(h.t.Context()), binary, args...) // a test ends what it began itself
	h.settle(c)
	return c
}

// settle gives a command the test's folder, environment and user.
func (h *home) settle(c *exec.Cmd) {
	c.Dir = h.dir
	c.Env = append(append(harness.Environ(), "STINT_DATA="+h.data, "LC_ALL=C"), h.env...)
	if h.user != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: h.user}
	}
}

// result is how a command ended and what it printed.
type result struct {
	code     int
	out, err string
}

// stint runs a command to its end.
func (h *home) stint(args ...string) result {
	h.t.Helper()
	return h.finish(h.begin(args...))
}

// running is a command that has not ended.
type running struct {
	cmd      *exec.Cmd
	out, err *bytes.Buffer
}

func (h *home) begin(args ...string) *running {
	h.t.Helper()
	return h.start(h.command(args...))
}

func (h *home) start(c *exec.Cmd) *running {
	h.t.Helper()
	out, err := harness.Start(h.t, c)
	return &running{cmd: c, out: out, err: err}
}

func (h *home) finish(r *running) result {
	h.t.Helper()
	code := harness.Finish(h.t, r.cmd, patience)
	return result{code: code, out: r.out.String(), err: r.err.String()}
}

// ok runs a command that must succeed and returns what it printed.
func (h *home) ok(args ...string) string {
	h.t.Helper()
	r := h.stint(args...)
	if r.code != 0 {
		h.t.Fatalf("stint %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out
}

// execution runs a command that prints an execution's document.
func (h *home) execution(args ...string) stint.Execution {
	h.t.Helper()
	return document(h.t, h.ok(append(args, "--json")...))
}

func document(t *testing.T, text string) stint.Execution {
	t.Helper()
	var x stint.Execution
	if err := json.Unmarshal([]byte(text), &x); err != nil {
		t.Fatalf("not a document: %v\n%s", err, text)
	}
	return x
}

// up starts a service with so many agents of one slot each and returns once
// they are ready. It is stopped when the test ends, if it was not before.
func (h *home) up(nodes int) *running {
	h.t.Helper()
	r := h.begin("up", "--data", h.data, "--listen", "127.0.0.1:0", "--nodes", strconv.Itoa(nodes), "--slots", "1")
	h.awaitNodes(r, nodes)
	return r
}

// awaitNodes returns once so many nodes of a service are ready. The service is
// stopped when the test ends, if it was not before.
func (h *home) awaitNodes(up *running, nodes int) {
	h.t.Helper()
	h.t.Cleanup(func() {
		_ = up.cmd.Process.Signal(syscall.SIGTERM) // it may have been killed
		_ = up.cmd.Wait()
	})
	h.wait("ready nodes", func() bool { return h.readyNodes() == nodes })
}

func (h *home) readyNodes() int {
	return harness.ReadyNodes(h.stint("node", "list", "--json").out)
}

// wait returns when done reports true.
func (h *home) wait(what string, done func() bool) {
	h.t.Helper()
	harness.Wait(h.t, patience, what, done)
}

// process is a running process.
type process struct {
	pid  int
	args string
}

// processes returns the processes that name this test's folder in their
// arguments, all of them or those with the given text in them too.
func (h *home) processes(text string) []process {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var found []process
	for _, dir := range dirs {
		args := harness.Commandline(dir)
		if !strings.Contains(args, h.dir) || !strings.Contains(args, text) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil {
			found = append(found, process{pid: pid, args: args})
		}
	}
	return found
}

// kill kills the one process with that text in its arguments.
func (h *home) kill(text string) {
	h.t.Helper()
	h.signal(h.process(text), syscall.SIGKILL)
}

func (h *home) signal(p process, s syscall.Signal) {
	h.t.Helper()
	if err := syscall.Kill(p.pid, s); err != nil {
		h.t.Fatalf("signal %v to %v: %v", s, p, err)
	}
}

// process returns the one process with that text in its arguments. A child of it does
// not count: until it executes its own program, it has the arguments of its parent.
func (h *home) process(text string) process {
	h.t.Helper()
	all := h.processes(text)
	found := slices.DeleteFunc(slices.Clone(all), func(p process) bool {
		parent, running := parentOf(p.pid)
		return !running || slices.ContainsFunc(all, func(q process) bool { return q.pid == parent })
	})
	if len(found) != 1 {
		h.t.Fatalf("processes with %q: %v of %v, want one", text, found, all)
	}
	return found[0]
}

// parentOf returns the process that has started one that is running.
func parentOf(pid int) (parent int, running bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	_, rest, _ := strings.Cut(string(b), "\nPPid:\t")
	number, _, _ := strings.Cut(rest, "\n")
	parent, err = strconv.Atoi(number)
	return parent, err == nil
}

// loseAgent kills an agent and moves its folder away, so that the agent that is started
// in its place has another. The agent is stopped before that, as one that misses its
// folder ends by itself.
func (h *home) loseAgent(folder string) {
	h.t.Helper()
	agent := h.process("stint agent --data " + folder + " ")
	h.signal(agent, syscall.SIGSTOP)
	h.wait("an agent that stands still", func() bool { return stopped(agent.pid) })
	if err := os.Rename(folder, folder+".gone"); err != nil {
		h.t.Fatal(err)
	}
	h.signal(agent, syscall.SIGKILL)
}

// stopped reports whether a process has been stopped with all of its threads: the signal
// alone has that happen soon.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(b), "\nState:\tT") {
			return false
		}
	}
	return len(threads) > 0
}

// shell runs a shell script in the test's folder and returns what it printed.
func (h *home) shell(script string, args ...string) string {
	h.t.Helper()
	c := exec.CommandContext(h.t.Context(), "sh", append([]string{"-euc", script, "sh"}, args...)...)
	c.Dir = h.dir
	c.Env = append(os.Environ(), "LC_ALL=C")
	out, err := c.Output()
	if err != nil {
		h.t.Fatalf("%s: %v", script, err)
	}
	return string(out)
}

// parts returns the parts of an output, in order.
func (h *home) parts(output string) []string {
	h.t.Helper()
	if _, err := os.Stat(filepath.Join(output, "_SUCCESS")); err != nil {
		h.t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(output, "part-*"))
	if err != nil {
		h.t.Fatal(err)
	}
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = h.read(name)
	}
	return texts
}

// sorted returns the lines of texts, sorted bytewise.
func sorted(texts ...string) string {
	c := exec.Command("sort")
	c.Env = append(os.Environ(), "LC_ALL=C")
	c.Stdin = strings.NewReader(strings.Join(texts, ""))
	out, err := c.Output()
	if err != nil {
		panic(err)
	}
	return string(out)
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
}
