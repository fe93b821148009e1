package server_test

import (
	"strings"
	"testing"

	"stint"
)

func TestAnExecutionThatFitsOnNoNodeSaysSoAndGoesOnWhenOneComes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	small := s.node("small")
	small.hello.Slots, small.hello.Memory = 2, 4<<30
	small.attach(r)
	req := s.numbers(3)
	req.Program.Stages[0].Resources = stint.Resources{Memory: 16 << 30}
	if _, err := r.Submit(t.Context(), req); stint.CodeOf(err) != stint.Conflict || !strings.HasPrefix(err.Error(), "cannot_place: stage "+req.Program.Stages[0].Name+" needs 16 GiB; largest node 4 GiB") {
		t.Fatal(err)
	}
	if _, err := r.Plan(t.Context(), req); stint.CodeOf(err) != stint.Conflict {
		t.Error(err)
	}
	large := s.node("large").idle()
	large.hello.Slots, large.hello.Memory = 4, 16<<30
	large.attach(r)
	id := r.submit(req)
	large.await("operations", func() bool { return large.granted(id) > 0 })
	if n := small.granted(id); n > 0 {
		t.Errorf("%d operations were granted to a node that is too small", n)
	}
	large.detach()
	r.eventually("its removal", func() bool { return r.RemoveNode(t.Context(), large.id()) == nil })
	r.eventually("the reason", func() bool {
		x, err := r.Show(t.Context(), id)
		check(t, err)
		return strings.Contains(x.Waiting, "needs 16 GiB; largest node 4 GiB")
	})
	other := s.node("other")
	other.hello.Slots, other.hello.Memory = 4, 32<<30
	other.attach(r)
	r.awaitStatus(id, stint.Completed)
}

// What a stage takes because of its program's type counts as what it says itself.
func TestAnExecutionOfATypeThatFitsOnNoNodeIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("small")
	n.hello.Memory = 512 << 20
	n.attach(r)
	req := s.numbers(3)
	req.Program.Type = stint.Learning
	if _, err := r.Submit(t.Context(), req); stint.CodeOf(err) != stint.Conflict || !strings.Contains(err.Error(), "needs 1 GiB; largest node 512 MiB") {
		t.Fatal(err)
	}
	req.Program.Stages[0].Resources.Memory = 256 << 20
	r.awaitStatus(r.submit(req), stint.Completed)
}
