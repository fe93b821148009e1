package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
)

// benchResume measures how long a suspend takes beyond the grace period, by what
// it has to save, and how soon a resumed execution works again.
func benchResume(ctx context.Context, b *bench) (measurement, error) {
	path, err := b.makeText(max(b.size/2, 1))
	if err != nil {
		return measurement{}, err
	}
	var r, many stops
	err = b.with(ctx, "resume", func(s *session) error {
		r.session = s
		for range b.flags.runs {
			if err := r.withOutput(ctx, path, b.dir); err != nil {
				return err
			}
		}
		many.session = s
		return many.withOperations(ctx, b.flags)
	})
	if err != nil {
		return measurement{}, err
	}
	m := compareRuns(r.saves, r.writes, func(run benchRun) float64 { return float64(r.saved) / run.wall })
	m.Unit, m.Reference.Tool, m.Saved = perClockSecond, "write and sync of the same bytes", r.saved
	m.Times = []timing{
		timed("suspend", "end of grace until suspended", walls(r.saves), suspendBar(timed("", "", walls(r.writes), 0).Seconds)),
		timed("resume", "request until the first operation has begun", r.resumes, resumeBar),
		timed("suspend_operations", fmt.Sprintf("end of grace until suspended, %d operations", b.flags.live), walls(many.saves), decisionBar),
		timed("resume_operations", fmt.Sprintf("request until the first operation has begun, %d operations", b.flags.live), many.resumes, decisionBar),
	}
	return m, nil
}

// suspendBar is how long a suspend may take beyond the grace period when writing
// what it saves takes so many seconds.
func suspendBar(write float64) float64 { return 1.2*write + 1 }

func walls(runs []benchRun) []float64 {
	var out []float64
	for _, run := range runs {
		out = append(out, run.wall)
	}
	return out
}

// stops are suspends and resumes on one service.
type stops struct {
	*session
	saves, writes []benchRun
	resumes       []float64 // seconds
	saved         int64     // bytes, of one suspend
}

// withOutput suspends an execution whose map output is complete and still
// needed, and resumes it. Its last stage waits, so as to be stopped right there.
func (s *stops) withOutput(ctx context.Context, path, dir string) error {
	const partitions = 8
	program := stint.Program{Name: "resume", Type: stint.Custom, Stages: []stint.Stage{
		{Name: "map", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput}},
		{Name: "reduce", Action: stint.Action{Command: []string{"sleep", "3600"}}, Input: stint.Edge{Kind: stint.Shuffle, From: "map"}},
	}}
	x, err := s.Submit(ctx, stint.Request{Program: program, Inputs: []string{path}, Partitions: partitions})
	if err != nil {
		return err
	}
	if _, err := s.until(ctx, x, func(x *stint.Execution) bool { return x.Stages[1].Operations.InProgress > 0 }); err != nil {
		return err
	}
	stopped, err := s.suspend(ctx, x.ID)
	if err != nil {
		return err
	}
	s.saved = stopped.Receipts[len(stopped.Receipts)-1].SavedBytes
	wrote, err := writeAndSync(ctx, path, dir, s.saved)
	s.writes = append(s.writes, wrote)
	if err == nil {
		err = s.resume(ctx, stopped)
	}
	return err
}

// withOperations suspends an execution of many operations once, when half of
// them are completed, and resumes it.
func (s *stops) withOperations(ctx context.Context, flags *benchFlags) error {
	x, err := s.Submit(ctx, nothing(flags.live))
	if err != nil {
		return err
	}
	for k := range flags.runs {
		x, err = s.until(ctx, x, func(x *stint.Execution) bool {
			return x.Operations.Completed >= int64(flags.live*(k+1)/(flags.runs+1)) && x.Status == stint.InProgress
		})
		if err != nil {
			return err
		}
		stopped, err := s.suspend(ctx, x.ID)
		if err != nil {
			return err
		}
		if x, err = s.goOn(ctx, stopped); err != nil {
			return err
		}
	}
	_, err = s.Terminate(ctx, x.ID)
	return err
}

// until returns the first document from x on that is as wanted.
func (s *stops) until(ctx context.Context, x stint.Execution, wanted func(*stint.Execution) bool) (stint.Execution, error) {
	for next, err := range s.Watch(ctx, x.ID, 0) {
		switch {
		case err != nil:
			return next, err
		case next.Version < x.Version:
		case next.Status.Final():
			return next, fmt.Errorf("%s is %s before all was measured: %w", x.ID, next.Status, next.Error)
		case len(next.Stages) > 0 && wanted(&next):
			return next, nil
		}
	}
	return x, ctx.Err()
}

// suspend suspends an execution without a grace period and measures that.
func (s *stops) suspend(ctx context.Context, id stint.ExecutionID) (stint.Execution, error) {
	var none float64
	before, began := cpuSeconds(s.own.Process.Pid), time.Now()
	x, err := s.Suspend(ctx, id, stint.SuspendRequest{Grace: &none})
	if err != nil {
		return x, err
	}
	x, err = s.until(ctx, x, func(x *stint.Execution) bool { return x.Status == stint.Suspended })
	s.saves = append(s.saves, benchRun{wall: time.Since(began).Seconds(), cpu: cpuSeconds(s.own.Process.Pid) - before})
	return x, err
}

// goOn resumes an execution and measures how soon an operation has begun.
func (s *stops) goOn(ctx context.Context, was stint.Execution) (stint.Execution, error) {
	began := time.Now()
	answer, err := s.Resume(ctx, was.ID, stint.ResumeRequest{})
	if err != nil {
		return was, err
	}
	x, err := s.until(ctx, answer.Execution, func(x *stint.Execution) bool { return x.Operations.Performed > was.Operations.Performed })
	s.resumes = append(s.resumes, time.Since(began).Seconds())
	return x, err
}

// resume is goOn for an execution that is not needed any more then.
func (s *stops) resume(ctx context.Context, was stint.Execution) error {
	x, err := s.goOn(ctx, was)
	if err == nil {
		_, err = s.Terminate(ctx, x.ID)
	}
	return err
}

// Of what a node does when it saves: how long an object may be, and how many are
// written at once.
const (
	objectSize = 64 << 20
	writers    = 2
)

// writeAndSync writes so many bytes of a file to others, as many as objects would
// be made of them, each synced, and removes them.
func writeAndSync(ctx context.Context, path, dir string, size int64) (benchRun, error) {
	to, err := os.MkdirTemp(dir, "written-")
	if err != nil {
		return benchRun{}, fmt.Errorf("write: %w", err)
	}
	defer os.RemoveAll(to) //nolint:errcheck // it is in a temporary folder
	in, err := os.Open(path)
	if err != nil {
		return benchRun{}, err
	}
	defer in.Close() //nolint:errcheck // read only
	before, began := cpuSeconds(os.Getpid()), time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for at := int64(0); at < size; at += objectSize {
		group.Go(func() error {
			name := filepath.Join(to, fmt.Sprintf("object-%d", at))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return writeSynced(name, io.NewSectionReader(in, at, min(objectSize, size-at)))
		})
	}
	err = group.Wait()
	return benchRun{wall: time.Since(began).Seconds(), cpu: cpuSeconds(os.Getpid()) - before}, err
}

func writeSynced(name string, r io.Reader) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer f.Close() //nolint:errcheck // Sync tells
	if _, err = io.Copy(f, r); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
