package worker

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"stint"
)

// perform performs one operation and adds what came of it to the journal, where
// the next write takes it along. The error means that this slot cannot go on.
func (s *slot) perform(ctx context.Context, it *item, end *ending) error {
	defer closeAll(it.files)
	start := time.Now().UnixMilli()
	op, job := it.order.Op, it.job.Job
	if err := s.journal.add(Record{Begun: &stint.Begun{Job: job, Ops: stint.Range{From: op, To: op + 1}}}); err != nil {
		return err
	}
	if err := s.journal.write(); err != nil {
		return err
	}
	s.stderr.reset()
	done, err := s.try(ctx, it, end)
	if err == nil {
		done.Op.Start, done.Op.End = start, time.Now().UnixMilli()
		if err := s.journal.add(Record{Done: done}); err != nil {
			return err
		}
		return s.endCheckpoint(it)
	}
	f := s.failure(ctx, it, err)
	if end.asked() && f.Error.Code == stint.Canceled {
		return s.journal.add(Record{Interrupted: &stint.Interrupted{Job: job, Op: op, Start: start, End: time.Now().UnixMilli()}})
	}
	f.Start, f.End = start, time.Now().UnixMilli()
	return s.journal.add(Record{Failed: f})
}

// operation is one operation while it is performed.
type operation struct {
	item    *item
	stage   *stint.StageSpec
	attempt *stint.Attempt
	counter stint.Counters
	in      *input
	out     output
	part    *os.File // nil: no part
	form    *textForm
	bad     badRecords

	// What Hadoop counts beside the records of the input, if it is to be counted.
	groups                  func() int64 // of a stage behind a shuffle: different keys
	emitted                 int64        // records, before they were combined
	combinedIn, combinedOut int64
}

// try performs an operation up to the end of its output. A panic is the
// operator's failure and not this worker's end.
func (s *slot) try(ctx context.Context, it *item, end *ending) (done *DoneRecord, err error) {
	var o *operation
	defer func() {
		if v := recover(); v != nil {
			s.stderr.Write(debug.Stack()) //nolint:errcheck // it cannot fail
			err = stint.Errorf(stint.Failed, "panic: %v", v)
		}
		if err != nil && o != nil && o.out != nil {
			err = s.giveUp(o, err)
		}
		if o != nil && o.in != nil {
			o.in.close()
		}
	}()
	if o, err = s.open(ctx, it, end); err != nil {
		return nil, err
	}
	if err := s.run(ctx, o); err != nil {
		return nil, err
	}
	return s.finish(ctx, o)
}

// open prepares an operation's input and output.
func (s *slot) open(ctx context.Context, it *item, end *ending) (*operation, error) {
	stage, err := s.stage(it.job)
	if err != nil {
		return nil, err
	}
	o := &operation{item: it, stage: stage, form: formOf(stage.Streaming)}
	files := it.files
	if it.order.Part != "" {
		if len(files) == 0 {
			return nil, stint.Errorf(stint.Internal, "operation %d came without its part file", it.order.Op)
		}
		o.part, files = files[len(files)-1], files[:len(files)-1]
	}
	if err := s.attempt(ctx, o, end); err != nil {
		return o, err
	}
	if o.in, err = s.openInput(o, files); err != nil {
		return o, err
	}
	o.out, err = s.openOutput(o)
	return o, err
}

// attempt says what the runner is to know.
func (s *slot) attempt(ctx context.Context, o *operation, end *ending) error {
	it, stage, spec := o.item, o.stage, &s.setup.Spec
	o.attempt = &stint.Attempt{
		Execution: spec.Execution, Stage: stage.Name,
		Operation: stint.MakeOperationID(stage.Name, it.order.Op), Op: it.order.Op,
		Number: it.job.Attempt, Job: it.job.Job,
		First: stage.Input.Kind == stint.FromInput, Last: it.job.Stage == len(spec.Stages)-1,
		Action: stage.Action, Combine: stage.Combine, Split: stage.Input.Split, Streaming: stage.Streaming, Beside: besideOf(it.order.Broadcasts),
		Params: spec.Params, Environ: s.environ(it.job.Stage, it.order.Broadcasts),
		Operations: stage.Operations, Partitions: stage.Partitions, Ranges: rangesOf(spec, stage.Name), Scratch: s.scratch(),
		Stderr: &s.stderr, Counters: &o.counter,
		Status: func(text string) {
			s.journal.say(stint.StatusText{Job: it.job.Job, Op: it.order.Op, Text: text})
		},
		OnStop: func(call func()) func() bool { return end.onStop(ctx, call) },
		Bad:    s.judge(o),
	}
	if stage.Input.Kind == stint.Shuffle {
		o.attempt.Partition = it.order.Op
	}
	if len(it.order.Subset.Pieces) > 0 {
		o.attempt.Input = it.order.Subset.Pieces[0]
	}
	var err error
	if o.attempt.Checkpoint, err = s.checkpointOf(it); err != nil || o.attempt.Checkpoint == "" {
		return err
	}
	o.attempt.Dir = s.dir.path
	return errors.Join(s.prepareDir(o), s.beginCheckpoint(o.attempt.Checkpoint))
}

// prepareDir has the working directory be as the operation is to find it.
func (s *slot) prepareDir(o *operation) error {
	return s.dir.prepare(o.item.job.Stage, o.stage, o.item.order.Broadcasts)
}

// besideOf returns the paths of broadcasts by their stages.
func besideOf(list []Broadcast) map[string]string {
	if len(list) == 0 {
		return nil
	}
	beside := make(map[string]string, len(list))
	for _, b := range list {
		beside[b.Stage] = b.Path
	}
	return beside
}

func startsProcess(stage *stint.StageSpec) bool {
	return isProcess(&stage.Action) || stage.Combine != nil && isProcess(stage.Combine)
}

func isProcess(a *stint.Action) bool { return len(a.Command) > 0 || len(a.SDK) > 0 }

// run lets the runner perform the attempt, and looks at the input again: what
// was read of a file that changed meanwhile is nothing to go by, nor is a
// failure over it.
func (s *slot) run(ctx context.Context, o *operation) error {
	runner, err := s.runner(&o.attempt.Action)
	if err != nil {
		return err
	}
	err = runner.Perform(ctx, o.attempt, o.in.reader, o.out)
	if ctx.Err() != nil {
		return err
	}
	if cerr := s.checkInput(o); cerr != nil {
		return cerr
	}
	if err == nil || !s.mayHaveBad(o, err) {
		return err
	}
	if err = s.leaveOutBad(ctx, o, err); ctx.Err() != nil {
		return err
	}
	if cerr := s.checkInput(o); cerr != nil {
		return cerr
	}
	return err
}

func (s *slot) runner(a *stint.Action) (Runner, error) {
	switch {
	case len(a.Command) > 0:
		return s.worker.Command, nil
	case len(a.SDK) == 0:
		return s.worker.Native, nil
	case s.worker.SDK == nil:
		return nil, stint.Errorf(stint.Invalid, "program %.80q speaks frames, which this worker does not", a.SDK[0])
	}
	return s.worker.SDK, nil
}

func (s *slot) checkInput(o *operation) error {
	for i := range o.item.order.Subset.Pieces {
		if !strings.HasPrefix(o.item.order.Subset.Pieces[i].Object.URL, "file:") {
			continue // copied from the version that was listed
		}
		if err := s.worker.CheckInput(o.item.files[i], o.item.order.Subset.Pieces[i].Object); err != nil {
			return err
		}
	}
	return nil
}

// finish completes the output.
func (s *slot) finish(ctx context.Context, o *operation) (*DoneRecord, error) {
	d := &DoneRecord{Job: o.item.job.Job, Stage: o.item.job.Stage}
	d.Op.Op = o.item.order.Op
	if err := o.out.commit(ctx, d); err != nil {
		return nil, err
	}
	d.Op.RecordsIn, d.Op.BytesIn, d.Op.InputSum = o.in.records()-(o.bad.count-o.bad.combined), o.in.bytes(), o.in.sum()
	d.Op.BadRecords, d.Bad = o.bad.count, o.bad.list
	if o.form.hadoop {
		o.countAsHadoop(d.Op.RecordsOut)
	}
	d.Counters = o.counter.Deltas(d.Op.Op)
	if n := o.counter.Dropped; n > 0 {
		d.Counters = append(d.Counters, stint.CounterDelta{Op: d.Op.Op, Group: "stint", Name: "counters_limit", Value: n})
	}
	d.Stderr = s.stderr.String()
	return d, nil
}
