package server_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"stint"
	"stint/internal/memnet"
	"stint/internal/server"
)

// bubblePort is where the server of a bubble listens.
const bubblePort = "127.0.0.1:7843"

// seedFlag decides what a bubble draws.
var seedFlag = flag.Uint64("seed", 0, "seed of what is drawn at random in each bubble (0: another in every bubble)")

// bubbles runs a test n times, each in a bubble of its own with a record, a
// storage and a network of its own. The order of what happens at one moment is
// another each time. A goroutine that is left at the end fails the test.
func bubbles(t *testing.T, n int, test func(s *site)) {
	t.Helper()
	for range n {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			s.net, s.random = memnet.New(), draws(t)
			test(s)
		})
	}
}

// at lets the time until a moment pass.
func at(moment time.Time) {
	<-time.After(time.Until(moment))
	synctest.Wait()
}

// draws returns what a bubble draws from; its seed is in the log of the test.
func draws(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// between draws a duration.
func (s *site) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.random.Int64N(int64(most-least)))
}

func TestBubbleASilentNodeIsAwayAfterHalfAMinuteAndItsWorkGoesElsewhere(t *testing.T) {
	t.Parallel()
	bubbles(t, 20, func(s *site) {
		t := s.t
		r := s.serve(nil)
		a := s.node("a").idle().attach(r)
		id := r.submit(s.numbers(2))
		a.await("grants", func() bool { return a.granted(id) == 2 })
		b := s.node("b").attach(r)
		at(time.Now().Add(s.between(0, 10*time.Second)))
		a.detach()
		gone := time.Now()
		at(gone.Add(server.DefaultAwayAfter - time.Millisecond))
		b.with(func() {
			if len(b.begun) > 0 {
				t.Errorf("%v before the node was away: %v", time.Millisecond, b.begun)
			}
		})
		at(gone.Add(server.DefaultAwayAfter + 2*time.Second))
		if doc := r.awaitStatus(id, stint.Completed); doc.Operations.Performed != 3 || time.Since(gone) > server.DefaultAwayAfter+3*time.Second {
			t.Errorf("after %v: %+v", time.Since(gone), doc.Operations)
		}
	})
}

func TestBubbleANodeIsLostAfterItsTimeAndNotBefore(t *testing.T) {
	t.Parallel()
	bubbles(t, 20, func(s *site) {
		t := s.t
		after := s.between(time.Minute, 4*time.Minute)
		r := s.serve(func(sv *server.Server) { sv.LostAfter = after })
		a := s.node("a").attach(r)
		id := r.mapped(s, a, 4)
		a.detach()
		gone := time.Now()
		b := s.node("b").attach(r)
		at(gone.Add(after - time.Millisecond))
		if got := r.nodeStatus(a); got != stint.NodeAway {
			t.Errorf("%v after it left, of %v, it is %s", time.Since(gone), after, got)
		}
		b.with(func() {
			if len(b.begun) > 0 {
				t.Errorf("what it held is made again before it is lost: %v", b.begun)
			}
		})
		at(gone.Add(after + time.Second))
		if got := r.nodeStatus(a); got != stint.NodeLost {
			t.Errorf("%v after it left, of %v, it is %s", time.Since(gone), after, got)
		}
		if doc := r.awaitStatus(id, stint.Completed); doc.Operations.Performed != 9 {
			t.Errorf("%+v", doc.Operations)
		}
	})
}

// seen returns since when a node is silent.
func (r *running) seen(n *node) time.Time {
	for _, doc := range r.Nodes(r.t.Context()) {
		if doc.ID == n.id() {
			return doc.Seen
		}
	}
	return time.Time{}
}

func TestBubbleANodeThatComesBackInTimeHasLostNothing(t *testing.T) {
	t.Parallel()
	const after = time.Minute
	bubbles(t, 20, func(s *site) {
		t := s.t
		r := s.serve(func(sv *server.Server) { sv.LostAfter = after })
		a, b := s.node("a").attach(r), s.node("b").idle()
		id := r.mapped(s, a, 4)
		b.attach(r)
		for range 3 { // each absence is counted for itself
			s.net.Cut(bubblePort) // neither end is told
			a.await("it notices", a.closed)
			b.await("it notices", b.closed)
			r.eventually("the server notices", func() bool { return r.nodeStatus(a) == stint.NodeAway && r.nodeStatus(b) == stint.NodeAway })
			at(r.seen(a).Add(after - s.between(time.Millisecond, time.Second)))
			a.attach(r)
			b.attach(r)
			if got := r.nodeStatus(a); got != stint.NodeReady {
				t.Errorf("it is back, and %s", got)
			}
		}
		a.work()
		b.work()
		r.awaitStatus(id, stint.Completed)
		a.with(func() {
			for op, times := range a.begun {
				if strings.Contains(op, " 0/") && times != 1 {
					t.Errorf("%s was performed %d times", op, times)
				}
			}
		})
		b.with(func() {
			for op := range b.begun {
				if strings.Contains(op, " 0/") {
					t.Errorf("%s was performed again elsewhere", op)
				}
			}
		})
	})
}

func TestBubbleBeatsKeepAnIdleNodeForHours(t *testing.T) {
	t.Parallel()
	bubbles(t, 1, func(s *site) {
		t := s.t
		r := s.serve(nil)
		n := s.node("a").attach(r)
		at(time.Now().Add(2 * time.Hour))
		n.with(func() {
			if n.closed() {
				t.Errorf("its session has ended: %v", n.why)
			}
		})
		if dialled := s.net.Dialled(bubblePort); r.nodeStatus(n) != stint.NodeReady || len(dialled) != 1 {
			t.Errorf("it is %s and has dialled at %v", r.nodeStatus(n), dialled)
		}
	})
}

func TestBubbleAnErrandThatIsRefusedForAnHourIsTriedLaterAndLaterAndSucceedsAfterwards(t *testing.T) {
	t.Parallel()
	for _, kind := range []stint.ErrandKind{stint.ErrandCommit, stint.ErrandSave, stint.ErrandClear} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			bubbles(t, 2, func(s *site) {
				t := s.t
				r := s.serve(nil)
				n := s.node("a")
				attempts, until := 0, time.Now().Add(time.Hour)
				n.errand = func(e stint.Errand) *stint.ErrandResult {
					if e.Kind != kind {
						return n.honest(e)
					}
					attempts++
					if time.Now().Before(until) {
						return &stint.ErrandResult{ID: e.ID, Error: stint.Errorf(stint.Unavailable, "503 Slow Down")}
					}
					return n.honest(e)
				}
				n.attach(r)
				want := r.endWith(s, n, kind)
				at(until.Add(2 * time.Minute))
				r.awaitStatus(want.id, want.status)
				if attempts < 10 || attempts > 400 {
					t.Errorf("tried %d times within an hour", attempts)
				}
			})
		})
	}
}

// ending is a status that an execution is to come to.
type ending struct {
	id     stint.ExecutionID
	status stint.ExecutionStatus
}

// endWith begins what ends with an errand of a kind.
func (r *running) endWith(s *site, n *node, kind stint.ErrandKind) ending {
	r.t.Helper()
	if kind == stint.ErrandCommit {
		return ending{r.submit(s.numbers(4)), stint.Completed}
	}
	id := r.mapped(s, n, 4)
	if kind == stint.ErrandSave {
		_, err := r.Suspend(r.t.Context(), id, stint.SuspendRequest{})
		check(r.t, err)
		return ending{id, stint.Suspended}
	}
	_, err := r.Terminate(r.t.Context(), id)
	check(r.t, err)
	return ending{id, stint.Terminated}
}

func TestBubbleOperationsThatTheirNodeCannotPerformNowAreNoBusyLoop(t *testing.T) {
	t.Parallel()
	bubbles(t, 3, func(s *site) {
		t := s.t
		r := s.serve(nil)
		n := s.node("a")
		attempts, until := 0, time.Now().Add(10*time.Minute)
		n.refuse = func(stint.Grant) *stint.Error {
			if attempts++; time.Now().Before(until) {
				return stint.Errorf(stint.Unavailable, "503 Slow Down")
			}
			return nil
		}
		n.attach(r)
		id := r.submit(s.numbers(2))
		at(until.Add(2 * time.Minute))
		r.awaitStatus(id, stint.Completed)
		if attempts < 20 || attempts > 300 {
			t.Errorf("granted %d times within ten minutes", attempts)
		}
	})
}

func TestBubbleARecordThatCannotBeWrittenForAnHourIsTriedLaterAndLater(t *testing.T) {
	t.Parallel()
	bubbles(t, 1, func(s *site) {
		t := s.t
		r := s.serve(nil)
		n := s.node("a").attach(r)
		id := r.mapped(s, n, 4)
		check(t, os.WriteFile(s.path("storage", "saved"), nil, 0o600)) // no folder: nothing can be written below it
		_, err := r.Suspend(t.Context(), id, stint.SuspendRequest{})
		check(t, err)
		at(time.Now().Add(time.Hour))
		if doc, err := r.Show(t.Context(), id); err != nil || doc.Status != stint.Suspending {
			t.Errorf("it is %s, %v", doc.Status, err)
		}
		check(t, os.Remove(s.path("storage", "saved")))
		at(time.Now().Add(time.Minute))
		r.awaitStatus(id, stint.Suspended)
	})
}
