package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

// upOnSmallDisk is up with a folder below the data folder on a disk of its own,
// of so many MiB, which is gone with the service. It returns where the folder
// is reached from here.
func (h *home) upOnSmallDisk(nodes int, folder string, size int) string {
	h.t.Helper()
	const script = `mkdir -p "$1" && mount -t tmpfs -o "size=$2m,mode=700" tmpfs "$1" && shift 2 && exec "$@"`
	unshare := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	if out, err := exec.CommandContext(h.t.Context(), unshare[0], append(unshare[1:], "true")...).CombinedOutput(); err != nil {
		h.t.Fatalf("this test needs a mount namespace, as root or where users may make one: %v\n%s", err, out)
	}
	folder = filepath.Join(h.data, folder)
	args := slices.Concat(unshare, []string{"sh", "-euc", script, "sh", folder, fmt.Sprint(size), binary},
		[]string{"up", "--data", h.data, "--listen", "127.0.0.1:0", "--nodes", fmt.Sprint(nodes), "--slots", "1"})
	c := exec.CommandContext(context.WithoutCancel(h.t.Context()), args[0], args[1:]...)
	h.settle(c)
	up := h.start(c)
	h.awaitNodes(up, nodes)
	h.damaged = true // what is on the disk is gone when the test ends
	return fmt.Sprintf("/proc/%d/root%s", up.cmd.Process.Pid, folder)
}

// fill writes a file until the disk is full.
func (h *home) fill(path string) {
	h.t.Helper()
	f, err := os.Create(path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it is not whole anyhow
	for _, size := range []int{1 << 20, 4 << 10, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			h.t.Fatal(err)
		}
	}
}

// only returns the one execution there is.
func (h *home) only() stint.Execution {
	h.t.Helper()
	var list []stint.Execution
	decode(h.t, h.ok("list", "--json"), &list)
	if len(list) != 1 {
		h.t.Fatalf("%d executions, want one", len(list))
	}
	return list[0]
}

func TestProgramThatWritesWithoutEndFailsAndLeavesItsNodeWithRoom(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.upOnSmallDisk(1, "agents/1", 120)
	program := h.write("endless.sh", "cat\nexec yes abcdefghijklmnopqrstuvwxyz0123456789\n")
	in := h.write("in.txt", "x\n")
	r := h.stint("run", "--map", "sh endless.sh", "--reduce", "cat", "--partitions", "1", "--attempts", "2", "--file", program, "--input", in, "--output", "out")
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, "output_too_large", "MiB", "no space left on device", h.data+"/agents/1/")
	x := h.only()
	x.Failures = slices.DeleteFunc(x.Failures, func(f stint.Failure) bool { return f.Error.Code == stint.Unavailable }) // it was not begun
	if x.Status != stint.ExecutionFailed || len(x.Failures) != 2 {
		t.Errorf("%s after %d attempts", x.Status, len(x.Failures))
	}
	h.ok("run", "--map", "cat", "--input", in, "--output", "small")
	if diff := cmp.Diff([]string{"x\n"}, h.parts(h.path("small"))); diff != "" {
		t.Error(diff)
	}
}

func TestNodeWithoutRoomLeavesItsWorkToOthers(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.upOnSmallDisk(2, "agents/1", 16)
	in := h.numbered(8)
	x := h.execution("run", "--map", "cat", "--reduce", "cat", "--split", "files", "--subset-size", "1", "--input", in, "--output", "out")
	if diff := cmp.Diff(h.shell(`cat "$1"/* | sort`, in), sorted(h.parts(h.path("out"))...)); diff != "" {
		t.Error(diff)
	}
	if len(x.Nodes) != 1 {
		t.Errorf("performed by %v, want the one node with room", x.Nodes)
	}
}

func TestOnlyNodeWithoutRoomSaysWhyNothingBegins(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	disk := h.upOnSmallDisk(1, "agents/1", 80)
	h.fill(disk + "/filler")
	args := []string{"run", "--map", "cat", "--input", h.write("in.txt", "x\n"), "--output", "out"}
	r := h.begin(args...)
	h.wait("a named reason", func() bool {
		return h.readyNodes() == 1 && strings.TrimSpace(h.ok("list")) != "" && strings.Contains(h.ok("list", "--json"), "the disk is full")
	})
	contains(t, h.only().Waiting, "64 MiB", h.data+"/agents/1")
	if err := os.Remove(disk + "/filler"); err != nil {
		t.Fatal(err)
	}
	if got := h.finish(r); got.code != 0 {
		t.Errorf("exit code %d: %s", got.code, got.err)
	}
}

func TestServerWhoseDiskIsFullStaysReadableAndGoesOnWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	disk := h.upOnSmallDisk(2, "server", 16)
	in := h.numbered(6)
	mapper, performed := h.counter("0.1")
	gate := h.write("gate.sh", "while [ ! -e '"+h.path("open")+"' ]; do sleep 0.02; done\nexec sh "+mapper+"\n")
	run := h.begin("run", "--map", "sh gate.sh", "--file", gate, "--split", "files", "--subset-size", "1", "--input", in, "--output", "out")
	h.wait("operations in progress", func() bool {
		var list []stint.Execution
		decode(t, h.ok("list", "--json"), &list)
		return len(list) == 1 && list[0].Operations.InProgress == 2
	})
	h.fill(disk + "/filler")
	h.write("open", "")
	r := h.stint("run", "identity", "--input", in, "--output", "refused")
	if r.code == 0 {
		t.Error("an execution was accepted that cannot be recorded")
	}
	contains(t, r.err, "full")
	h.only() // still listed, and the one that was not recorded is not
	h.wait("performances", func() bool { return total(performed()) >= 2 })
	if err := os.Remove(disk + "/filler"); err != nil {
		t.Fatal(err)
	}
	if got := h.finish(run); got.code != 0 {
		t.Errorf("exit code %d: %s", got.code, got.err)
	}
	if diff := cmp.Diff(h.shell(`cat "$1"/*`, in), strings.Join(h.parts(h.path("out")), "")); diff != "" {
		t.Error(diff)
	}
	if n := total(performed()); n != 6 {
		t.Errorf("6 operations performed %d times", n)
	}
	h.ok("run", "identity", "--input", in, "--output", "refused")
}
