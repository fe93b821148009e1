package agent

import (
	"testing"
	"time"

	"stint"
	"stint/internal/link"
	"stint/internal/worker"
)

func TestSeating(t *testing.T) {
	t.Parallel()
	const a, b, c = stint.ExecutionID("a"), stint.ExecutionID("b"), stint.ExecutionID("c")
	busy := func(x stint.ExecutionID, n int) seat { return seat{execution: x, queued: n} }
	rested := func(x stint.ExecutionID, n int) seat { return seat{execution: x, queued: n, rested: true} }
	for _, tc := range []struct {
		name    string
		seats   []seat
		demands []demand
		want    string // per seat: execution, and ! if drained
	}{
		{"all to the only one", make([]seat, 3), []demand{{a, 9, 3}}, "a a a"},
		{"no more than there is to do", make([]seat, 3), []demand{{a, 1, 3}}, "a - -"},
		{"no more than it may", make([]seat, 3), []demand{{a, 9, 2}}, "a a -"},
		{"shared evenly", make([]seat, 4), []demand{{a, 9, 4}, {b, 9, 4}}, "a b a b"},
		{"idle worker stays where it is", []seat{{execution: b}, {execution: a}}, []demand{{a, 9, 2}, {b, 9, 2}}, "b a"},
		{"idle worker of a done execution is replaced", []seat{{execution: b}, busy(a, 1)}, []demand{{a, 9, 2}}, "a a"},
		{"one of two is drained for a newcomer", []seat{busy(a, 5), busy(a, 2)}, []demand{{a, 9, 2}, {b, 1, 2}}, "a a!"},
		{"the free seat goes to the newcomer", []seat{busy(a, 5), {execution: a}}, []demand{{a, 9, 2}, {b, 1, 2}}, "a b"},
		{"an only seat is kept for its quantum", []seat{busy(a, 5)}, []demand{{a, 9, 1}, {b, 1, 1}}, "a"},
		{"and then drained", []seat{rested(a, 5)}, []demand{{a, 9, 1}, {b, 1, 1}}, "a!"},
		{"and handed over", []seat{rested(a, 0)}, []demand{{a, 9, 1}, {b, 1, 1}}, "b"},
		{"an only seat is kept if nobody wants it", []seat{rested(a, 0)}, []demand{{a, 9, 1}}, "a"},
		{"a third of three gets one", []seat{busy(a, 1), busy(a, 2), busy(b, 1)}, []demand{{a, 9, 3}, {b, 9, 3}, {c, 1, 3}}, "a! a b"},
		{"two more is too many", []seat{busy(a, 1), busy(a, 1), busy(a, 1), busy(b, 1)}, []demand{{a, 9, 4}, {b, 9, 4}}, "a! a a b"},
		{"one more is not", []seat{busy(a, 1), busy(a, 1), busy(b, 1)}, []demand{{a, 9, 3}, {b, 9, 3}}, "a a b"},
		{"busy seats are left where nothing waits", []seat{busy(a, 1), busy(b, 1)}, nil, "a b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			for i, s := range seating(tc.seats, tc.demands) {
				if i > 0 {
					got += " "
				}
				if s.execution == "" {
					s.execution = "-"
				}
				got += string(s.execution)
				if s.drain {
					got += "!"
				}
			}
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestPaceGrowsForShortOperationsAndStaysAtOneForLongOnes(t *testing.T) {
	t.Parallel()
	run := func(each time.Duration, rounds int) int {
		var p pace
		now := time.Unix(0, 0)
		p.begin(0, now)
		for range rounds {
			n := p.depth
			now = now.Add(time.Duration(n) * each)
			p.ended(n, now)
		}
		return p.depth
	}
	for _, c := range []struct {
		each time.Duration
		want int
	}{
		{time.Microsecond, maxDepth},
		{time.Millisecond, 61},
		{40 * time.Millisecond, 2},
		{time.Second, 1},
	} {
		if got := run(c.each, 20); got != c.want {
			t.Errorf("operations of %v: depth %d, want %d", c.each, got, c.want)
		}
	}
	if got := run(time.Microsecond, 2); got > 7 {
		t.Errorf("depth %d after two measurements: it grows step by step", got)
	}
}

// What a worker was handed because operations were short comes back when one of
// them is not.
func TestWhatWaitsBehindALongOperationIsCalledBack(t *testing.T) {
	t.Parallel()
	start := time.Now()
	l := seatedLoop(t, map[stint.ExecutionID]stint.Resources{execX: {}}, execX)
	s := l.slots[0]
	s.pace = pace{depth: 5, each: 10 * time.Millisecond}
	if got := l.inHand(start)[0]; got != 5 {
		t.Fatalf("%d operations in hand", got)
	}
	<-s.process.orders
	l.recall(start.Add(longAfter - 1))
	if len(s.process.orders) != 0 {
		t.Fatal("called back while they may be short")
	}
	l.recall(start.Add(longAfter))
	l.recall(start.Add(2 * longAfter))
	if b := <-s.process.orders; b.stop == nil || *b.stop != (worker.Stop{Job: 1, Waiting: true}) || len(s.process.orders) != 0 {
		t.Errorf("the worker was told %+v, and %d more", b.stop, len(s.process.orders))
	}
	g := grant(execX, 1, 0, 100)
	l.ledger.Accept(g)
	l.ledger.Next(execX, 5)
	l.dropped(s, execX, []stint.Returned{{Job: 1, Ops: []stint.Range{ops(1, 5)}}})
	if got := l.inHand(start.Add(longAfter))[0]; got != 1 {
		t.Errorf("%d operations in hand: nothing is to wait behind a long one", got)
	}
	if n := l.ledger.WaitingIn(execX, 1); n != 99 {
		t.Errorf("%d operations wait, not all that have not begun", n)
	}
}

func TestReportsWaitWhileTheSlotsHaveEnoughToDo(t *testing.T) {
	t.Parallel()
	l := newTestLoop(t, grant(execX, 1, 0, 2))
	e := l.execution(execX)
	out := make(chan link.AgentMessage, 8)
	l.session.out = out
	start := time.Now()
	reports := func(op uint32, at time.Duration) int {
		l.ledger.Begun(execX, stint.Begun{Job: 1, Ops: stint.Range{From: op, To: op + 1}})
		l.tell(start.Add(at))
		return len(out)
	}
	l.ledger.Next(execX, 1)
	if n := reports(0, 0); n != 1 {
		t.Errorf("%d reports: the first is due at once", n)
	}
	l.ledger.Fail(execX, stint.Failure{Job: 1, Op: 0, Error: stint.Errorf(stint.Failed, "x")})
	if next := l.tell(start.Add(reportEvery)); len(out) != 1 || next != reportBusy-reportEvery {
		t.Errorf("%d reports and %s to go: an operation waits here", len(out), next)
	}
	if l.tell(start.Add(reportBusy)); len(out) != 2 {
		t.Errorf("%d reports after %s", len(out), reportBusy)
	}
	l.ledger.Next(execX, 1)
	if n := reports(1, reportBusy+reportEvery); n != 3 || l.waiting(e) != 0 {
		t.Errorf("%d reports: nothing waits here any more", n)
	}
	l.ledger.Acked(execX, 3, l.ledger.incarnation)
	l.ledger.Fail(execX, stint.Failure{Job: 1, Op: 1, Error: stint.Errorf(stint.Failed, "x")})
	if l.tell(start.Add(reportBusy + reportEvery)); len(out) != 4 {
		t.Errorf("%d reports: all before are acknowledged", len(out))
	}
}
