package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stint"
)

// waitFlags are the flags of commands that wait for the end of an execution.
type waitFlags struct{ detach, json bool }

func (w *waitFlags) define(c *cobra.Command) {
	c.Flags().BoolVar(&w.detach, "detach", false, "return when the request is recorded")
	c.Flags().BoolVar(&w.json, "json", false, "print the execution's document at the end")
}

// attend waits for the end of an execution that goes on, as far as it may, and
// then ends the service if that is ours. Stopped by Ctrl-C, it suspends the
// execution on a service of our own and leaves one on any other.
func (a *app) attend(ctx context.Context, s *session, x stint.Execution, w waitFlags) error {
	if w.detach {
		return a.detached(s, w, x)
	}
	shown := a.progress()
	shown.remind(&x)
	last, err := a.follow(ctx, &s, x, shown)
	if ctx.Err() != nil && s.own != nil {
		shown.finish()
		last, err = a.suspendOwn(context.WithoutCancel(ctx), s, x.ID, shown)
	}
	shown.finish()
	if err != nil || !atRest(last) {
		return a.unlessStopped(ctx, s, x.ID, err)
	}
	if w.json {
		err = a.printJSON(last)
	}
	a.tellEnd(last)
	return errors.Join(err, a.leaveService(context.WithoutCancel(ctx), s, x.ID), ended(last.Status))
}

// follow watches an execution to its end. When the service ends before it,
// which is somebody else's to decide, it goes on with a service of our own.
func (a *app) follow(ctx context.Context, s **session, x stint.Execution, shown *progress) (*stint.Execution, error) {
	for {
		last, err := watch(ctx, (*s).Client, x.ID, x.Version, a.silent(shown, awaitAnother), func(x *stint.Execution) error {
			shown.show(x, time.Now())
			return nil
		})
		if stint.CodeOf(err) != stint.Unavailable || a.server != "" || ctx.Err() != nil {
			return last, err
		}
		shown.finish()
		a.say("stint: the service has ended; going on with the one there is, or another\n")
		next, err := a.open(ctx, (*s).nodes, (*s).slots)
		if err != nil {
			return last, err
		}
		*s = next
	}
}

// suspendOwn suspends the execution of a command that was stopped, and returns
// when it is suspended or has ended. One that cannot be suspended now is returned
// as it is.
func (a *app) suspendOwn(ctx context.Context, s *session, id stint.ExecutionID, shown *progress) (*stint.Execution, error) {
	a.say("stint: suspending %s; Ctrl-C again quits at once; either way it goes on with: %s\n", id, a.resumeLine(id))
	x, refusal := s.Suspend(ctx, id, stint.SuspendRequest{})
	err := refusal
	if stint.CodeOf(refusal) == stint.Conflict {
		x, err = s.Show(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	if refusal != nil && !atRest(&x) {
		a.say("stint: %s\n", refusal)
	}
	if x.Status != stint.Suspending && x.Status != stint.Terminating {
		return &x, nil
	}
	return watch(ctx, s.Client, id, x.Version, a.silent(shown, 0), func(x *stint.Execution) error {
		shown.show(x, time.Now())
		return nil
	})
}

func (a *app) detached(s *session, w waitFlags, x stint.Execution) error {
	if err := s.leave(); err != nil {
		return err
	}
	if w.json {
		return a.printJSON(x)
	}
	_, err := fmt.Fprintln(a.out, x.ID)
	return err
}

// leaveService ends the service if it is ours and no other execution needs it.
func (a *app) leaveService(ctx context.Context, s *session, id stint.ExecutionID) error {
	others, err := s.close(ctx, id)
	if others > 0 {
		a.say("stint: the service stays until %s ended\n", plural(int64(others), "other execution"))
	}
	return err
}

// refused ends a command whose request was not taken. What is denied here is the
// input or the output; the credential was good enough to come so far.
func (a *app) refused(ctx context.Context, s *session, id stint.ExecutionID, err error) error {
	if ctx.Err() != nil {
		return a.unlessStopped(ctx, s, id, err)
	}
	if stint.CodeOf(err) == stint.Denied {
		err = stint.Errorf(stint.Invalid, "%s", err)
	}
	return errors.Join(err, a.leaveService(ctx, s, id))
}

// unlessStopped returns err, unless the command was asked to stop: then it stops
// the service, if that is ours, and says what becomes of the execution.
func (a *app) unlessStopped(ctx context.Context, s *session, id stint.ExecutionID, err error) error {
	if ctx.Err() == nil {
		if s != nil {
			err = errors.Join(err, s.stop())
		}
		return err
	}
	if s != nil && s.own != nil {
		if err := s.stop(); err != nil {
			return err
		}
		if id != "" {
			a.say("stint: stopped before it was suspended; %s goes on with: %s\n", id, a.resumeLine(id))
			return outcome(exitSuspended)
		}
	}
	if id != "" {
		a.say("stint: %s goes on without this command; see \"stint show %s --watch\"\n", id, id)
	}
	return outcome(exitInterrupted)
}

// resumeLine returns the command line that resumes an execution of this
// service, as it can be pasted into a shell.
func (a *app) resumeLine(id stint.ExecutionID) string {
	line := "stint resume " + string(id)
	switch {
	case a.server != "":
		return line + " --server " + quoted(a.server)
	case a.data != a.home:
		f, err := a.folder()
		if err == nil {
			return line + " --data " + quoted(string(f))
		}
	}
	return line
}

// quoted returns a word as a shell takes it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/.-_:@%+=,", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
