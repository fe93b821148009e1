package main

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stint"
	"stint/client"
)

// logsFlags are the flags of logs.
type logsFlags struct {
	query        stint.LogQuery
	operation    string
	follow, json bool
}

func (a *app) logsCommand() *cobra.Command {
	var f logsFlags
	c := &cobra.Command{
		Use:   "logs ID",
		Short: "Show what operations wrote to stderr",
		Long: `Show what attempts wrote to stderr, in the order in which they ended: of each the
first and the last 64 KiB, if it was more than both. Those that completed, wrote
nothing and left no record out are not shown. Several flags show what all of them
ask for. Logs stay when the execution has ended.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := stint.ParseExecutionID(args[0])
			if err != nil {
				return err
			}
			f.query.Operation = stint.OperationID(f.operation)
			if f.operation != "" {
				if _, _, err := f.query.Operation.Split(); err != nil {
					return err
				}
			}
			service, err := a.connect()
			if err != nil {
				return err
			}
			switch {
			case f.follow:
				return a.followLogs(c.Context(), service, id, f)
			case f.json:
				l, err := service.Logs(c.Context(), id, f.query)
				if err != nil {
					return err
				}
				return a.printJSON(l)
			}
			text, err := service.Log(c.Context(), id, f.query)
			if err == nil {
				_, err = io.WriteString(a.out, text)
			}
			return err
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.operation, "operation", "", "of this operation, as map/17")
	flags.StringVar(&f.query.Search, "search", "", "of attempts in whose text, error or bad records this occurs")
	flags.BoolVar(&f.query.Failed, "failed", false, "of attempts that failed")
	flags.BoolVar(&f.query.Bad, "bad-records", false, "the records that were left out alone, not what attempts wrote")
	flags.BoolVar(&f.follow, "follow", false, "go on until the execution has ended or is suspended")
	flags.BoolVar(&f.json, "json", false, "print one document; with --follow an entry a line")
	return c
}

const (
	followEvery = time.Second
	followBack  = 10 * time.Second // nodes' clocks and reports may be behind by so much
)

// followLogs prints entries as attempts end. Each time it asks anew for what ended
// lately, and leaves out what it has shown.
func (a *app) followLogs(ctx context.Context, c *client.Client, id stint.ExecutionID, f logsFlags) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	shown := make(shownEntries)
	for {
		x, err := c.Show(ctx, id)
		if err == nil {
			err = a.catchUp(ctx, c, id, &f, shown)
		}
		if err != nil {
			return unlessInterrupted(ctx, err)
		}
		if x.Status.Final() || x.Status == stint.Suspended {
			return nil
		}
		if back := time.Now().Add(-followBack); f.query.After.After(back) {
			f.query.After = back
		}
		maps.DeleteFunc(shown, func(_ string, end time.Time) bool { return end.Before(f.query.After) })
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return outcome(exitInterrupted)
		}
	}
}

// shownEntries are the ends of the entries that were shown, by operation and job.
type shownEntries map[string]time.Time

// catchUp prints all entries there are of attempts that ended after f.query.After,
// page by page, and moves that on to the last.
func (a *app) catchUp(ctx context.Context, c *client.Client, id stint.ExecutionID, f *logsFlags, shown shownEntries) error {
	for {
		l, err := c.Logs(ctx, id, f.query)
		if err != nil || len(l.Entries) == 0 {
			return err
		}
		printed, err := a.printEntries(l.Entries, shown, f)
		if err != nil {
			return err
		}
		last := l.Entries[len(l.Entries)-1].End
		f.query.After = last.Add(-1) // others may have ended in the same moment
		if printed == 0 {
			f.query.After = last
		}
		if !l.More {
			return nil
		}
	}
}

// printEntries prints what was not shown yet, and returns how many those are.
func (a *app) printEntries(entries []stint.LogEntry, shown shownEntries, f *logsFlags) (printed int, err error) {
	lines := json.NewEncoder(a.out)
	lines.SetEscapeHTML(false)
	for i := range entries {
		e := &entries[i]
		key := string(e.Operation) + " " + e.Job
		if at, ok := shown[key]; ok && at.Equal(e.End) {
			continue
		}
		shown[key] = e.End
		printed++
		if f.json {
			err = lines.Encode(e)
		} else {
			_, err = io.WriteString(a.out, entryText(e, f.query))
		}
		if err != nil {
			return printed, err
		}
	}
	return printed, nil
}

func entryText(e *stint.LogEntry, q stint.LogQuery) string {
	text := "== " + string(e.Operation) + " on " + string(e.Node) + ": " + string(e.Status)
	if e.Error != nil {
		text += ": " + printable(e.Error.Error())
	}
	text += "\n"
	if !q.Bad {
		text += e.Text
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	for _, b := range e.Bad {
		text += b.String() + "\n"
	}
	return text
}
