package program

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"stint/internal/frame"
)

// mark in the environment says that a worker speaks frames on standard input.
const mark = "STINT_FRAMES"

// Main performs the operations that a worker gives this process, and does not
// return. Elsewhere than under a worker it says so and exits with 2.
func Main(stages Stages) {
	if os.Getenv(mark) == "" {
		fmt.Fprintf(os.Stderr, "%s is a program for Stint, with the stages %s: run it with stint run; to test it use program.Test\n", os.Args[0], strings.Join(names(stages), ", "))
		os.Exit(2)
	}
	in, out := os.Stdin, os.Stdout
	os.Stdout = os.Stderr // what the program prints is not ours
	if null, err := os.Open(os.DevNull); err == nil {
		os.Stdin = null
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM) //nolint:forbidigo // it is the whole process's
	err := serve(ctx, stages, in, out)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func names(stages Stages) []string { return slices.Sorted(maps.Keys(stages)) }

// serve performs one operation after the other until in ends.
func serve(ctx context.Context, stages Stages, in io.Reader, out io.Writer) error {
	frames := frame.NewReader(in)
	for {
		t, payload, err := frames.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if t != frame.BeginOperation {
			return fmt.Errorf("protocol_error: type %d; expected %d, the beginning of an operation", t, frame.BeginOperation)
		}
		begin, err := frame.ParseBegin(payload)
		if err != nil {
			return err
		}
		o := &operation{frames: frames, out: out, context: &Context{Context: ctx, begin: begin}}
		o.context.op = o
		if err := o.perform(stages); err != nil {
			return err
		}
	}
}

// perform performs the operation and tells how it ended. Its error is one of
// speaking with the worker.
func (o *operation) perform(stages Stages) error {
	number := o.context.begin.Number
	run, err := pick(stages, o.context.begin)
	if err == nil {
		o.gather = gathererOf(stages, o)
		err = run(o)
	}
	if err == nil {
		err = o.complete()
	}
	if o.broken != nil {
		return o.broken
	}
	if err != nil {
		if end, ok := errors.AsType[fatal](err); ok {
			err = end.error
		}
		if err := o.send(frame.AppendFailed(nil, number, err.Error())); err != nil {
			return err
		}
		return o.drain()
	}
	return o.send(frame.AppendDone(nil, frame.Completion{Number: number, Records: o.sent, Once: o.gather != nil && o.gather.once()}))
}

// gathererOf returns what combines the operation's output early, nil if the worker
// does not ask for that or the stage has no combiner.
func gathererOf(stages Stages, o *operation) *gatherer {
	begin := o.context.begin
	fold := stages[begin.Stage].Combine.fold
	if begin.Gather <= 0 || begin.Role == frame.Combine || fold == nil {
		return nil
	}
	return newGatherer(o, fold(), begin.Gather)
}

// complete sends what was not sent.
func (o *operation) complete() error {
	if err := o.finish(); err != nil {
		return err
	}
	keys := slices.SortedFunc(maps.Keys(o.counters), func(a, b [2]string) int {
		return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	})
	var all bytes.Buffer
	for _, k := range keys {
		b, err := frame.AppendCounter(nil, frame.Counter{Group: k[0], Name: k[1], Add: o.counters[k]})
		if err != nil {
			return err
		}
		all.Write(b)
	}
	return o.send(all.Bytes())
}

// pick returns the function of an operation.
func pick(stages Stages, b *frame.Begin) (step, error) {
	stage, ok := stages[b.Stage]
	if !ok {
		return nil, fmt.Errorf("stage %q: the program has the stages %s", b.Stage, strings.Join(names(stages), ", "))
	}
	run := map[frame.Role]step{frame.Map: stage.Map.run, frame.Combine: stage.Combine.run, frame.Reduce: stage.Reduce.run}[b.Role]
	if run == nil {
		return nil, fmt.Errorf("stage %q: the program has no function to %s", b.Stage, b.Role)
	}
	return run, nil
}
