package main

import (
	"strings"

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
			if err := readable(x.Output.Location); err != nil {
				return err
			}
			_, err = object.FromEnvironment().Copy(c.Context(), a.out, x.Output.Location, part)
			return err
		},
	}
	c.Flags().IntVar(&part, "part", everyPart, "only the part of this number")
	return c
}

// readable refuses an output that lies where only the service has credentials for.
func readable(location string) error {
	rest, _ := strings.CutPrefix(location, "s3://")
	bucket, key, _ := strings.Cut(rest, "/")
	set, bucket, named := strings.Cut(bucket, "@")
	if rest == location || !named {
		return nil
	}
	return stint.Errorf(stint.Denied, "unknown_credentials: output %s: the set %q is the service's, and not known to this command, which reads s3://BUCKET/KEY with the credentials of its environment (AWS_ACCESS_KEY_ID, …): read s3://%s/%s with a client of your own", location, set, bucket, key)
}
