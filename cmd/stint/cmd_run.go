package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"stint"
	"stint/client"
)

// runFlags are the flags of run.
type runFlags struct {
	requestFlags
	waitFlags
	dryRun bool
}

func (a *app) runCommand() *cobra.Command {
	var r runFlags
	c := &cobra.Command{
		Use:   "run [PROGRAM]",
		Short: "Perform a program and wait for its end",
		Long: `Perform a shipped program, or the commands of --map, --combine and --reduce, over
the input, and wait for the end. Without a service, one is started for the time
of the command; Ctrl-C then suspends the execution and says how to resume it, and
a second Ctrl-C quits at once.

` + exitHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkApart(c, "dry-run", "detach"); err != nil {
				return err
			}
			req, uploads, err := r.build(c, args)
			if err != nil {
				return err
			}
			if r.dryRun {
				return a.plan(c.Context(), &r, req, uploads)
			}
			return a.execute(c.Context(), &r, req, uploads)
		},
	}
	r.requestFlags.define(c)
	r.waitFlags.define(c)
	c.Flags().BoolVar(&r.dryRun, "dry-run", false, "say how it would be executed, and do not")
	return c
}

// execute submits the request and waits for the end, as far as it may.
func (a *app) execute(ctx context.Context, r *runFlags, req stint.Request, uploads []upload) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	s, err := a.open(ctx, req.Nodes, req.Slots)
	if err != nil {
		return a.unlessStopped(ctx, s, "", err)
	}
	return a.submit(ctx, s, r, req, uploads)
}

// submit submits the request to the service and waits for the end, as far as it may.
func (a *app) submit(ctx context.Context, s *session, r *runFlags, req stint.Request, uploads []upload) error {
	var x stint.Execution
	err := deliver(ctx, s.Client, uploads)
	if err == nil {
		req.Key = rand.Text()
		x, err = s.Submit(ctx, req)
	}
	if err != nil {
		return a.refused(ctx, s, "", err)
	}
	return a.attend(ctx, s, x, r.waitFlags)
}

// deliver sends the program's files.
func deliver(ctx context.Context, c *client.Client, uploads []upload) error {
	for _, u := range uploads {
		if err := deliverOne(ctx, c, u); err != nil {
			return err
		}
	}
	return nil
}

func deliverOne(ctx context.Context, c *client.Client, u upload) error {
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

// plan says how a request would be executed.
func (a *app) plan(ctx context.Context, r *runFlags, req stint.Request, uploads []upload) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	s, err := a.open(ctx, req.Nodes, req.Slots)
	if err != nil {
		return a.unlessStopped(ctx, s, "", err)
	}
	return a.planOn(ctx, s, r, req, uploads)
}

func (a *app) planOn(ctx context.Context, s *session, r *runFlags, req stint.Request, uploads []upload) error {
	var report stint.PlanReport
	err := deliver(ctx, s.Client, uploads)
	if err == nil {
		report, err = s.Plan(ctx, req)
	}
	if err != nil {
		return a.refused(ctx, s, "", err)
	}
	if r.json {
		err = a.printJSON(report)
	} else {
		err = a.planTable(&report)
	}
	return errors.Join(err, a.leaveService(ctx, s, ""))
}

func (a *app) planTable(p *stint.PlanReport) error {
	t := a.table()
	input := fmt.Sprintf("%s, %s", plural(p.Objects, "object"), sizeText(float64(p.Bytes)))
	if p.Values > 0 {
		input = plural(p.Values, "value")
	}
	if p.Skipped > 0 {
		input += fmt.Sprintf("; %s left out", plural(p.Skipped, "file"))
	}
	t.row("input", input+", in "+plural(p.Subsets, "subset"))
	t.row("operations", p.Operations)
	if p.Reused > 0 {
		t.row("reused", fmt.Sprintf("%d, which are not performed again", p.Reused))
	}
	output := plainPath(p.Output)
	if output == "" {
		output = "system storage"
	}
	t.row("output", fmt.Sprintf("%s, %s", output, plural(p.Parts, "part")))
	if err := t.Flush(); err != nil {
		return err
	}
	t = a.table()
	t.row()
	t.row("STAGE", "OPERATIONS", "REUSED", "PARTITIONS")
	for _, s := range p.Stages {
		t.row(s.Name, s.Operations, s.Reused, s.Partitions)
	}
	return t.Flush()
}
