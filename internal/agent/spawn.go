package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// spawner starts worker processes. It does so from one thread that lives as
// long as it: the kernel kills a worker when the thread that started it ends.
type spawner struct {
	requests chan spawnRequest
	alone    bool // kill what is re-parented to this process
	mu       sync.Mutex
	workers  map[int]bool // processes started and not waited for
}

// spawnRequest asks to start a command, or with none to kill strays.
type spawnRequest struct {
	command *exec.Cmd
	answer  chan error // has room for one
}

func newSpawner(alone bool) *spawner {
	return &spawner{requests: make(chan spawnRequest), alone: alone, workers: make(map[int]bool)}
}

// run serves requests until close.
func (s *spawner) run() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	if s.alone {
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) // older kernels: strays go to init, as without it
	}
	for r := range s.requests {
		if r.command == nil {
			s.sweep()
			r.answer <- nil
			continue
		}
		err := r.command.Start()
		if err == nil {
			s.mu.Lock()
			s.workers[r.command.Process.Pid] = true
			s.mu.Unlock()
		}
		r.answer <- err
	}
}

// close ends run. Nothing may be asked of the spawner from then on.
func (s *spawner) close() { close(s.requests) }

// start starts a command; wait must be called afterwards.
func (s *spawner) start(c *exec.Cmd) error {
	r := spawnRequest{command: c, answer: make(chan error, 1)}
	s.requests <- r
	if err := <-r.answer; err != nil {
		return fmt.Errorf("start worker %q: %w", c.Path, err)
	}
	return nil
}

// wait waits for the end of a command that was started, and kills what it left
// behind. It returns how the command ended.
func (s *spawner) wait(c *exec.Cmd) error {
	pid := c.Process.Pid
	err := c.Wait()
	_ = unix.Kill(-pid, unix.SIGKILL) // the group is empty as a rule
	s.mu.Lock()
	delete(s.workers, pid)
	s.mu.Unlock()
	r := spawnRequest{answer: make(chan error, 1)}
	s.requests <- r
	return errors.Join(err, <-r.answer)
}

// sweep kills the children of this process that it did not start: what workers
// that died had started, and so on until none is left. Nothing can be started
// meanwhile.
func (s *spawner) sweep() {
	for s.alone {
		found := false
		for _, pid := range children(os.Getpid()) {
			s.mu.Lock()
			known := s.workers[pid]
			s.mu.Unlock()
			if known {
				continue
			}
			found = true
			_ = unix.Kill(pid, unix.SIGKILL) // it may be gone
			var status unix.WaitStatus
			for {
				if _, err := unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
					break
				}
			}
		}
		if !found {
			return
		}
	}
}

// children returns the processes whose parent is process parent.
func children(parent int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var list []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		rest := string(b[strings.LastIndexByte(string(b), ')')+1:]) // the name before may hold anything
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			list = append(list, pid)
		}
	}
	return list
}
