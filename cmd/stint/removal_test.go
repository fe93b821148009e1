package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"stint/internal/fsck"
)

// inFolderOfAgent is what an agent that has joined has in its folder, as it may be listed.
var inFolderOfAgent = []string{"node.key", "node.pem", "work", "ca.pem", "node.json", "lock", "blocks"}

func fillFolder(t *testing.T, agent folder) {
	t.Helper()
	for _, name := range inFolderOfAgent {
		if err := os.MkdirAll(agent.at(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// An agent would be nobody on a part of its folder: what is in it goes once it has no
// name any more.
func TestAFolderThatIsRemovedLosesItsNameFirst(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	agent := folder(f.agent(3))
	fillFolder(t, agent)
	queue, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(queue) //nolint:errcheck // only read
	for _, dir := range []string{f.agents(), string(agent)} {
		if _, err := unix.InotifyAddWatch(queue, dir, unix.IN_MOVED_FROM|unix.IN_DELETE); err != nil {
			t.Fatal(err)
		}
	}
	if err := agent.remove(); err != nil || !agent.isGone() {
		t.Fatalf("%v; gone: %t", err, agent.isGone())
	}
	events := make([]byte, 1<<16)
	n, err := unix.Read(queue, events)
	if err != nil || n < unix.SizeofInotifyEvent {
		t.Fatalf("%d bytes of events, %v", n, err)
	}
	const mask, name = 4, unix.SizeofInotifyEvent // where they lie in an event
	first, _, _ := bytes.Cut(events[name:n], []byte{0})
	if what := binary.NativeEndian.Uint32(events[mask:]); what&unix.IN_MOVED_FROM == 0 || string(first) != "3" {
		t.Errorf("first, %s was struck by event %#x; want that 3 is moved", first, what)
	}
	if left, err := os.ReadDir(f.agents()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What a process that was killed has left of the folder of an agent is no agent's.
func TestTheRestOfARemovedFolderIsNobodysAndGoes(t *testing.T) {
	t.Parallel()
	f := testFolder(t)
	agent := folder(f.agent(3))
	leave := func() {
		t.Helper()
		fillFolder(t, agent+fsck.Removing)
	}
	leave()
	if err := os.WriteFile(f.retiring(3), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if numbers := f.leftover(1); len(numbers) > 0 {
		t.Errorf("agents that an earlier start has left: %v", numbers)
	}
	if numbers := f.retired(1); len(numbers) != 1 || numbers[agentName(3)] != 3 {
		t.Errorf("agents of which only the mark is left: %v", numbers)
	}
	if err := f.removeRests(); err != nil || exists(agent.removing()) {
		t.Errorf("the next start of all: %v; still there: %t", err, exists(agent.removing()))
	}
	leave()
	a := &app{errs: &bytes.Buffer{}, data: string(agent), server: "https://127.0.0.1:1"}
	if err := a.node(t.Context(), &agentFlags{slots: 1, listen: "127.0.0.1:0"}); err == nil || !exists(agent.removing()) {
		t.Errorf("an agent that nobody supervises: %v; the folder of another name is there: %t", err, exists(agent.removing()))
	}
	if err := a.node(t.Context(), &agentFlags{slots: 1, listen: "127.0.0.1:0", supervised: true}); err == nil || exists(agent.removing()) {
		t.Errorf("the next start of the agent: %v; still there: %t", err, exists(agent.removing()))
	}
	leave()
	if err := agent.remove(); err != nil || exists(string(agent)) || exists(agent.removing()) {
		t.Errorf("the next removal: %v; still there: %t, %t", err, exists(string(agent)), exists(agent.removing()))
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Whoever dies while a folder is removed by parts leaves an agent that is the node
// that it was, or one that has not joined yet.
func TestAFolderThatIsRemovedByPartsSaysWhoItsNodeIsOrNothing(t *testing.T) {
	t.Parallel()
	names := identityLast(slices.Clone(inFolderOfAgent))
	if i := slices.Index(names, "node.json"); i != len(names)-4 {
		t.Errorf("%v: what does not say who the node is goes first", names)
	}
	for len(names) > 0 {
		has := func(name string) bool { return slices.Contains(names, name) }
		if has("node.json") && !has("node.pem") || has("node.pem") && (!has("node.key") || !has("ca.pem")) {
			t.Errorf("%v may be left", names)
		}
		names = names[1:]
	}
}

// It runs itself in a mount namespace, as root or where users may make one.
func TestAFolderThatIsAMountPointIsEmptied(t *testing.T) {
	t.Parallel()
	const where = "STINT_TEST_MOUNTS"
	if os.Getenv(where) == "" {
		args := []string{"--mount", os.Args[0], "-test.run", "^" + t.Name() + "$", "-test.v"}
		if os.Geteuid() != 0 {
			args = append([]string{"--map-root-user"}, args...)
		}
		c := exec.CommandContext(t.Context(), "unshare", args...)
		c.Env = append(os.Environ(), where+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	f := testFolder(t)
	agent := folder(f.agent(3))
	if err := os.Mkdir(string(agent), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", string(agent), "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(string(agent), syscall.MNT_DETACH) })
	fillFolder(t, agent)
	if numbers := f.leftover(1); numbers[agentName(3)] != 3 {
		t.Errorf("agents that an earlier start has left: %v", numbers)
	}
	if err := agent.remove(); err != nil || !agent.isGone() || !exists(string(agent)) {
		t.Errorf("%v; gone: %t", err, agent.isGone())
	}
	if numbers := f.leftover(1); len(numbers) > 0 {
		t.Errorf("agents that an earlier start has left: %v", numbers)
	}
	if err := os.WriteFile(filepath.Join(f.agents(), "3.retiring"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if numbers := f.retired(1); numbers[agentName(3)] != 3 {
		t.Errorf("agents of which only the mark is left: %v", numbers)
	}
}
