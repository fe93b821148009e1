package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"stint"
	"stint/internal/frame"
	"stint/internal/runner/command"
	"stint/internal/shuffle"
)

// Runner performs attempts whose action is an SDK program; see the package's
// documentation.
type Runner struct {
	Processes *command.Runner // which performs commands in the same worker

	last *command.Kept // process of the operation before
	said uint32        // operations that it was given
}

// environ returns what is added to the environment of a program's process: that it
// is to speak frames, and that Python leaves nothing in its working directory.
func environ(a *stint.Attempt) []string {
	return []string{
		"STINT_FRAMES=1", "PYTHONDONTWRITEBYTECODE=1",
		"STINT_EXECUTION=" + string(a.Execution), "STINT_STAGE=" + a.Stage,
	}
}

// Perform has the attempt's operation performed by the program's process, which it
// starts if need be. It gives it in as records: those of a [shuffle.Source], whole
// files, or lines. What the program writes goes to out, as records if that is a
// [shuffle.Sink], and otherwise as lines.
//
// The error is [stint.Failed] where the program says so or ends early, with a
// [stint.ExitError] where it did not exit with 0, or where it does not keep to the
// format; [stint.Invalid] where it could not be started; [stint.Canceled] when
// ctx ends, or when the program was asked to end and has not completed. Errors of
// in and out, and those of the attempt's Bad, are returned as they are. All functions of the attempt
// are called in the calling goroutine.
func (r *Runner) Perform(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	as := *a
	as.Action, as.Streaming = stint.Action{Command: a.Action.SDK}, nil
	process, err := r.Processes.Keep(&as, environ(a))
	if err != nil {
		return err
	}
	if process != r.last {
		r.last, r.said = process, 0
	}
	r.said++
	begin := beginning(a, r.said, in)
	begin.Gather = gatherOf(a, out)
	feeder, err := newFeeder(begin, in, a.Split)
	if err != nil {
		return err
	}
	defer feeder.close()
	c := &conversation{feeder: feeder, listener: newListener(a, begin, out)}
	c.given = func() int64 { return feeder.count }
	err = process.Converse(ctx, &as, c)
	if err == nil && c.failed != nil && process.Asked() {
		return stint.Errorf(stint.Canceled, "program %.80q was stopped: %w", a.Action.SDK[0], c.failed)
	}
	return c.verdict(err)
}

// Close ends the process.
func (r *Runner) Close() error { return r.Processes.Close() }

// beginning says what the program is told of its operation.
func beginning(a *stint.Attempt, number uint32, in io.Reader) *frame.Begin {
	return &frame.Begin{
		Number: number, Execution: string(a.Execution), Stage: a.Stage, Operation: string(a.Operation), Attempt: a.Number,
		Role: roleOf(a, in), Params: a.Params, Partition: a.Partition, Partitions: a.Partitions,
		Input:     frame.Input{URL: a.Input.Object.URL, Offset: a.Input.Offset, Length: a.Input.Length},
		Broadcast: a.Beside, Checkpoint: a.Checkpoint,
	}
}

// gatherBudget is how much of its output a program may gather. It is the same on
// all nodes, as what a combiner makes of fractions depends on which it is given
// together.
const gatherBudget = 32 << 20

// gatherOf returns how much of its output the program may gather to combine it:
// nothing unless the stage's combine is the same program, on records.
func gatherOf(a *stint.Attempt, out io.Writer) int64 {
	_, records := out.(shuffle.Sink)
	if !records || a.Combine == nil || !slices.Equal(a.Combine.SDK, a.Action.SDK) {
		return 0
	}
	return gatherBudget
}

// conversation is one operation: what is said, and what is heard.
type conversation struct {
	*feeder
	*listener
}

// Over reports whether the operation has ended.
func (c *conversation) Over() bool { return c.over }

// verdict says what came of the conversation.
func (c *conversation) verdict(err error) error {
	switch {
	case err == nil && c.failed != nil:
		return c.failed
	case err == nil:
		return c.flush()
	case errors.Is(err, command.ErrHungUp):
		if terr := c.decoder.End(); terr != nil {
			return c.blame(terr)
		}
		return c.blame(fmt.Errorf("truncated_stream: %w", err))
	}
	return err
}
