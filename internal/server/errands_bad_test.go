package server_test

import (
	"sync"
	"testing"
	"time"

	"stint"
	"stint/internal/server"
)

func TestAnErrandThatANodeNeverAnswersIsGivenToAnother(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(func(sv *server.Server) { sv.AskAfter = time.Millisecond })
	a, b := s.node("a"), s.node("b")
	asked, given := make(chan stint.Errand, 1), make(chan stint.Errand, 1)
	var first, second sync.Once
	a.errand = func(e stint.Errand) *stint.ErrandResult { first.Do(func() { asked <- e }); return nil }
	b.errand = func(e stint.Errand) *stint.ErrandResult {
		second.Do(func() { given <- e })
		return b.honest(e)
	}
	a.attach(r)
	answer := make(chan error, 1)
	go func() {
		_, err := r.Submit(t.Context(), s.numbers(5))
		answer <- err
	}()
	e := <-asked
	b.attach(r)
	if got := <-given; got.ID != e.ID || got.Kind != e.Kind {
		t.Errorf("the other node was given %s %s, the first %s %s", got.Kind, got.ID, e.Kind, e.ID)
	}
	check(t, <-answer)
}
