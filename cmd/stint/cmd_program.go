package main

import (
	"strings"

	"github.com/spf13/cobra"

	"stint"
	"stint/internal/runner/native"
)

func (a *app) programCommand() *cobra.Command {
	c := group("program", "Programs that are known by name")
	c.AddCommand(a.programListCommand())
	return c
}

func (a *app) programListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the shipped programs",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.printJSON(append([]stint.Program{}, native.Programs()...))
			}
			t := a.table("NAME", "TYPE", "STAGES")
			for _, p := range native.Programs() {
				var stages []string
				for _, s := range p.Stages {
					stages = append(stages, s.Name)
				}
				t.row(p.Name, p.Type, strings.Join(stages, " → "))
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array of documents")
	return c
}
