package server_test

import (
	"os"
	"sync"
	"testing"

	"stint"
)

func TestASubmissionThatItsServerDiesOfLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a")
	probed := make(chan struct{})
	var once sync.Once
	n.errand = func(e stint.Errand) *stint.ErrandResult {
		if e.Kind != stint.ErrandProbe {
			return n.honest(e)
		}
		n.honest(e)
		once.Do(func() { close(probed) })
		return nil // nobody hears of it
	}
	n.attach(r)
	submitted := make(chan error, 1)
	go func() {
		_, err := r.Submit(t.Context(), s.numbers(5))
		submitted <- err
	}()
	<-probed
	r.stop()
	n.detach()
	if err := <-submitted; err == nil {
		t.Error("accepted")
	}
	if _, err := os.Stat(s.path("out-5")); err != nil {
		t.Fatalf("the probe has left nothing: %v", err)
	}
	n.with(func() { n.errand = nil })
	r = s.serve(nil)
	n.attach(r)
	r.eventually("an output location that is free of it", func() bool {
		_, err := os.Stat(s.path("out-5"))
		return os.IsNotExist(err)
	})
	lock := s.meddle()
	r.eventually("a record without it", func() bool {
		var drafts int
		check(t, lock.QueryRowContext(t.Context(), "SELECT count(*) FROM drafts").Scan(&drafts))
		return drafts == 0
	})
	check(t, lock.Close())
	r.awaitStatus(r.submit(s.numbers(5)), stint.Completed)
}
