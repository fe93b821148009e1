package server_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/plan"
)

func TestWhatWasAskedForCanBeAskedForAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	s.node("a").attach(r)
	named := s.numbers(3)
	named.Key, named.Name = "once", "mine"
	unnamed := s.numbers(3)
	unnamed.Output = ""
	for _, req := range []stint.Request{named, unnamed} {
		id := r.submit(req)
		again, err := r.Request(t.Context(), id)
		check(t, err)
		want := req
		want.Key, want.Attempts = "", plan.TemplateOf(req.Program.Type).Attempts // what the program and its type fill in is in it
		if d := cmp.Diff(want, again); d != "" {
			t.Error(d)
		}
		again.Overwrite = true
		r.awaitStatus(id, stint.Completed)
		if other := r.submit(again); other == id {
			t.Errorf("%s again", id)
		}
	}
	if _, err := r.Request(t.Context(), "x-zzzzzzzzzzzzzzzz"); stint.CodeOf(err) != stint.NotFound {
		t.Error(err)
	}
}
