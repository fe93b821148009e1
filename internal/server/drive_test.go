package server

import (
	"testing"
	"time"

	"stint"
	"stint/internal/coord"
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

func TestANodeThatIsBackIsNotSaidToBeGone(t *testing.T) {
	t.Parallel()
	s := &Server{}
	s.Ready()
	d := newDrive(s, "x-1")
	gone := &coord.Event{Gone: &coord.Gone{Node: "n-1"}}
	if d.outdated(gone) {
		t.Error("a node that never came is there")
	}
	session := &link.Session{}
	if _, err := s.fleet.attach(stint.Node{ID: "n-1", Status: stint.NodeReady, Incarnation: 1}, session); err != nil {
		t.Fatal(err)
	}
	if !d.outdated(gone) {
		t.Error("a node that has a session is gone")
	}
	s.fleet.detach("n-1", session, time.Now())
	if d.outdated(gone) {
		t.Error("a node without a session is there")
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
