package local

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func (s *Supervisor) start(cmd *exec.Cmd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	if s.running == nil {
		s.running = make(map[int]bool)
	}
	s.running[cmd.Process.Pid] = true
	return nil
}

// ended forgets a child. What it had started and could not end itself is ours
// by now, and so is what that had started once it is gone; all of it is killed. It is
// looked for until there was nothing twice: a list that is read while another child ends
// may lack some (proc(5)).
func (s *Supervisor) ended(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, pid)
	for nothing := 0; s.Alone && nothing < 2; {
		if s.killStrays() > 0 {
			nothing = 0
		} else {
			nothing++
		}
	}
}

// killStrays kills the children that Run has not started, and counts them.
func (s *Supervisor) killStrays() (strays int) {
	for _, pid := range children() {
		if !s.running[pid] {
			strays++
			kill(pid)
		}
	}
	return strays
}

// KillChildren kills the children of this process, and what falls to it when
// they are gone, until there is none or d has passed. It is the last thing that
// a process does.
func KillChildren(d time.Duration) {
	const pause = 5 * time.Millisecond
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(pause) {
		list := children()
		if len(list) == 0 {
			return
		}
		for _, pid := range list {
			_ = unix.Kill(pid, unix.SIGKILL)               // it may be gone
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // another may wait for it
		}
	}
}

// children returns the processes whose parent is this process.
func children() []int {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil
	}
	var found []int
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that is gone
		}
		for field := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(field); err == nil {
				found = append(found, pid)
			}
		}
	}
	return found
}

// kill kills a child process that nobody waits for, and waits for it.
func kill(pid int) {
	if unix.Kill(pid, unix.SIGKILL) != nil {
		return
	}
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}
