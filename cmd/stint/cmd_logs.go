package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"stint"
)

func (a *app) logsCommand() *cobra.Command {
	var operation string
	c := &cobra.Command{
		Use:   "logs ID",
		Short: "Show what operations wrote to stderr",
		Long:  "Show what one operation wrote to stderr, or without --operation what all attempts that failed wrote.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := stint.ParseExecutionID(args[0])
			if err != nil {
				return err
			}
			if operation != "" {
				if _, _, err := stint.OperationID(operation).Split(); err != nil {
					return err
				}
			}
			service, err := a.connect()
			if err != nil {
				return err
			}
			text, err := service.Log(c.Context(), id, stint.OperationID(operation))
			if err != nil {
				return err
			}
			if text != "" && !strings.HasSuffix(text, "\n") {
				text += "\n"
			}
			_, err = io.WriteString(a.out, text)
			return err
		},
	}
	c.Flags().StringVar(&operation, "operation", "", "of this operation, as map/17")
	return c
}
