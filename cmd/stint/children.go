package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// lastMoment is how long a child whose supervisor is gone may take to stop.
const lastMoment = 800 * time.Millisecond

// supervised is the hidden flag of the commands that "stint up" starts.
type supervised bool

func (s *supervised) define(c *cobra.Command) {
	c.Flags().BoolVar((*bool)(s), "supervised", false, "standard input is a lifeline: stop when it ends")
	cobra.CheckErr(c.Flags().MarkHidden("supervised"))
}

// context returns a context that ends with a signal and, in a supervised
// process, with its lifeline. Then the process has a last moment left.
func (s supervised) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := interrupted(ctx)
	if s {
		go func() {
			waitForEnd(os.Stdin)
			stop()
			time.Sleep(lastMoment)
			os.Exit(exitFailed)
		}()
	}
	return ctx, stop
}

// waitForEnd returns when r has ended or is broken.
func waitForEnd(r io.Reader) {
	buf := make([]byte, 512)
	for {
		if _, err := r.Read(buf); err != nil {
			return
		}
	}
}

// logger writes to stderr, which is a file in the data folder's logs for a
// supervised process.
func (a *app) logger(component string) *slog.Logger {
	return slog.New(slog.NewTextHandler(a.errs, nil)).With("component", component)
}
