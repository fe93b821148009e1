package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"stint"
	"stint/client"
)

func (a *app) listCommand() *cobra.Command {
	var search, status, from string
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List executions, newest first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkApart(c, "from", "search", "status"); err != nil {
				return err
			}
			if status != "" && !slices.Contains(stint.ExecutionStatuses(), stint.ExecutionStatus(status)) {
				return stint.Errorf(stint.Invalid, "--status %.80q: expected one of %q", status, stint.ExecutionStatuses())
			}
			service, err := a.connect()
			if err != nil {
				return err
			}
			if c.Flags().Changed("from") {
				saved, err := savedIn(c.Context(), service, from)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(saved)
				}
				return a.savedTable(saved)
			}
			found := []stint.Execution{}
			for x, err := range service.List(c.Context(), search, stint.ExecutionStatus(status)) {
				if err != nil {
					return err
				}
				found = append(found, x)
			}
			if asJSON {
				return a.printJSON(found)
			}
			return a.listTable(found)
		},
	}
	c.Flags().StringVar(&search, "search", "", "text in the name, the program or the id")
	c.Flags().StringVar(&status, "status", "", "only executions of this status")
	c.Flags().StringVar(&from, "from", "", "list what can be resumed from the storage at this URL instead")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array of documents")
	return c
}

// savedIn returns what can be resumed from a storage.
func savedIn(ctx context.Context, c *client.Client, from string) ([]stint.SavedExecution, error) {
	from, err := storageURL(from)
	if err != nil {
		return nil, err
	}
	found, err := c.Saved(ctx, from)
	return append([]stint.SavedExecution{}, found...), err
}

func (a *app) savedTable(found []stint.SavedExecution) error {
	t := a.table("ID", "SUSPENDED", "OPERATIONS", "PROGRAM", "NAME", "")
	for _, x := range found {
		program, _, _ := strings.Cut(x.Program, "@")
		note := ""
		switch {
		case x.Error != nil:
			note = printable(x.Error.Error())
		case x.Owner != nil:
			note = printable("resumed by the service at " + x.Owner.Address + " since " + x.Owner.At.Local().Format(time.DateTime))
		}
		t.row(x.ID, x.Suspended.Local().Format(time.DateTime), fmt.Sprintf("%d/%d", x.Operations.Completed, x.Operations.Total), program, printable(x.Name), note)
	}
	return t.Flush()
}

func (a *app) listTable(found []stint.Execution) error {
	t := a.table("ID", "STATUS", "PROGRESS", "OPERATIONS", "SUBMITTED", "PROGRAM", "NAME")
	for _, x := range found {
		program, _, _ := strings.Cut(x.Program, "@")
		t.row(x.ID, x.Status, fmt.Sprintf("%.0f %%", 100*x.Progress), fmt.Sprintf("%d/%d", x.Operations.Completed, x.Operations.Total),
			x.Submitted.Local().Format(time.DateTime), program, printable(x.Name))
	}
	return t.Flush()
}

// table is a table of text on stdout.
type table struct{ *tabwriter.Writer }

func (a *app) table(titles ...any) table {
	t := table{tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)}
	if len(titles) > 0 {
		t.row(titles...)
	}
	return t
}

// row appends a row; its error is Flush's.
func (t table) row(cells ...any) {
	fmt.Fprintf(t, strings.TrimSuffix(strings.Repeat("%v\t", len(cells)), "\t")+"\n", cells...) //nolint:errcheck // Flush tells
}

// printable keeps what users named from moving a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
