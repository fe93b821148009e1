package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stint"
)

// process is a started program and our ends of its pipes.
type process struct {
	a      *stint.Attempt
	pid    int
	pidfd  int // readable once the process has ended
	stdin  int // -1: closed
	stdout int
	stderr int
	unread int  // the process's end of stdin, to see what it left; -1: not looked at
	ended  bool // pidfd was seen readable
	said   messages

	mu    sync.Mutex
	gone  bool // reaped: its number may belong to another
	asked bool // SIGTERM was sent
}

const pipeCapacity = 1 << 20

// start starts the program at path. A process without input reads /dev/null.
func (r *Runner) start(a *stint.Attempt, path string, env []string, f *feed) (*process, error) {
	p := &process{a: a, stdin: -1, stdout: -1, stderr: -1, unread: -1, pidfd: -1, said: messages{a: a}}
	theirs := [3]int{r.null, -1, -1}
	err := openPipe(&p.stdout, &theirs[1], &p.stdout)
	if err == nil {
		err = openPipe(&p.stderr, &theirs[2], &p.stderr)
	}
	if err == nil && !f.empty() {
		err = openPipe(&theirs[0], &p.stdin, &p.stdin)
	}
	if err == nil && p.stdin >= 0 && watchesPipe(a) {
		p.unread, err = unix.FcntlInt(uintptr(theirs[0]), unix.F_DUPFD_CLOEXEC, 0)
	}
	if err != nil {
		p.closePipes()
		closeTheirs(theirs, r.null)
		return nil, stint.Errorf(stint.Unavailable, "start program %.80q: %w", a.Action.Command[0], err)
	}
	p.pid, err = syscall.ForkExec(path, a.Action.Command, &syscall.ProcAttr{
		Dir:   a.Dir,
		Env:   env,
		Files: []uintptr{uintptr(theirs[0]), uintptr(theirs[1]), uintptr(theirs[2])},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &p.pidfd},
	})
	closeTheirs(theirs, r.null)
	if err != nil {
		p.closePipes()
		return nil, startError(a, path, err)
	}
	return p, nil
}

// openPipe makes a pipe. The end that is ours does not block; of a new pipe that
// is the only status flag.
func openPipe(read, write, ours *int) error {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	*read, *write = ends[0], ends[1]
	_, err := unix.FcntlInt(uintptr(*ours), unix.F_SETFL, unix.O_NONBLOCK)
	return err
}

func closeTheirs(theirs [3]int, null int) {
	for _, fd := range theirs {
		if fd >= 0 && fd != null {
			_ = unix.Close(fd)
		}
	}
}

func (p *process) closePipes() {
	for _, fd := range [...]*int{&p.stdin, &p.stdout, &p.stderr, &p.unread, &p.pidfd} {
		closeEnd(fd)
	}
	p.said.close()
}

func closeEnd(fd *int) {
	if *fd >= 0 {
		_ = unix.Close(*fd)
		*fd = -1
	}
}

// kill ends the process and its group, if it has not ended. Safe for concurrent
// use with the rest.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		unix.Kill(-p.pid, unix.SIGKILL) //nolint:errcheck // it may just have ended
	}
}

// wait reaps the process.
func (p *process) wait() (unix.WaitStatus, error) {
	if p.pidfd >= 0 && !p.ended {
		if err := poll([]unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}, -1); err != nil {
			return 0, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(p.pid, &status, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return status, wrap("wait for process", err)
		}
	}
}

// pump moves bytes until the process has ended, or has been silent for too long.
func (p *process) pump(f *feed, out io.Writer, buf []byte, quiet silence) error {
	for {
		if err := p.give(f); err != nil {
			return err
		}
		if p.stdin < 0 && p.stdout < 0 && p.stderr < 0 && p.pidfd < 0 {
			return nil
		}
		wait, err := quiet.wait(p)
		if err != nil {
			return err
		}
		fds := [4]unix.PollFd{
			{Fd: int32(p.pidfd), Events: unix.POLLIN},
			{Fd: int32(p.stdout), Events: unix.POLLIN},
			{Fd: int32(p.stderr), Events: unix.POLLIN},
			{Fd: int32(p.stdin), Events: unix.POLLOUT},
		}
		if err := poll(fds[:], wait); err != nil {
			return err
		}
		if err := p.take(&fds[1], &fds[2], out, buf); err != nil {
			return err
		}
		if p.ended = fds[0].Revents != 0; p.ended {
			closeEnd(&p.stdin)
			return nil
		}
	}
}

// give writes input until the pipe is full, the input ends or nobody reads it.
func (p *process) give(f *feed) error {
	for p.stdin >= 0 {
		if err := f.fill(); err != nil {
			return err
		}
		if f.empty() {
			if !f.more {
				closeEnd(&p.stdin)
			}
			return nil
		}
		n, err := unix.Write(p.stdin, f.rest)
		switch {
		case err == nil:
			f.rest = f.rest[n:]
			f.given += int64(n)
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EPIPE):
			closeEnd(&p.stdin)
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("write to process: %w", err)
		}
	}
	return nil
}

// take reads once from each stream that has something to say.
func (p *process) take(stdout, stderr *unix.PollFd, out io.Writer, buf []byte) error {
	if stdout.Revents != 0 {
		b, err := readEnd(&p.stdout, stdout.Revents, buf)
		if err != nil {
			return err
		}
		if len(b) > 0 {
			if _, err := out.Write(b); err != nil {
				return err
			}
		}
	}
	if stderr.Revents != 0 {
		b, err := readEnd(&p.stderr, stderr.Revents, buf)
		if err != nil {
			return err
		}
		p.said.write(b)
	}
	return nil
}

// readEnd reads what is there and closes the pipe at its end. A pipe that was
// full is given room, since its writer is quick.
func readEnd(fd *int, events int16, buf []byte) ([]byte, error) {
	if events == unix.POLLHUP {
		closeEnd(fd)
		return nil, nil
	}
	n, err := unix.Read(*fd, buf)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read from process: %w", err)
	case n == 0:
		closeEnd(fd)
	case n == 64<<10:
		unix.FcntlInt(uintptr(*fd), unix.F_SETPIPE_SZ, pipeCapacity) //nolint:errcheck // a small pipe does as well
	}
	return buf[:n], nil
}

// drain reads what others than the ended process write to standard output,
// until its end or for at most the given time. With no time it reads what both
// streams hold.
func (p *process) drain(ctx context.Context, out io.Writer, buf []byte, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for p.stdout >= 0 || limit == 0 && p.stderr >= 0 {
		wait := max(0, min(time.Until(deadline), tick)).Milliseconds()
		fds := [2]unix.PollFd{
			{Fd: int32(p.stdout), Events: unix.POLLIN},
			{Fd: int32(p.stderr), Events: unix.POLLIN},
		}
		if err := poll(fds[:], int(wait)); err != nil {
			return err
		}
		if err := p.take(&fds[0], &fds[1], out, buf); err != nil {
			return err
		}
		quiet := fds[0].Revents == 0 && fds[1].Revents == 0
		if quiet && wait == 0 || limit > 0 && (ctx.Err() != nil || time.Now().After(deadline)) {
			return nil //nolint:nilerr // the caller looks at ctx
		}
	}
	return nil
}

// tick is how often a wait that nothing can interrupt looks whether it is to end.
const tick = 50 * time.Millisecond

func poll(fds []unix.PollFd, timeout int) error {
	for {
		_, err := unix.Poll(fds, timeout)
		if !errors.Is(err, unix.EINTR) {
			return wrap("poll process", err)
		}
	}
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
