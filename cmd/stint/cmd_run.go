package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"stint"
	"stint/client"
)

// runFlags are the flags of run.
type runFlags struct {
	requestFlags
	detach, json bool
}

func (a *app) runCommand() *cobra.Command {
	var r runFlags
	c := &cobra.Command{
		Use:   "run [PROGRAM]",
		Short: "Perform a program and wait for its end",
		Long: `Perform a shipped program, or the commands of --map, --combine and --reduce, over
the input, and wait for the end. Without a service, one is started for the time
of the command; Ctrl-C then stops it in order, and the execution goes on with the
next "stint up" or "stint run" on the data folder.

` + exitHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			req, uploads, err := r.build(c, args)
			if err != nil {
				return err
			}
			return a.execute(c.Context(), &r, req, uploads)
		},
	}
	r.define(c)
	c.Flags().BoolVar(&r.detach, "detach", false, "return when the request is recorded")
	c.Flags().BoolVar(&r.json, "json", false, "print the execution's document at the end")
	return c
}

// execute submits the request and waits for the end, as far as it may.
func (a *app) execute(ctx context.Context, r *runFlags, req stint.Request, uploads []upload) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	req.Key = rand.Text()
	s, err := a.open(ctx, req.Nodes, req.Slots)
	if err != nil {
		return a.unlessStopped(ctx, s, "", err)
	}
	x, err := submit(ctx, s.Client, req, uploads)
	if err != nil {
		return a.refused(ctx, s, err)
	}
	if r.detach {
		return a.detached(s, r, x)
	}
	shown := a.progress()
	last, err := a.follow(ctx, &s, req, x.ID, shown)
	shown.finish()
	if err != nil {
		return a.unlessStopped(ctx, s, x.ID, err)
	}
	if r.json {
		err = a.printJSON(last)
	}
	a.tellEnd(last)
	return errors.Join(err, a.leaveService(ctx, s), ended(last.Status))
}

// submit delivers the program's files and records the request.
func submit(ctx context.Context, c *client.Client, req stint.Request, uploads []upload) (stint.Execution, error) {
	for _, u := range uploads {
		if err := deliver(ctx, c, u); err != nil {
			return stint.Execution{}, err
		}
	}
	return c.Submit(ctx, req)
}

func deliver(ctx context.Context, c *client.Client, u upload) error {
	f, err := os.Open(u.path)
	if err != nil {
		return stint.Errorf(stint.Invalid, "--file: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	if err := c.PutFile(ctx, u.file.Digest, u.file.Size, f); err != nil {
		return fmt.Errorf("deliver %s: %w", u.path, err)
	}
	return nil
}

// refused ends a run whose request was not taken. What is denied here is the
// input or the output; the credential was good enough to come so far.
func (a *app) refused(ctx context.Context, s *session, err error) error {
	if ctx.Err() != nil {
		return a.unlessStopped(ctx, s, "", err)
	}
	if stint.CodeOf(err) == stint.Denied {
		err = stint.Errorf(stint.Invalid, "%s", err)
	}
	return errors.Join(err, a.leaveService(ctx, s))
}

// follow watches an execution to its end. When the service ends before it,
// which is somebody else's to decide, it goes on with a service of our own.
func (a *app) follow(ctx context.Context, s **session, req stint.Request, id stint.ExecutionID, shown *progress) (*stint.Execution, error) {
	for {
		last, err := watch(ctx, (*s).Client, id, func(x *stint.Execution) error {
			shown.show(x, time.Now())
			return nil
		})
		if stint.CodeOf(err) != stint.Unavailable || a.server != "" || ctx.Err() != nil {
			return last, err
		}
		if *s, err = a.open(ctx, req.Nodes, req.Slots); err != nil {
			return last, err
		}
	}
}

func (a *app) detached(s *session, r *runFlags, x stint.Execution) error {
	if err := s.leave(); err != nil {
		return err
	}
	if r.json {
		return a.printJSON(x)
	}
	_, err := fmt.Fprintln(a.out, x.ID)
	return err
}

// leaveService ends the service if it is ours and nobody else's.
func (a *app) leaveService(ctx context.Context, s *session) error {
	others, err := s.close(ctx)
	if others > 0 {
		a.say("stint: the service stays until %s ended\n", plural(int64(others), "other execution"))
	}
	return err
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
			a.say("stint: stopped; %s goes on with the next \"stint up\" or \"stint run\" on %s\n", id, a.data)
			return outcome(exitSuspended)
		}
	}
	if id != "" {
		a.say("stint: %s goes on; see \"stint show %s --watch\"\n", id, id)
	}
	return outcome(exitInterrupted)
}
