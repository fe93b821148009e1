package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"stint/internal/provider/local"
)

// lastMoment is how long a child whose supervisor is gone may take to stop.
const lastMoment = 800 * time.Millisecond

// leftPatience is how long the next owner of a folder waits for what the one before
// has left behind: it has a last moment, and may be slow.
const leftPatience = 5 * time.Second

// supervised is the hidden flag of the commands that "stint up" starts.
type supervised bool

func (s *supervised) define(c *cobra.Command) {
	c.Flags().BoolVar((*bool)(s), "supervised", false, "standard input is a lifeline: stop when it ends")
	cobra.CheckErr(c.Flags().MarkHidden("supervised"))
}

// context returns a context that ends with a signal and, in a supervised
// process, with its lifeline. Then the process has a last moment left, whatever
// signals follow: a supervisor that is killed ends the lifeline and sends SIGTERM
// in one breath, and operations are to be killed, not abandoned, upon both.
func (s supervised) context(ctx context.Context) (context.Context, context.CancelFunc) {
	if !s {
		return interrupted(ctx)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		waitForEnd(os.Stdin)
		cancel()
		time.Sleep(lastMoment)
		local.KillChildren(lastMoment)
		os.Exit(exitFailed)
	}()
	return ctx, func() {
		cancel()
		stop()
	}
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
