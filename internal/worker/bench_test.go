package worker_test

import (
	"context"
	"os"
	"testing"

	"stint"
	"stint/internal/block"
	"stint/internal/worker"
)

func contextOf() context.Context { return context.Background() }

// BenchmarkNoop sends orders over the socket and reads what is told back, as an
// agent does; the time is of one operation.
func BenchmarkNoop(b *testing.B) {
	theirs, ours := socketPair(b)
	ended := make(chan error, 1)
	go func() { ended <- newWorker().Run(context.WithoutCancel(b.Context()), theirs) }()
	store, err := block.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	_, data, log, err := store.CreateSegment(execution)
	if err != nil {
		b.Fatal(err)
	}
	send := func(m worker.Message, files ...*os.File) {
		if err := ours.Send(m, files); err != nil {
			b.Error(err)
		}
	}
	stage := first(op("noop"))
	stage.Values, stage.Each = &stint.Values{Count: 1 << 40}, 1
	send(worker.Message{Setup: &worker.Setup{Spec: stint.Spec{Execution: execution, Stages: []stint.StageSpec{stage}}, Dir: b.TempDir(), Checkpoints: b.TempDir()}})
	send(worker.Message{Segment: &worker.SegmentFiles{ID: 1}}, data, log)
	const batch = 1000
	b.ResetTimer()
	go func() {
		for n := 0; n < b.N; n += batch {
			orders := make([]worker.Order, min(batch, b.N-n))
			for i := range orders {
				orders[i].Op = uint32(n + i)
			}
			send(worker.Message{Perform: &worker.Perform{Job: 1, Attempt: 1, Orders: orders}})
		}
	}()
	for done := 0; done < b.N; {
		m, _, err := ours.Receive()
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range m.Events.Records {
			if r.Done != nil {
				done++
			}
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
	_ = ours.Close()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
