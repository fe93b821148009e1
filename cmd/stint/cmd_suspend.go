package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"stint"
)

func (a *app) suspendCommand() *cobra.Command {
	var r stint.SuspendRequest
	var grace string
	c := &cobra.Command{
		Use:   "suspend ID",
		Short: "Suspend an execution, or some of its jobs",
		Long: `Suspend an execution and wait until it is. Operations in progress may complete
within the grace period, or save themselves in their checkpoint folder; completed
output that is still needed goes to long-term storage; the nodes are freed.

With --job only operations of that job stop, until "stint resume ID --job J".`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := stint.ParseExecutionID(args[0])
			if err == nil {
				err = checkJobs(r.Jobs)
			}
			if err == nil {
				r.Grace, err = parseGrace(grace)
			}
			if err != nil {
				return err
			}
			return a.suspend(c.Context(), id, r)
		},
	}
	c.Flags().StringArrayVar(&r.Jobs, "job", nil, "only this job, as j-12")
	c.Flags().StringVar(&grace, "grace", stint.DefaultGrace.String(), "how long operations in progress may go on")
	return c
}

func (a *app) suspend(ctx context.Context, id stint.ExecutionID, r stint.SuspendRequest) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	service, err := a.connect()
	if err != nil {
		return err
	}
	x, err := service.Suspend(ctx, id, r)
	if err != nil {
		return unlessInterrupted(ctx, err)
	}
	if len(r.Jobs) > 0 {
		a.say("%s  %s; suspended: %v\n", x.ID, x.Status, x.Held)
		return nil
	}
	shown := a.progress()
	last, err := watch(ctx, service, id, x.Version, a.silent(shown, 0), func(x *stint.Execution) error {
		shown.show(x, time.Now())
		return notResumed(x)
	})
	shown.finish()
	switch {
	case ctx.Err() != nil:
		a.say("stint: %s goes on to be suspended; see \"stint show %s\"\n", id, id)
		return outcome(exitInterrupted)
	case err != nil:
		return err
	}
	a.tellEnd(last)
	if last.Status != stint.Suspended {
		return stint.Errorf(stint.Conflict, "%s could not be suspended: it is %s", id, last.Status)
	}
	return nil
}

// notResumed fails for an execution that was asked to be suspended and goes on:
// not because all was completed meanwhile, but because somebody resumed it.
func notResumed(x *stint.Execution) error {
	if x.Status != stint.InProgress || x.Operations.Completed == x.Operations.Total {
		return nil
	}
	return stint.Errorf(stint.Conflict, "%s was resumed before it was suspended", x.ID)
}

func (a *app) moveCommand() *cobra.Command {
	var r stint.MoveRequest
	var grace string
	c := &cobra.Command{
		Use:   "move ID --job J",
		Short: "Stop a job where it is and let it go on on another node",
		Long: `Stop a job where it is and let it go on on another node. Its operations in progress
may complete within the grace period, or save themselves in their checkpoint
folder, which goes along. What they have completed is not performed again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := stint.ParseExecutionID(args[0])
			if err == nil && r.Job == "" {
				err = stint.Errorf(stint.Invalid, "which job moves? Give --job, as j-12; \"stint show %s --operations\" lists them", id)
			}
			if err == nil {
				err = checkJobs([]string{r.Job})
			}
			if err == nil {
				r.Grace, err = parseGrace(grace)
			}
			if err != nil {
				return err
			}
			service, err := a.connect()
			if err != nil {
				return err
			}
			if _, err := service.Move(c.Context(), id, r); err != nil {
				return err
			}
			a.say("%s  job %s moves\n", id, r.Job)
			return nil
		},
	}
	c.Flags().StringVar(&r.Job, "job", "", "which job, as j-12")
	c.Flags().StringVar(&grace, "grace", stint.DefaultGrace.String(), "how long operations in progress may go on")
	return c
}
