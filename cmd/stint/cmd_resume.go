package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"stint"
)

// resumeFlags are the flags of resume.
type resumeFlags struct {
	waitFlags
	request  stint.ResumeRequest
	at, from string
}

func (a *app) resumeCommand() *cobra.Command {
	var r resumeFlags
	c := &cobra.Command{
		Use:   "resume ID",
		Short: "Let a suspended execution go on, and wait for its end",
		Long: `Let a suspended execution go on, and wait for its end. Nothing that was completed
is performed again. Without a service, one is started for the time of the command.

With --from, the execution comes from the storage of another service, which may be
gone. What is saved is verified before: if it is not whole, or the input has
changed, nothing happens, unless --redo says that what depends on it is to be
performed again. Input that was only touched, and has the content that it had, has
not changed.

` + exitHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := stint.ParseExecutionID(args[0])
			if err != nil {
				return err
			}
			if err := r.build(c, time.Now()); err != nil {
				return err
			}
			return a.resume(c.Context(), id, &r)
		},
	}
	f := c.Flags()
	f.IntVar(&r.request.Nodes, "nodes", 0, "use at most so many nodes from now on")
	f.IntVar(&r.request.Slots, "slots", 0, "perform at most so many operations at once on one node")
	f.StringVar(&r.at, "at", "", "when: a time, or a span from now, as 2h")
	f.StringVar(&r.from, "from", "", "URL of the storage that holds the saved state")
	f.StringArrayVar(&r.request.Jobs, "job", nil, "let this job go on that was suspended by itself")
	f.BoolVar(&r.request.DryRun, "dry-run", false, "say what would be reused and what performed again, and do nothing")
	f.BoolVar(&r.request.Redo, "redo", false, "perform again what lost its saved output or depends on what changed")
	f.BoolVar(&r.request.TakeOver, "take-over", false, "take it from a service that resumed it and is gone")
	r.define(c)
	return c
}

// build completes the request from flags that are given as text.
func (r *resumeFlags) build(c *cobra.Command, now time.Time) error {
	err := errors.Join(checkApart(c, "dry-run", "detach"), checkApart(c, "job", "at", "from", "redo", "take-over", "nodes", "slots"))
	if err == nil && r.from == "" {
		// What waits here is verified when its time has come: nobody is there then to
		// accept what is found.
		err = checkApart(c, "at", "redo", "take-over")
	}
	if err != nil {
		return err
	}
	err = errors.Join(checkGiven(c, "at", "from"), checkNumbers(c, "nodes", "slots"), checkJobs(r.request.Jobs))
	if err == nil && r.at != "" {
		r.request.At, err = parseMoment("--at", r.at, now)
	}
	if err == nil {
		r.request.From, err = storageURL(r.from)
	}
	return err
}

// storageURL makes a plain path a URL.
func storageURL(s string) (string, error) {
	l, err := location(s)
	if err != nil || l == "" || l[0] != '/' {
		return l, err
	}
	return pathURL(l), nil
}

func checkJobs(jobs []string) error {
	for _, j := range jobs {
		if _, err := stint.ParseJobID(j); err != nil {
			return fmt.Errorf("--job: %w", err)
		}
	}
	return nil
}

func (a *app) resume(ctx context.Context, id stint.ExecutionID, r *resumeFlags) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	s, err := a.open(ctx, r.request.Nodes, r.request.Slots)
	if err != nil {
		return a.unlessStopped(ctx, s, "", err)
	}
	answer, err := a.resumeOn(ctx, s, id, r.request)
	if err != nil {
		return a.refused(ctx, s, id, err)
	}
	if r.request.DryRun {
		if r.json {
			err = a.printJSON(answer)
		} else {
			err = tellResumption(a.out, &answer)
			if !r.request.Redo && answer.Changed+int64(len(answer.Faults)) > 0 {
				a.say("stint: without --redo it is not resumed\n")
			}
		}
		return errors.Join(err, a.leaveService(ctx, s, ""))
	}
	if len(answer.Redone)+len(answer.Faults)+len(answer.Changes) > 0 {
		_ = tellResumption(a.errs, &answer) // nobody is left to be told
	}
	return a.attend(ctx, s, answer.Execution, r.waitFlags)
}

// resumeOn asks the service. What was in progress when the service before ours
// ended goes on by itself: then there is nothing to ask.
func (a *app) resumeOn(ctx context.Context, s *session, id stint.ExecutionID, r stint.ResumeRequest) (stint.Resumption, error) {
	answer, err := s.Resume(ctx, id, r)
	if r.DryRun || r.From != "" || len(r.Jobs) > 0 || stint.CodeOf(err) != stint.Conflict {
		return answer, err
	}
	x, showErr := s.Show(ctx, id)
	if showErr != nil || x.Status.Final() || x.Status == stint.Suspended {
		return answer, err
	}
	if s.own == nil {
		return answer, stint.Errorf(stint.Conflict, "%s; \"stint show %s --watch\" follows it", err, id)
	}
	a.say("stint: %s was not suspended, and goes on by itself\n", id)
	return stint.Resumption{Execution: x}, nil
}

// maxListed is how many of what a resume found are listed for people.
const maxListed = 20

// tellResumption says what a resume reuses, what it performs again, and why.
func tellResumption(out io.Writer, r *stint.Resumption) error {
	var text []byte
	text = fmt.Appendf(text, "%s  %d of %d operations are reused\n", r.Execution.ID, r.Reused, r.Execution.Operations.Total)
	for _, d := range r.Redone {
		text = fmt.Appendf(text, "  %s: %s performed again: %s\n", d.Stage, plural(d.Operations, "completed operation"), d.Reason)
	}
	changes := r.Changes[:min(len(r.Changes), maxListed)]
	for _, c := range changes {
		text = fmt.Appendf(text, "  input %s: %s\n", c.Kind, printable(plainPath(c.URL)))
	}
	if more := max(r.Changed+r.Touched, int64(len(r.Changes))) - int64(len(changes)); more > 0 {
		text = fmt.Appendf(text, "  and %s of the input\n", plural(more, "more change"))
	}
	for _, f := range r.Faults[:min(len(r.Faults), maxListed)] {
		text = fmt.Appendf(text, "  saved state: %s\n", printable(f))
	}
	if more := int64(len(r.Faults)) - maxListed; more > 0 {
		text = fmt.Appendf(text, "  and %s of the saved state\n", plural(more, "more fault"))
	}
	_, err := out.Write(text)
	return err
}
