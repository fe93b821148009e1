package main

import (
	"github.com/spf13/cobra"

	"stint"
	"stint/internal/object"
)

// everyPart asks for all parts, one after the other.
const everyPart = -1

func (a *app) outputCommand() *cobra.Command {
	part := everyPart
	c := &cobra.Command{
		Use:   "output ID",
		Short: "Write an execution's result to stdout",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := stint.ParseExecutionID(args[0])
			if err != nil {
				return err
			}
			if c.Flags().Changed("part") && part < 0 {
				return stint.Errorf(stint.Invalid, "--part %d: expected a number from 0", part)
			}
			service, err := a.connect()
			if err != nil {
				return err
			}
			x, err := service.Show(c.Context(), id)
			if err != nil {
				return err
			}
			if x.Status != stint.Completed && x.Status != stint.CompletedErrors {
				return stint.Errorf(stint.Conflict, "%s has no result: its status is %s", id, x.Status)
			}
			_, err = object.Copy(c.Context(), a.out, x.Output.Location, part)
			return err
		},
	}
	c.Flags().IntVar(&part, "part", everyPart, "only the part of this number")
	return c
}
