package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"stint"
)

func (a *app) explainCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain ID",
		Short: "Say why an execution waits, is slow, or failed",
		Long: `Say why an execution waits, is slow, or failed, and what can be done about it; where
the time of each stage went; and whether the records and bytes that a stage reads
are those that were made for it. Also of an execution that has ended.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := stint.ParseExecutionID(args[0])
			if err != nil {
				return err
			}
			service, err := a.connect()
			if err != nil {
				return err
			}
			e, err := service.Explain(c.Context(), id)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(e)
			}
			return a.explain(&e)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one document")
	return c
}

func (a *app) explain(e *stint.Explanation) error {
	if _, err := fmt.Fprintf(a.out, "%s: %s\n", e.Execution, printable(e.Summary)); err != nil {
		return err
	}
	for _, f := range e.Findings {
		if _, err := fmt.Fprintln(a.out, findingText(&f)); err != nil {
			return err
		}
	}
	t := a.table()
	t.row()
	t.row("STAGE", "CORE TIME", "MEDIAN", "LONGEST", "SLOWEST")
	for _, s := range e.Stages {
		t.row(s.Stage, seconds(s.CoreSeconds), seconds(s.Median), seconds(s.Longest), s.Slowest)
	}
	t.row()
	t.row("STAGE", "READS", "RECORDS", "OF", "BYTES", "OF", "")
	for _, b := range e.Balances {
		records := "?"
		if b.RecordsOut >= 0 {
			records = fmt.Sprint(b.RecordsOut)
		}
		t.row(b.Stage, strings.Join(b.From, ", "), b.RecordsIn, records, b.BytesIn, b.BytesOut, balanceText(&b))
	}
	return t.Flush()
}

func balanceText(b *stint.Balance) string {
	switch {
	case !b.Complete:
		return "not complete"
	case b.Equal:
		return "equal"
	}
	return "DIFFERENT"
}

func findingText(f *stint.Finding) string {
	text := "- "
	if f.Stage != "" {
		text += "stage " + f.Stage + ": "
	}
	text += printable(f.Text)
	if len(f.Operations) > 0 {
		text += " (" + strings.Join(texts(f.Operations), " ") + ")"
	}
	if f.Advice != "" {
		text += "\n  " + printable(f.Advice)
	}
	return text
}

func seconds(s float64) string { return fmt.Sprintf("%.1f s", s) }
