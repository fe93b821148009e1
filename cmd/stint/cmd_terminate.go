package main

import (
	"github.com/spf13/cobra"

	"stint"
)

func (a *app) terminateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "terminate ID",
		Short: "Stop an execution for good",
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
			x, err := service.Terminate(c.Context(), id)
			if err != nil {
				return err
			}
			a.say("%s  %s\n", x.ID, x.Status)
			return nil
		},
	}
}
