package command

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"stint"
)

const counterGroup = "stint"

// Runner performs attempts whose action is a command, one at a time; see the
// package's documentation. The zero value is ready to use.
type Runner struct {
	Drain time.Duration // how long what is left of a process may go on writing; 0: 5 s
	Grace time.Duration // how long a process may go on that has closed its standard output; 0: 30 s

	reaper bool // this process is the reaper of its descendants
	null   int  // descriptor of /dev/null, once reaper is set
	found  found
	kept   *Kept // a process that is kept; nil: none
	input  []byte
	output []byte
}

const (
	defaultDrain = 5 * time.Second
	bufferSize   = 256 << 10
)

// Perform starts the attempt's command, gives it in on its standard input,
// writes its standard output to out, and returns when it and all its
// descendants are gone. In a later stage the output of a process whose input is
// empty is thrown away.
//
// The error wraps a [stint.ExitError] where the process did not exit with 0
// ([stint.Failed]), is [stint.Invalid] where it could not be started, and is
// [stint.Canceled] when ctx ends, upon which all processes are killed, or when the
// process ended upon the signal that asked it to. Errors of in and out are returned as they are. The attempt's Stderr, Counters and Status
// are used in the calling goroutine.
func (r *Runner) Perform(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	if err := r.prepare(); err != nil {
		return err
	}
	if err := r.endKept(); err != nil {
		return err
	}
	path, err := r.find(a)
	if err != nil {
		return err
	}
	feed := &feed{in: in, buf: r.input}
	if err := feed.fill(); err != nil {
		return err
	}
	if feed.empty() && !a.First {
		out = io.Discard
	}
	if err := forgetCompleted(a); err != nil {
		return err
	}
	p, err := r.start(a, path, environ(a), feed)
	if err != nil {
		return err
	}
	return r.conduct(ctx, p, feed, out)
}

// prepare makes this process the one to which orphaned descendants fall.
func (r *Runner) prepare() error {
	if r.reaper {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return stint.Errorf(stint.Unavailable, "become reaper of descendants: %w", err)
	}
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return stint.Errorf(stint.Unavailable, "open /dev/null: %w", err)
	}
	if r.Drain == 0 {
		r.Drain = defaultDrain
	}
	if r.Grace == 0 {
		r.Grace = defaultGrace
	}
	r.null, r.reaper = fd, true
	r.input, r.output = make([]byte, bufferSize), make([]byte, bufferSize)
	return nil
}

// conduct sees a process through to its end and to that of all it left behind.
func (r *Runner) conduct(ctx context.Context, p *process, f *feed, out io.Writer) error {
	defer p.closePipes()
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	withdraw := p.heedStop()
	defer withdraw()
	err := p.pump(f, out, r.output, r.silenceOf(p.a, out))
	if err != nil {
		p.kill()
	}
	status, werr := p.wait()
	killed, lerr := r.finish(ctx, p, out, err)
	if killed > 0 {
		p.a.Counters.Add(counterGroup, "leftover_processes", int64(killed))
	}
	withdraw()
	switch {
	case ctx.Err() != nil:
		return stint.Errorf(stint.Canceled, "program %.80q was stopped: %w", p.a.Action.Command[0], context.Cause(ctx))
	case p.asked && !p.completed(status):
		return stint.Errorf(stint.Canceled, "program %.80q was stopped: it ended after SIGTERM", p.a.Action.Command[0])
	case err != nil:
		return err
	case werr != nil || lerr != nil:
		return errors.Join(werr, lerr)
	}
	return p.verdict(f, status)
}

// finish reads what the process's descendants still write, unless the attempt
// has failed already, and ends them. It returns how many it had to kill.
func (r *Runner) finish(ctx context.Context, p *process, out io.Writer, failed error) (int, error) {
	alone, err := reap()
	if err != nil {
		return 0, err
	}
	if failed == nil && ctx.Err() == nil {
		if p.wasAsked() && !alone {
			if alone, err = p.awaitGroup(ctx, out, r.output); err != nil {
				_, kerr := killAll(p.pid)
				return 0, errors.Join(err, kerr)
			}
		}
		wait := r.Drain
		if alone {
			wait = 0 // nobody is there who could still write
		}
		if failed = p.drain(ctx, out, r.output, wait); failed != nil {
			_, err = killAll(p.pid)
			return 0, errors.Join(failed, err)
		}
	}
	if alone {
		return 0, nil
	}
	killed, err := killAll(p.pid)
	if err != nil || ctx.Err() != nil {
		return killed, err
	}
	return killed, p.drain(ctx, out, r.output, 0)
}

// exitError turns the end of a process into what Perform returns.
func exitError(a *stint.Attempt, status unix.WaitStatus) error {
	end := &stint.ExitError{Exit: status.ExitStatus()}
	if status.Signaled() {
		end = &stint.ExitError{Signal: unix.SignalName(status.Signal())}
	}
	if end.Exit == 0 && end.Signal == "" {
		return nil
	}
	return stint.Errorf(stint.Failed, "program %.80q: %w", a.Action.Command[0], end)
}

// feed is what a process is still to be given.
type feed struct {
	in   io.Reader
	buf  []byte
	rest []byte // read and not yet given
	eof  bool

	given int64 // bytes, to whoever reads
	more  bool  // there will be another feed behind it
}

// fill reads more input if nothing is at hand.
func (f *feed) fill() error {
	for len(f.rest) == 0 && !f.eof {
		n, err := f.in.Read(f.buf)
		f.rest = f.buf[:n]
		if errors.Is(err, io.EOF) {
			f.eof = true
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (f *feed) empty() bool { return f.eof && len(f.rest) == 0 }

// done reports whether all input was given.
func (f *feed) done() bool { return f.empty() }
