package server

import (
	"testing"
	"time"

	"stint"
	"stint/internal/link"
)

func TestADriveThatEndsUnsettledStaysKnownAndRefuses(t *testing.T) {
	t.Parallel()
	for over, want := range map[bool]stint.Code{true: stint.NotFound, false: stint.Unavailable} {
		s := &Server{}
		s.Ready()
		d := newDrive(s, "x-1")
		s.fleet.add(d)
		refused := make(chan error, 1)
		if err := d.post(t.Context(), input{released: func(err error) { refused <- err }}); err != nil {
			t.Fatal(err)
		}
		d.over = over
		s.retire(d)
		if known := s.fleet.drive(d.id) != nil; known == over {
			t.Errorf("over %v: known %v; nodes forget what is not known", over, known)
		}
		if err := <-refused; stint.CodeOf(err) != want {
			t.Errorf("over %v: what waited: %v, want %s", over, err, want)
		}
		if err := d.post(t.Context(), input{}); stint.CodeOf(err) != want {
			t.Errorf("over %v: what comes later: %v, want %s", over, err, want)
		}
	}
}

// What is said of a node names the session it is about, so that the state
// machines can tell a late word from news.
func TestWhatIsSaidOfANodeNamesItsSession(t *testing.T) {
	t.Parallel()
	var f fleet
	f.init(time.Second, time.Minute)
	first, second := &link.Session{}, &link.Session{}
	doc := stint.Node{ID: "n-1", Status: stint.NodeReady, Incarnation: 1}
	start := time.Unix(1000, 0)
	a, _, err := f.attach(doc, first)
	if err != nil {
		t.Fatal(err)
	}
	f.detach("n-1", first, start)
	gone := f.silent(start.Add(time.Second))
	if len(gone) != 1 || gone[0].session != a.session || a.event(stint.Holding{}).Attach.Session != a.session {
		t.Fatal(gone, a)
	}
	b, _, err := f.attach(doc, second)
	if err != nil {
		t.Fatal(err)
	}
	if late := gone[0].event().Gone; b.session <= late.Session {
		t.Errorf("session %d began after the node was gone since session %d", b.session, late.Session)
	}
	if gone := f.silent(start.Add(time.Hour)); len(gone) != 0 {
		t.Errorf("%v is gone and has a session", gone)
	}
}

func TestALostNodeIsDeclaredOnceAndASilentOneInEveryRound(t *testing.T) {
	t.Parallel()
	var f fleet
	f.init(time.Second, time.Minute)
	start := time.Unix(1000, 0)
	f.remember([]stint.Node{{ID: "n-1", Status: stint.NodeReady}, {ID: "n-2", Status: stint.NodeLost}}, start)
	for _, c := range []struct {
		after time.Duration
		want  []goneNode
	}{
		{0, nil},
		{time.Second, []goneNode{{id: "n-1"}}},
		{2 * time.Second, []goneNode{{id: "n-1"}}},
		{time.Minute, []goneNode{{id: "n-1", lost: true}}},
		{2 * time.Minute, nil},
	} {
		got := f.silent(start.Add(c.after))
		if len(got) != len(c.want) || len(got) > 0 && got[0] != c.want[0] {
			t.Errorf("after %v: %v, want %v", c.after, got, c.want)
		}
	}
	if lost := f.lost(); len(lost) != 2 {
		t.Errorf("lost %v: drives that begin are told of both", lost)
	}
}
