package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"stint"
)

func (a *app) listCommand() *cobra.Command {
	var search, status string
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List executions, newest first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if status != "" && !slices.Contains(stint.ExecutionStatuses(), stint.ExecutionStatus(status)) {
				return stint.Errorf(stint.Invalid, "--status %.80q: expected one of %q", status, stint.ExecutionStatuses())
			}
			service, err := a.connect()
			if err != nil {
				return err
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
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array of documents")
	return c
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
