package server

import (
	"testing"
	"time"

	"stint"
)

func TestAResumeThatIsNotPossibleAtItsTimeIsTriedLaterAndLater(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	p := published{status: stint.Suspended}
	p.due.At = at.UnixMilli()
	refused := stint.Errorf(stint.Unavailable, "no node is ready")
	doc := stint.Execution{Status: stint.Suspended, ResumeAt: &at}
	for _, c := range []struct {
		after time.Duration
		due   bool
	}{
		{-time.Second, false},
		{0, true},
		{500 * time.Millisecond, false},
		{time.Second, true},
		{2 * time.Second, false},
		{3 * time.Second, true},
		{6 * time.Second, false},
		{7 * time.Second, true},
		{20 * time.Minute, true},
	} {
		now := at.Add(c.after)
		if _, got := p.take(now); got != c.due {
			t.Fatalf("after %v: due %v, want %v", c.after, got, c.due)
		}
		if !c.due {
			continue
		}
		if _, twice := p.take(now.Add(time.Hour)); twice {
			t.Fatalf("after %v: taken twice at once", c.after)
		}
		p.tried(refused, now)
		if w := p.explain(doc).Waiting; w == "" {
			t.Errorf("after %v: nobody says why it waits", c.after)
		}
	}
	if p.due.next.Sub(at.Add(20*time.Minute)) > mostRetry {
		t.Errorf("tried again at %v", p.due.next)
	}
	later := at.Add(time.Hour)
	p.due.At, p.due.Nodes = later.UnixMilli(), 3
	doc.ResumeAt = &later
	if w := p.explain(doc).Waiting; w != "" {
		t.Errorf("another time was set, and it still says %q", w)
	}
	if ask, due := p.take(later); !due || ask.Nodes != 3 {
		t.Errorf("another time was set, and then due is %v, and what was asked for %+v", due, ask)
	}
}

func TestOnlyASuspendedExecutionIsDue(t *testing.T) {
	t.Parallel()
	for _, status := range stint.ExecutionStatuses() {
		p := published{status: status}
		p.due.At = 1
		if _, due := p.take(time.Unix(5, 0)); due != (status == stint.Suspended) {
			t.Errorf("%s: due %v", status, due)
		}
		p.due.At, p.due.busy = 0, false
		if _, due := p.take(time.Unix(5, 0)); due {
			t.Errorf("%s: due although no time was set", status)
		}
	}
}
