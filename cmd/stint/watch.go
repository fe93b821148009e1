package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"stint"
	"stint/client"
)

// progress makes what shows an execution on stderr.
func (a *app) progress() *progress {
	p := &progress{out: a.errs, every: 2 * time.Second}
	if f, ok := a.errs.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal = true
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			p.width = w
		}
	}
	return p
}

// watch calls show with every document of the execution until it has ended, and
// returns the last one.
func watch(ctx context.Context, c *client.Client, id stint.ExecutionID, show func(*stint.Execution) error) (*stint.Execution, error) {
	var last *stint.Execution
	for x, err := range c.Watch(ctx, id, 0) {
		if err != nil {
			return last, err
		}
		last = &x
		if err := show(last); err != nil {
			return last, err
		}
	}
	if last == nil || !last.Status.Final() {
		return last, stint.Errorf(stint.Unavailable, "watching %s ended before it did", id)
	}
	return last, nil
}

// tellEnd tells people how an execution ended and where its result lies.
func (a *app) tellEnd(x *stint.Execution) {
	a.say("%s  %s after %.1f s, %d attempts for %d operations\n", x.ID, x.Status, x.Elapsed, x.Operations.Performed, x.Operations.Total)
	if x.Error != nil {
		a.say("  %s\n", x.Error)
	}
	if x.Skipped > 0 {
		a.say("  left out: %s whose names begin with . or _\n", plural(x.Skipped, "file"))
	}
	for _, m := range x.Missing {
		a.say("  without %s: %s\n", m.Operation, m.Error)
	}
	if x.Status == stint.Completed || x.Status == stint.CompletedErrors {
		a.say("  output: %s, %s in %s\n", plainPath(x.Output.Location), sizeText(float64(x.Output.Bytes)), plural(int64(x.Output.Parts), "part"))
	}
}

// ended is the exit code of a command that waited for an execution.
func ended(s stint.ExecutionStatus) error {
	switch s {
	case stint.Completed:
		return nil
	case stint.CompletedErrors:
		return outcome(exitIncomplete)
	case stint.Suspended:
		return outcome(exitSuspended)
	case stint.Queued, stint.InProgress, stint.Suspending, stint.Resuming, stint.ExecutionFailed, stint.Terminating, stint.Terminated:
		return outcome(exitFailed)
	}
	return outcome(exitFailed)
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// plainPath shows a location as people would type it.
func plainPath(location string) string {
	path, ok := strings.CutPrefix(location, "file://")
	if !ok || strings.Contains(path, "%") {
		return location
	}
	return path
}
