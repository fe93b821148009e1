package main

import (
	"time"

	"github.com/spf13/cobra"

	"stint"
)

func (a *app) nodeCommand() *cobra.Command {
	c := group("node", "Computing nodes")
	c.AddCommand(a.nodeListCommand())
	return c
}

// group is a command that only holds others.
func group(name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
}

func (a *app) nodeListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the computing nodes",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			service, err := a.connect()
			if err != nil {
				return err
			}
			nodes, err := service.Nodes(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(append([]stint.Node{}, nodes...))
			}
			t := a.table("ID", "NAME", "STATUS", "SLOTS", "ADDRESS", "SEEN")
			for _, n := range nodes {
				t.row(n.ID, printable(n.Name), n.Status, n.Slots, n.Address, n.Seen.Local().Format(time.DateTime))
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array of documents")
	return c
}
