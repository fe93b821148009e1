package command

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"stint"
)

// killTime is how long killed processes may take to be gone.
const killTime = 10 * time.Second

// reap collects descendants that have ended. It reports whether that was all:
// nobody is left.
func reap() (bool, error) {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return true, nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, fmt.Errorf("reap descendants: %w", err)
		case pid == 0:
			return false, nil
		}
	}
}

// killAll kills every child of this process until there is none. Children of
// what it kills become our children, so that in the end all descendants are
// gone. group is the number of the process group that the main process had. It
// returns how many it found.
func killAll(group int) (int, error) {
	found := make(map[int]bool)
	deadline := time.Now().Add(killTime)
	for {
		alone, err := reap()
		if alone || err != nil {
			return len(found), err
		}
		if time.Now().After(deadline) {
			return len(found), stint.Errorf(stint.Unavailable, "processes left by a program are not gone %s after they were killed", killTime)
		}
		children, err := children()
		if err != nil {
			return len(found), err
		}
		for _, c := range children {
			found[c.pid] = true
			c.kill(group)
		}
		if err := poll(nil, 1); err != nil {
			return len(found), err
		}
	}
}

// child is a process whose parent we are: its number is not given to another
// before we reap it.
type child struct {
	pid, group int
}

// kill kills the child, and its whole group where that can only be its own.
func (c child) kill(group int) {
	if c.group == group || c.group == c.pid {
		unix.Kill(-c.group, unix.SIGKILL) //nolint:errcheck // it may just have ended
	}
	unix.Kill(c.pid, unix.SIGKILL) //nolint:errcheck // likewise
}

// children lists the processes whose parent this process is.
func children() ([]child, error) {
	names, err := procNames()
	if err != nil {
		return nil, stint.Errorf(stint.Unavailable, "list processes: %w", err)
	}
	self := os.Getpid()
	var out []child
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended
		}
		if parent, group := parseStat(stat); parent == self {
			out = append(out, child{pid: pid, group: group})
		}
	}
	return out, nil
}

func procNames() ([]string, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close() //nolint:errcheck // it was only read
	return d.Readdirnames(-1)
}

// parseStat reads parent and process group from /proc/PID/stat, where a name
// that may contain anything stands in parentheses before them.
func parseStat(stat []byte) (parent, group int) {
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 3 {
		return 0, 0
	}
	parent, perr := strconv.Atoi(string(f[1]))
	group, gerr := strconv.Atoi(string(f[2]))
	if perr != nil || gerr != nil {
		return 0, 0
	}
	return parent, group
}
