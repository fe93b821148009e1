package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"stint"
)

// Kept is a process that is kept from one operation to the next: see
// [Runner.Keep]. Not for concurrent use.
type Kept struct {
	runner *Runner
	p      *process
	stage  stint.Attempt // of the attempt that it was started for, what has to be the same
	dir    unix.Stat_t   // its working directory
	stale  bool          // it is not to be given another operation
}

// Conversation is what is said to a kept process, and what becomes of what it
// says, in one operation. Its methods are called in the goroutine that converses.
type Conversation interface {
	io.Reader // what it is given; [io.EOF] after all of it
	io.Writer // takes what it writes
	Over() bool
}

// Keep returns the process of the attempt's command: the one that is kept, if it
// was started with the same arguments, environment and working directory for the
// same stage and is good for another operation, and otherwise one that is
// started, after everything that is left of earlier ones was ended. env is
// added to the attempt's environment. The process is kept until [Runner.Close], or
// until a command is performed: at any time this runner has the descendants of
// one program.
//
// Errors are as those of [Runner.Perform].
func (r *Runner) Keep(a *stint.Attempt, env []string) (*Kept, error) {
	if err := r.prepare(); err != nil {
		return nil, err
	}
	if r.kept != nil && r.kept.serves(a) {
		return r.kept, nil
	}
	if err := r.endKept(); err != nil {
		return nil, err
	}
	path, err := r.find(a)
	if err != nil {
		return nil, err
	}
	k := &Kept{runner: r, stage: stint.Attempt{Execution: a.Execution, Stage: a.Stage, Action: a.Action, Environ: a.Environ, Dir: a.Dir}}
	if err := unix.Stat(a.Dir, &k.dir); err != nil {
		return nil, stint.Errorf(stint.Unavailable, "start program %.80q: working directory: %w", a.Action.Command[0], err)
	}
	if k.p, err = r.start(a, path, slices.Concat(a.Environ, env), &feed{more: true}); err != nil {
		return nil, err
	}
	r.kept = k
	return k, nil
}

// serves reports whether the process can be given the attempt's operation.
func (k *Kept) serves(a *stint.Attempt) bool {
	if k.stale || a.Execution != k.stage.Execution || a.Stage != k.stage.Stage || a.Dir != k.stage.Dir ||
		!slices.Equal(a.Action.Command, k.stage.Action.Command) || !slices.Equal(a.Environ, k.stage.Environ) {
		return false
	}
	var dir unix.Stat_t
	if unix.Stat(a.Dir, &dir) != nil || dir.Dev != k.dir.Dev || dir.Ino != k.dir.Ino {
		return false // the folder was made again
	}
	fds := [2]unix.PollFd{{Fd: int32(k.p.pidfd), Events: unix.POLLIN}, {Fd: int32(k.p.stdout), Events: unix.POLLIN}}
	return poll(fds[:], 0) == nil && fds[0].Revents == 0 && fds[1].Revents == 0 // it lives, and says nothing that it was not asked
}

// Pid returns the number of the process.
func (k *Kept) Pid() int { return k.p.pid }

// Asked reports whether the process was asked to end, upon which it is given no
// further operation.
func (k *Kept) Asked() bool { return k.p.wasAsked() }

// Converse has one conversation with the process for the attempt: it writes what
// c has while it takes what the process writes, until c is over. If c is over
// before the process was given all of it, or anything went wrong, the process is
// ended, with everything it started, before Converse returns.
//
// The error is that of c, or [stint.Canceled] when ctx ends, upon which the
// process is killed, or when the conversation is not over and the process was
// asked to end; [stint.Failed] with a [stint.ExitError] where it has ended with
// another code than 0, and [ErrHungUp] where it ended otherwise or closed its
// output. The attempt's Stderr, Counters and Status are used in the calling goroutine.
func (k *Kept) Converse(ctx context.Context, a *stint.Attempt, c Conversation) error {
	k.p.a, k.p.said.a = a, a
	stop := context.AfterFunc(ctx, k.p.kill)
	withdraw := k.p.heedStop()
	f := &feed{in: c, buf: k.runner.input, more: true}
	err := k.exchange(ctx, f, c)
	withdraw()
	stop()
	k.p.said.close()
	if err == nil && c.Over() && ctx.Err() == nil {
		if !f.done() {
			a.Counters.Add(counterGroup, "input_not_read", 1)
		}
		if f.done() && !k.p.wasAsked() && !k.p.ended && k.p.stdin >= 0 && k.p.stdout >= 0 {
			return nil
		}
		return k.runner.endKept()
	}
	exit, eerr := k.end()
	switch {
	case ctx.Err() != nil:
		return stint.Errorf(stint.Canceled, "program %.80q was stopped: %w", a.Action.Command[0], context.Cause(ctx))
	case k.p.wasAsked():
		return stint.Errorf(stint.Canceled, "program %.80q was stopped: it ended after SIGTERM", a.Action.Command[0])
	case err != nil && !errors.Is(err, ErrHungUp):
		return errors.Join(err, eerr)
	case exit != nil:
		return errors.Join(exit, eerr)
	}
	return errors.Join(err, eerr)
}

// ErrHungUp is that a kept process ended or closed its output in the middle of a
// conversation.
var ErrHungUp = errors.New("the program ended, or closed its output, before it was done")

// exchange moves bytes until the conversation is over, or the process is.
func (k *Kept) exchange(ctx context.Context, f *feed, c Conversation) error {
	p := k.p
	for !c.Over() && !p.ended {
		if err := p.give(f); err != nil {
			return err
		}
		if p.stdout < 0 {
			return ErrHungUp
		}
		in := p.stdin
		if f.done() {
			in = -1
		}
		if _, err := k.move(c, in, -1); err != nil {
			return err
		}
	}
	for range lastWords {
		quiet, err := k.move(c, -1, 0)
		if err != nil {
			return err
		}
		if quiet {
			break
		}
	}
	if p.ended {
		if err := p.drain(ctx, c, k.runner.output, 0); err != nil {
			return err
		}
	}
	if !c.Over() {
		return ErrHungUp
	}
	return nil
}

// move waits, at most so many milliseconds, until the process has ended, has said
// something, or takes more at the given descriptor, and takes what it said. It
// reports whether it said nothing.
func (k *Kept) move(c Conversation, in, wait int) (quiet bool, err error) {
	p := k.p
	fds := [4]unix.PollFd{
		{Fd: int32(p.pidfd), Events: unix.POLLIN},
		{Fd: int32(p.stdout), Events: unix.POLLIN},
		{Fd: int32(p.stderr), Events: unix.POLLIN},
		{Fd: int32(in), Events: unix.POLLOUT},
	}
	if err := poll(fds[:], wait); err != nil {
		return false, err
	}
	p.ended = p.ended || fds[0].Revents != 0
	return fds[1].Revents == 0 && fds[2].Revents == 0, p.take(&fds[1], &fds[2], c, k.runner.output)
}

// lastWords is how often a process is listened to after a conversation, for what
// it wrote before its last word, and wrongly behind it.
const lastWords = 8

// end ends the process and everything it started. If it ended by itself, and not
// well, exit says how.
func (k *Kept) end() (exit, err error) {
	r, p := k.runner, k.p
	if r.kept == k {
		r.kept = nil
	}
	k.stale = true
	defer p.closePipes()
	closeEnd(&p.stdin)
	if err := k.awaitEnd(); err != nil {
		return nil, err
	}
	byItself := p.ended
	p.kill()
	status, err := p.wait()
	_, kerr := killAll(p.pid)
	if byItself {
		exit = exitError(p.a, status)
	}
	return exit, errors.Join(err, kerr)
}

// awaitEnd sees whether the process is ending by itself: one whose output has
// ended most often is.
func (k *Kept) awaitEnd() error {
	p := k.p
	if p.ended {
		return nil
	}
	fds := [1]unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	wait := 0
	if p.stdout < 0 {
		wait = int(k.runner.Drain.Milliseconds())
	}
	err := poll(fds[:], wait)
	p.ended = fds[0].Revents != 0
	return err
}

// endKept ends the process that is kept, if one is.
func (r *Runner) endKept() error {
	if r.kept == nil {
		return nil
	}
	if _, err := r.kept.end(); err != nil {
		return fmt.Errorf("end the program's process: %w", err)
	}
	return nil
}

// Close ends the process that is kept.
func (r *Runner) Close() error { return r.endKept() }
