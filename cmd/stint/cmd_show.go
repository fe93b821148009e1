package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stint"
	"stint/client"
)

// showFlags are the flags of show.
type showFlags struct{ operations, watch, json bool }

func (a *app) showCommand() *cobra.Command {
	var s showFlags
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show an execution",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := stint.ParseExecutionID(args[0])
			if err != nil {
				return err
			}
			service, err := a.connect()
			if err != nil {
				return err
			}
			switch {
			case s.operations && s.json:
				return a.operationsJSON(service.Operations(c.Context(), id, "", ""))
			case s.operations:
				return a.operationsTable(service.Operations(c.Context(), id, "", ""))
			case s.watch && s.json:
				return a.printChanges(c.Context(), service, id)
			case s.watch:
				return a.showProgress(c.Context(), service, id)
			}
			x, err := service.Show(c.Context(), id)
			if err != nil {
				return err
			}
			if s.json {
				return a.printJSON(x)
			}
			return a.showExecution(&x)
		},
	}
	c.Flags().BoolVar(&s.operations, "operations", false, "list its operations")
	c.Flags().BoolVar(&s.watch, "watch", false, "show it until it has ended")
	c.Flags().BoolVar(&s.json, "json", false, "print documents: one; with --operations an array; with --watch one a line")
	c.MarkFlagsMutuallyExclusive("operations", "watch")
	return c
}

func (a *app) showExecution(x *stint.Execution) error {
	t := a.table(fmt.Sprintf("%s  %s  %s", x.ID, x.Status, printable(x.Name)))
	t.row("program", x.Program)
	if x.Waiting != "" {
		t.row("waiting", x.Waiting)
	}
	t.row("submitted", x.Submitted.Local().Format(time.DateTime))
	t.row("elapsed", fmt.Sprintf("%.1f s", x.Elapsed))
	t.row("progress", fmt.Sprintf("%.1f %%", 100*x.Progress))
	if x.Expected != nil && !x.Status.Final() {
		t.row("expected", x.Expected.Local().Format(time.DateTime))
	}
	t.row("performed", fmt.Sprintf("%d for %d operations", x.Operations.Performed, x.Operations.Total))
	t.row("nodes", strings.Join(texts(x.Nodes), " "))
	t.row("output", fmt.Sprintf("%s  %s, %s", plainPath(x.Output.Location), plural(int64(x.Output.Parts), "part"), sizeText(float64(x.Output.Bytes))))
	if x.Error != nil {
		t.row("error", x.Error)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return a.showStages(x)
}

func (a *app) showStages(x *stint.Execution) error {
	t := a.table()
	t.row()
	t.row("STAGE", "COMPLETED", "IN PROGRESS", "QUEUED", "WAITING", "FAILED", "BYTES IN", "BYTES OUT", "RECORDS IN", "RECORDS OUT")
	for _, s := range x.Stages {
		o := s.Operations
		t.row(s.Name, fmt.Sprintf("%d/%d", o.Completed, o.Total), o.InProgress, o.Queued, o.Waiting, o.Failed,
			sizeText(float64(s.BytesIn)), sizeText(float64(s.BytesOut)), s.RecordsIn, s.RecordsOut)
	}
	for _, group := range slices.Sorted(maps.Keys(x.Counters)) {
		for _, name := range slices.Sorted(maps.Keys(x.Counters[group])) {
			t.row("counter", printable(group), printable(name), x.Counters[group][name])
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range x.Failures {
		if _, err := io.WriteString(a.out, failureText(operationOf(x, f), f)); err != nil {
			return err
		}
	}
	return nil
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

// showProgress shows how the execution goes on until it has ended.
func (a *app) showProgress(ctx context.Context, c *client.Client, id stint.ExecutionID) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	shown := a.progress()
	last, err := watch(ctx, c, id, func(x *stint.Execution) error {
		shown.show(x, time.Now())
		return nil
	})
	shown.finish()
	if err != nil {
		return unlessInterrupted(ctx, err)
	}
	a.tellEnd(last)
	return nil
}

// printChanges prints every version of the document until the execution has
// ended, one a line.
func (a *app) printChanges(ctx context.Context, c *client.Client, id stint.ExecutionID) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	lines := json.NewEncoder(a.out)
	lines.SetEscapeHTML(false)
	_, err := watch(ctx, c, id, func(x *stint.Execution) error { return lines.Encode(x) })
	return unlessInterrupted(ctx, err)
}

func unlessInterrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return outcome(exitInterrupted)
	}
	return err
}

func (a *app) operationsTable(all iter.Seq2[stint.Operation, error]) error {
	t := a.table("ID", "STATUS", "ATTEMPTS", "JOB", "NODE", "TOOK", "ERROR")
	for o, err := range all {
		if err != nil {
			return err
		}
		took, reason := "", ""
		if o.Start != nil && o.End != nil {
			took = o.End.Sub(*o.Start).Round(time.Millisecond).String()
		}
		if o.Error != nil {
			reason = printable(o.Error.Error())
		}
		t.row(o.ID, o.Status, o.Attempts, o.Job, o.Node, took, reason)
	}
	return t.Flush()
}

// operationsJSON writes one array, a document at a time: there may be a million.
func (a *app) operationsJSON(all iter.Seq2[stint.Operation, error]) error {
	separator := "["
	for o, err := range all {
		if err != nil {
			return err
		}
		b, err := json.Marshal(o)
		if err != nil {
			return fmt.Errorf("encode operation: %w", err)
		}
		if _, err := fmt.Fprintf(a.out, "%s\n  %s", separator, b); err != nil {
			return err
		}
		separator = ","
	}
	if separator == "[" {
		_, err := fmt.Fprintln(a.out, "[]")
		return err
	}
	_, err := fmt.Fprintln(a.out, "\n]")
	return err
}
