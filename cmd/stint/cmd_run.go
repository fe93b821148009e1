package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

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
		Long: `Perform a program, or the commands of --map, --combine and --reduce, over the
input, and wait for the end. PROGRAM is the name of a shipped or registered
program, NAME@VERSION, or a path: of a folder with program.yaml, of such a
manifest, or of an archive. Without a service, one is started for the time
of the command; Ctrl-C then suspends the execution and says how to resume it, and
a second Ctrl-C quits at once.

` + exitHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkApart(c, "dry-run", "detach"); err != nil {
				return err
			}
			q, err := r.build(c, args)
			if err == nil {
				err = a.perform(c.Context(), &r, &q)
			}
			return errors.Join(err, q.loaded.discard())
		},
	}
	r.requestFlags.define(c)
	r.waitFlags.define(c)
	c.Flags().BoolVar(&r.dryRun, "dry-run", false, "say how it would be executed, and do not")
	return c
}

// perform opens the service and executes what is asked for, or says how it would be.
func (a *app) perform(ctx context.Context, r *runFlags, q *asked) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	a.warn(q.loaded.warnings)
	s, err := a.open(ctx, q.request.Nodes, q.request.Slots)
	if err != nil {
		return a.unlessStopped(ctx, s, "", err)
	}
	if q.named != "" {
		if err := r.find(ctx, s.Client, q); err != nil {
			return a.refused(ctx, s, "", err)
		}
		a.warn(q.loaded.warnings)
	}
	if r.dryRun {
		return a.planOn(ctx, s, r, q.request, q.uploads)
	}
	return a.submit(ctx, s, r, q.request, q.uploads)
}

// warn says what was accepted and may not be meant.
func (a *app) warn(warnings []string) {
	for _, w := range warnings {
		a.say("stint: note: %s\n", w)
	}
}

// submit submits the request to the service and waits for the end, as far as it may.
func (a *app) submit(ctx context.Context, s *session, r *runFlags, req stint.Request, uploads []upload) error {
	var x stint.Execution
	err := deliver(ctx, s.Client, uploads)
	if err == nil {
		req.Key = rand.Text()
		told := a.tellListing(&req)
		x, err = s.Submit(ctx, req)
		told()
	}
	if err != nil {
		return a.refused(ctx, s, "", err)
	}
	return a.attend(ctx, s, x, r.waitFlags)
}

// tellListing tells people what takes long when a service does not answer a request
// soon: it looks at the input and the output before. The function that it returns is
// called when it has answered.
func (a *app) tellListing(req *stint.Request) (answered func()) {
	said := make(chan struct{})
	t := time.AfterFunc(reachLong, func() {
		defer close(said)
		places := slices.Clone(req.Inputs)
		for _, name := range slices.Sorted(maps.Keys(req.NamedInputs)) {
			places = append(places, req.NamedInputs[name]...)
		}
		a.say("stint: waiting for the service to list the input %s\n", printable(listed(places)))
	})
	return func() {
		if !t.Stop() {
			<-said
		}
	}
}

// listed names the first of some locations as people type them.
func listed(places []string) string {
	if len(places) == 0 {
		return "and to look at the output"
	}
	text := plainPath(places[0])
	if more := len(places) - 1; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
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

// planOn says how a request would be executed.
func (a *app) planOn(ctx context.Context, s *session, r *runFlags, req stint.Request, uploads []upload) error {
	var report stint.PlanReport
	err := deliver(ctx, s.Client, uploads)
	if err == nil {
		told := a.tellListing(&req)
		report, err = s.Plan(ctx, req)
		told()
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
	if p.Compressed > 0 {
		input += fmt.Sprintf("; %d compressed, which are not cut", p.Compressed)
	}
	t.row("input", input)
	if p.Largest != nil {
		t.row("largest", fmt.Sprintf("%s, %s", plainPath(p.Largest.URL), sizeText(float64(p.Largest.Size))))
	}
	size := sizeText(float64(p.SubsetSize))
	if p.Values > 0 {
		size = plural(p.SubsetSize, "value")
	}
	t.row("subsets", fmt.Sprintf("%d, of at most %s", p.Subsets, size))
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
	t.row("STAGE", "READS", "OPERATIONS", "REUSED", "PARTITIONS")
	for _, s := range p.Stages {
		t.row(s.Name, strings.Join(s.Reads, ", "), s.Operations, s.Reused, s.Partitions)
	}
	return t.Flush()
}
