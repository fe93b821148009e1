package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"stint"
)

// Child is a process to keep running.
type Child struct {
	Name  string                      // in logs and errors, and of its log file
	Args  []string                    // arguments of the program, without its name
	Files []*os.File                  // inherited, from descriptor 3 on
	Ready func(context.Context) error // called before every start; returns when the child may start, or why it cannot
}

// Supervisor keeps children running. Its fields are not changed once Run was called.
type Supervisor struct {
	Program string        // path of the executable that every child runs
	Logs    string        // existing folder; what a child prints is appended to NAME.log in it
	Grace   time.Duration // between asking a child to stop and killing it
	Alone   bool          // this process starts nothing else: what a dead child leaves behind is killed
	Logger  *slog.Logger

	mu      sync.Mutex
	running map[int]bool // processes of children
}

// DismissedExit is the exit code of a child that is not to be started again. The
// last line that it printed says why.
const DismissedExit = 64

const (
	settled   = 10 * time.Second // a child that stayed up so long starts again without delay
	usageExit = 2                // exit code of a child whose arguments or folder are refused
)

// Run starts the children and keeps them running until ctx ends, then stops
// them all and returns nil when the last is gone. It returns early, with every
// child stopped, when one refuses its first start, or cannot be started the first
// time; later that is tried again. One that ends with [DismissedExit] is not started
// again; the others go on.
func (s *Supervisor) Run(ctx context.Context, children ...Child) error {
	if s.Alone {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("adopt what children leave behind: %w", err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range children {
		group.Go(func() error { return s.keep(ctx, c) })
	}
	return group.Wait()
}

// keep holds on to its thread: the kernel takes the end of the thread that
// started a child for the end of the child's parent.
func (s *Supervisor) keep(ctx context.Context, c Child) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for first, failures := true, 0; ; first = false {
		err := c.ready(ctx)
		if err != nil && first && ctx.Err() == nil {
			return err
		}
		started := time.Now()
		if err == nil {
			err = s.once(ctx, c)
		}
		if ctx.Err() != nil {
			return nil
		}
		var exit *exec.ExitError
		if refused := errors.As(err, &exit) && exit.ExitCode() == usageExit; first && (refused || exit == nil && err != nil) {
			return s.refusal(c, err)
		}
		if exit != nil && exit.ExitCode() == DismissedExit {
			s.Logger.WarnContext(ctx, "child ended and is not started again", "component", c.Name, "status", lastLine(s.logFile(c)))
			return nil
		}
		if time.Since(started) >= settled {
			failures = 0
		}
		s.Logger.WarnContext(ctx, "child ended and is started again", "component", c.Name, "status", status(err))
		if !sleep(ctx, Delay(failures)) {
			return nil
		}
		failures++
	}
}

func (c *Child) ready(ctx context.Context) error {
	if c.Ready == nil {
		return nil
	}
	return c.Ready(ctx)
}

// once starts the child and waits for its end.
func (s *Supervisor) once(ctx context.Context, c Child) error {
	log, err := openLog(s.logFile(c))
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	lifeline, end, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", c.Name, err)
	}
	defer end.Close()      //nolint:errcheck // nothing is written to it
	defer lifeline.Close() //nolint:errcheck // read only
	cmd := exec.CommandContext(ctx, s.Program, c.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = lifeline, log, log
	cmd.ExtraFiles = c.Files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = s.Grace
	if err := s.start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", c.Name, err)
	}
	s.Logger.DebugContext(ctx, "child started", "component", c.Name, "pid", cmd.Process.Pid)
	err = cmd.Wait()
	s.ended(cmd.Process.Pid)
	return err
}

func (s *Supervisor) logFile(c Child) string { return filepath.Join(s.Logs, c.Name+".log") }

func (s *Supervisor) refusal(c Child, err error) error {
	if line := lastLine(s.logFile(c)); line != "" {
		return stint.Errorf(stint.Invalid, "%s: %s", c.Name, line)
	}
	return stint.Errorf(stint.Invalid, "%s: %s; its log is %s", c.Name, status(err), s.logFile(c))
}

func status(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// Delay is the time between the end of a child that did not stay up and its
// next start, after so many such ends in a row.
func Delay(failures int) time.Duration {
	const first, longest = 50 * time.Millisecond, 5 * time.Second
	return min(first<<min(failures, 10), longest)
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
