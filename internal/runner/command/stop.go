package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"stint"
)

// heedStop has the process asked to end once the attempt is to. The result ends
// that, and has no effect when it is called again.
func (p *process) heedStop() func() {
	if p.a.OnStop == nil {
		return func() {}
	}
	over, done := make(chan struct{}), make(chan struct{})
	withdraw := p.a.OnStop(func() {
		defer close(done)
		p.askToEnd(over)
	})
	return sync.OnceFunc(func() {
		close(over)
		if !withdraw() {
			<-done
		}
	})
}

// askToEnd sends SIGTERM to the process's group as soon as one of it catches the
// signal. A program that has just begun may not have come to say that it does.
func (p *process) askToEnd(over <-chan struct{}) {
	again := time.NewTimer(tick)
	defer again.Stop()
	for pause := tick; !p.terminate(); {
		select {
		case <-over:
			return
		case <-again.C:
			pause = min(pause+pause/4, slowTick) // looking is not free: it reads of every process
			again.Reset(pause)
		}
	}
}

// slowTick is how seldom it is looked, in the end, whether a program has come to
// catch the signal.
const slowTick = time.Second

// terminate sends SIGTERM to the group if a process in it catches that, and
// reports whether there is nothing more to be tried.
func (p *process) terminate() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return true
	}
	if !catchesTerm(p.pid) {
		return false
	}
	p.asked = true
	unix.Kill(-p.pid, unix.SIGTERM) //nolint:errcheck // it may just have ended
	return true
}

func (p *process) wasAsked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// catchesTerm reports whether a process of a group has a handler for SIGTERM.
func catchesTerm(group int) bool {
	names, err := procNames()
	if err != nil {
		return false // looked for again
	}
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended
		}
		if _, of := parseStat(stat); of != group {
			continue
		}
		status, err := os.ReadFile("/proc/" + name + "/status")
		if err == nil && caught(status)&(1<<(unix.SIGTERM-1)) != 0 {
			return true
		}
	}
	return false
}

// caught returns the set of signals that a process catches, from /proc/PID/status.
func caught(status []byte) uint64 {
	_, rest, found := bytes.Cut(status, []byte("\nSigCgt:"))
	if !found {
		return 0
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	set, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
	if err != nil {
		return 0
	}
	return set
}

// awaitGroup reads what the process's group still writes until nobody is left in
// it, or ctx is done: a program behind a shell that the signal ended saves itself
// yet. It reports whether no descendant at all is left.
func (p *process) awaitGroup(ctx context.Context, out io.Writer, buf []byte) (alone bool, err error) {
	for ctx.Err() == nil {
		if alone, err = reap(); alone || err != nil {
			return alone, err
		}
		if errors.Is(unix.Kill(-p.pid, 0), unix.ESRCH) {
			return false, nil
		}
		if err := p.drain(ctx, out, buf, tick); err != nil {
			return false, err
		}
		if p.stdout < 0 {
			if err := poll(nil, int(tick.Milliseconds())); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// completedMark is the file by which a program that was asked to end says, in its
// checkpoint folder, that it did not save itself but completed.
const completedMark = "completed"

// forgetCompleted removes the mark of an earlier attempt whose end nobody heard of.
func forgetCompleted(a *stint.Attempt) error {
	if a.Checkpoint == "" {
		return nil
	}
	err := unix.Unlink(filepath.Join(a.Checkpoint, completedMark))
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EISDIR) { // a folder is the program's own, and no mark
		return nil
	}
	return stint.Errorf(stint.Unavailable, "prepare checkpoint folder: %w", err)
}

// completed reports whether a process that was asked to end had done its work. An
// exit code of 0 alone does not say so: most programs that catch the signal exit
// with it wherever they are.
func (p *process) completed(status unix.WaitStatus) bool {
	if p.a.Checkpoint == "" || !status.Exited() || status.ExitStatus() != 0 {
		return false
	}
	info, err := os.Lstat(filepath.Join(p.a.Checkpoint, completedMark))
	return err == nil && info.Mode().IsRegular()
}
