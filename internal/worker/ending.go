package worker

import (
	"context"
	"sync"
	"time"
)

// ending is how an operation in progress is ended: it is asked to end by itself,
// and when the grace period is over it is ended.
type ending struct {
	kill context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer // nil: it was not asked
	by    time.Time   // when the timer fires
	heeds func()      // has what heeds the question called
}

// stop asks for the end within a period, unless it is to end earlier already.
func (e *ending) stop(within time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	by := time.Now().Add(within)
	switch {
	case e.timer == nil:
		e.timer = time.AfterFunc(within, func() { e.kill(errStopped) })
		if e.heeds != nil {
			e.heeds()
		}
	case !by.Before(e.by):
		return
	default:
		e.timer.Reset(within)
	}
	e.by = by
}

// onStop is [stint.Attempt.OnStop] of an operation that is performed with ctx.
func (e *ending) onStop(ctx context.Context, call func()) (withdraw func() bool) {
	ctx, ask := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, call)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heeds = ask; e.timer != nil {
		ask()
	}
	return func() bool {
		withdrawn := stop()
		ask()
		return withdrawn
	}
}

// asked reports whether the end was asked for.
func (e *ending) asked() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.timer != nil
}

// over frees what the ending holds.
func (e *ending) over() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.timer != nil {
		e.timer.Stop()
	}
}
