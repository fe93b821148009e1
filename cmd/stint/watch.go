package main

import (
	"context"
	"fmt"
	"os"
	"slices"
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

// atRest reports whether an execution stays as it is: it has ended, or it is
// suspended and nobody said when it resumes.
func atRest(x *stint.Execution) bool {
	return x.Status.Final() || x.Status == stint.Suspended && x.ResumeAt == nil
}

// How long a service is not there until people are told, and until a command that
// goes on without it does so: it may be about to start anew.
const (
	tellAway     = time.Second
	awaitAnother = 5 * time.Second
)

// silent makes what a command does that watches an execution and hears nothing. It
// says so, once in each silence. A data folder that is nobody's, after so much
// patience, ends the watch: nobody is there who could answer.
func (a *app) silent(shown *progress, patience time.Duration) func(client.Silence) error {
	var told time.Time
	return func(s client.Silence) error {
		since := time.Since(s.Since)
		if f, err := a.folder(); a.server == "" && err == nil && since >= patience && !f.held() {
			return stint.Errorf(stint.Unavailable, "the service on data folder %s has ended: \"stint up\" starts another", f)
		}
		if since >= tellAway && !told.Equal(s.Since) {
			told = s.Since
			shown.finish()
			a.say("stint: the service does not answer; trying again until %s\n", s.Until.Local().Format(time.TimeOnly))
		}
		return nil
	}
}

// watch calls show with every document of the execution until it is at rest, and
// returns the last one. Versions below first are of what was before. When nothing
// comes it calls silent.
func watch(ctx context.Context, c *client.Client, id stint.ExecutionID, first uint64, silent func(client.Silence) error, show func(*stint.Execution) error) (*stint.Execution, error) {
	var last *stint.Execution
	for x, err := range c.Follow(ctx, id, 0, silent) {
		if err != nil {
			return last, err
		}
		if x.Version < first {
			continue
		}
		last = &x
		if err := show(last); err != nil {
			return last, err
		}
		if atRest(last) {
			return last, nil
		}
	}
	return last, stint.Errorf(stint.Unavailable, "watching %s ended before it did", id)
}

// tellEnd tells people how an execution ended and where its result lies.
func (a *app) tellEnd(x *stint.Execution) {
	a.say("%s  %s after %.1f s, %s for %s%s\n", x.ID, x.Status, x.Elapsed, plural(x.Operations.Performed, "attempt"), plural(x.Operations.Total, "operation"), reusedText(x))
	if x.Error != nil {
		a.say("  %s\n", printable(x.Reason()))
	}
	if x.Skipped > 0 {
		a.say("  left out: %s whose names begin with . or _\n", plural(x.Skipped, "file"))
	}
	if text := badText(x); text != "" {
		a.say("  left out: %s\n", text)
	}
	for _, m := range x.Missing {
		a.say("  without %s: %s\n", m.Operation, printable(m.Error.Error())+lastSaid(x, m))
	}
	if x.Status == stint.Completed || x.Status == stint.CompletedErrors {
		a.say("  output: %s, %s in %s\n", plainPath(x.Output.Location), sizeText(float64(x.Output.Bytes)), plural(int64(x.Output.Parts), "part"))
	}
	if x.Status == stint.CompletedErrors && len(x.Missing) > 0 {
		a.say("  once more: stint retry %s\n", x.ID)
	}
	if x.Status == stint.Suspended {
		if n := len(x.Receipts); n > 0 {
			a.say("  %s\n", receiptText(x.Receipts[n-1]))
		}
		a.say("  %d of %d operations are completed; the rest: %s\n", x.Operations.Completed, x.Operations.Total, a.resumeLine(x.ID))
	}
}

// badText says how many records were left out, since the program fails on them.
func badText(x *stint.Execution) string {
	var bad, of int64
	for _, s := range x.Stages {
		if s.BadRecords > 0 {
			bad += s.BadRecords
			of += s.BadRecords + s.RecordsIn
		}
	}
	if bad == 0 {
		return ""
	}
	return fmt.Sprintf("%s of %d that the program fails on; stint logs %s --bad-records", plural(bad, "record"), of, x.ID)
}

// lastSaid returns the last line that an operation's attempts wrote to stderr of
// those among the latest that failed, behind a colon.
func lastSaid(x *stint.Execution, m stint.Missing) string {
	for _, f := range slices.Backward(x.Failures) {
		if line := f.LastLine(); line != "" && operationOf(x, f) == m.Operation && !strings.HasSuffix(m.Error.Error(), line) {
			return ": " + printable(line)
		}
	}
	return ""
}

func reusedText(x *stint.Execution) string {
	if x.Operations.Reused == 0 {
		return ""
	}
	return fmt.Sprintf(", %d reused", x.Operations.Reused)
}

// receiptText says what a suspend kept and what it cost.
func receiptText(r stint.Receipt) string {
	return fmt.Sprintf("%s kept, %s saved, %.1f core-seconds of work lost",
		plural(r.OperationsKept, "operation"), sizeText(float64(r.SavedBytes)), r.WorkLost)
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
