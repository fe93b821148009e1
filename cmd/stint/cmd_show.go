package main

import (
	"context"
	"encoding/json"
	"errors"
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
type showFlags struct{ operations, watch, durability, json bool }

func (a *app) showCommand() *cobra.Command {
	var s showFlags
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show an execution",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := stint.ParseExecutionID(args[0])
			if err == nil {
				err = errors.Join(checkApart(c, "operations", "watch", "durability"), checkApart(c, "watch", "durability"))
			}
			if err != nil {
				return err
			}
			service, err := a.connect()
			if err != nil {
				return err
			}
			switch {
			case s.durability:
				d, err := service.Durability(c.Context(), id)
				if err != nil {
					return err
				}
				if s.json {
					return a.printJSON(d)
				}
				return a.durabilityTable(&d)
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
	c.Flags().BoolVar(&s.durability, "durability", false, "say what would be performed again if a node died now")
	c.Flags().BoolVar(&s.json, "json", false, "print documents: one; with --operations an array; with --watch one a line")
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
	if x.Expected != nil && x.Status == stint.InProgress {
		t.row("expected", x.Expected.Local().Format(time.DateTime))
	}
	if x.ResumeAt != nil {
		t.row("resumes", x.ResumeAt.Local().Format(time.DateTime))
	}
	t.row("performed", fmt.Sprintf("%d for %d operations%s", x.Operations.Performed, x.Operations.Total, reusedText(x)))
	if len(x.Held) > 0 {
		t.row("suspended", "jobs "+strings.Join(x.Held, " "))
	}
	for _, r := range x.Receipts {
		t.row(printable(r.Kind), r.At.Local().Format(time.DateTime)+", "+receiptText(r))
	}
	if x.Saved.Operations > 0 {
		t.row("saved", fmt.Sprintf("%s, %s, at %s", plural(x.Saved.Operations, "operation"), sizeText(float64(x.Saved.Bytes)), x.Saved.Location))
	}
	t.row("nodes", strings.Join(texts(x.Nodes), " "))
	t.row("output", fmt.Sprintf("%s  %s, %s", plainPath(x.Output.Location), plural(int64(x.Output.Parts), "part"), sizeText(float64(x.Output.Bytes))))
	if text := badText(x); text != "" {
		t.row("left out", text)
	}
	if x.Error != nil {
		t.row("error", printable(x.Reason()))
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
	var last stint.Execution
	for x, err := range c.Follow(ctx, id, 0, a.silent(shown, 0)) {
		if err != nil {
			shown.finish()
			return unlessInterrupted(ctx, err)
		}
		last = x
		shown.show(&last, time.Now())
	}
	shown.finish()
	a.tellEnd(&last)
	return nil
}

// printChanges prints every version of the document until the execution has
// ended, one a line.
func (a *app) printChanges(ctx context.Context, c *client.Client, id stint.ExecutionID) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	lines := json.NewEncoder(a.out)
	lines.SetEscapeHTML(false)
	for x, err := range c.Follow(ctx, id, 0, a.silent(a.progress(), 0)) {
		if err == nil {
			err = lines.Encode(x)
		}
		if err != nil {
			return unlessInterrupted(ctx, err)
		}
	}
	return nil
}

func unlessInterrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return outcome(exitInterrupted)
	}
	return err
}

func (a *app) durabilityTable(d *stint.Durability) error {
	t := a.table()
	t.row("replication", d.Replication)
	t.row("saved", plural(d.Saved, "operation"))
	t.row()
	t.row("IF THIS NODE DIED NOW", "PERFORMED AGAIN", "CORE-SECONDS")
	for _, n := range d.Nodes {
		t.row(n.Node, plural(n.Operations, "operation"), fmt.Sprintf("%.1f", n.CoreSeconds))
	}
	return t.Flush()
}

func (a *app) operationsTable(all iter.Seq2[stint.Operation, error]) error {
	t := a.table("ID", "STATUS", "ATTEMPTS", "JOB", "NODE", "TOOK", "COPIES", "ERROR")
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
		t.row(o.ID, o.Status, o.Attempts, o.Job, o.Node, took, strings.Join(o.Copies, " "), reason)
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
