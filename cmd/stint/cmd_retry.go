package main

import (
	"context"

	"github.com/spf13/cobra"

	"stint"
)

func (a *app) retryCommand() *cobra.Command {
	var w waitFlags
	c := &cobra.Command{
		Use:   "retry ID",
		Short: "Perform failed operations once more, and wait for the end",
		Long: `Perform the failed operations of an execution that completed with errors once more,
and those that did without them, and wait for the end.

` + exitHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := stint.ParseExecutionID(args[0])
			if err != nil {
				return err
			}
			return a.retry(c.Context(), id, w)
		},
	}
	w.define(c)
	return c
}

func (a *app) retry(ctx context.Context, id stint.ExecutionID, w waitFlags) error {
	ctx, stop := interrupted(ctx)
	defer stop()
	service, err := a.connect()
	if err != nil {
		return err
	}
	x, err := service.Retry(ctx, id)
	if err != nil {
		return unlessInterrupted(ctx, err)
	}
	return a.attend(ctx, &session{Client: service}, x, w)
}
