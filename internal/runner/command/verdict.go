package command

import (
	"io"
	"time"

	"golang.org/x/sys/unix"

	"stint"
)

// hadoopBuffer is how much of its input a program need not take under Hadoop: what
// lies in the buffer before its pipe when it ends is lost without a word.
const hadoopBuffer = 128 << 10

// mustConsume reports whether a program has to take its input to the last byte.
func mustConsume(a *stint.Attempt) bool { return a.Streaming != nil && a.Streaming.MustConsume }

// watchesPipe reports whether it is to be known what a program leaves in the pipe.
func watchesPipe(a *stint.Attempt) bool { return mustConsume(a) && !asHadoop(a) }

// verdict says what the end of a process means for the attempt, nil if it has
// done its work.
func (p *process) verdict(f *feed, status unix.WaitStatus) error {
	if !f.done() {
		p.a.Counters.Add(counterGroup, "input_not_read", 1)
	}
	err := exitError(p.a, status)
	if err != nil && status.Exited() && p.a.Streaming != nil && p.a.Streaming.IgnoreExit {
		p.a.Counters.Add(counterGroup, "exit_ignored", 1)
		err = nil
	}
	if err != nil || !mustConsume(p.a) {
		return err
	}
	left, err := p.left(f)
	if err != nil || !left {
		return err
	}
	return stint.Errorf(stint.Failed, "input_not_consumed: program %.80q ended before it had read all its input: it was given %d bytes and there is more", p.a.Action.Command[0], f.given)
}

// left reports whether the process left of its input what it must not leave.
func (p *process) left(f *feed) (bool, error) {
	tolerated := int64(0)
	if asHadoop(p.a) {
		tolerated = hadoopBuffer
	}
	left := int64(0)
	if p.unread >= 0 {
		n, err := unix.IoctlGetInt(p.unread, unix.TIOCINQ)
		if err != nil {
			return false, wrap("look into the pipe", err)
		}
		left = int64(n)
	}
	for {
		left += int64(len(f.rest))
		if left > tolerated || f.eof {
			return left > tolerated, nil
		}
		f.rest = nil
		if err := f.fill(); err != nil {
			return false, err
		}
	}
}

// defaultGrace is how long a process may go on that has closed its standard output.
const defaultGrace = 30 * time.Second

// silence watches a process that closed its standard output and goes on: nothing
// can come of that. With Hadoop it may, and where the output is dropped anyway.
type silence struct {
	grace time.Duration
	since time.Time // zero: it has not closed it
}

// wait returns for how long to wait for something to happen, in milliseconds, -1
// for ever; or an error if the process was silent for too long.
func (s *silence) wait(p *process) (int, error) {
	if s.grace == 0 || p.stdout >= 0 || p.wasAsked() {
		return -1, nil
	}
	if s.since.IsZero() {
		s.since = time.Now()
	}
	left := s.grace - time.Since(s.since)
	if left <= 0 {
		return 0, stint.Errorf(stint.Failed, "stdout_closed: program %.80q closed its standard output and did not end within %s", p.a.Action.Command[0], s.grace)
	}
	return int(left.Milliseconds()) + 1, nil
}

// silenceOf returns what is to be watched of a program that writes to out.
func (r *Runner) silenceOf(a *stint.Attempt, out io.Writer) silence {
	wanted, ok := out.(interface{ Wanted() bool })
	if asHadoop(a) || ok && !wanted.Wanted() {
		return silence{}
	}
	return silence{grace: r.Grace}
}
