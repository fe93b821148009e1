package server

import (
	"testing"

	"stint"
	"stint/internal/sched"
)

func TestAStageThatFitsOnNoNodeSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	const gib = int64(1) << 30
	two := []sched.Node{{Slots: 4, Memory: 128 * gib}, {Slots: 16, Memory: 32 * gib}}
	for _, c := range []struct {
		takes stint.Resources
		nodes []sched.Node
		want  string
	}{
		{stint.Resources{}, two, ""},
		{stint.Resources{Memory: 128 * gib, Slots: 4}, two, ""},
		{stint.Resources{Memory: 512 * gib}, two, "cannot_place: stage sort needs 512 GiB; largest node 128 GiB"},
		{stint.Resources{Memory: 128*gib + gib/2}, two, "cannot_place: stage sort needs 128.5 GiB; largest node 128 GiB"},
		{stint.Resources{Slots: 17}, two, "cannot_place: stage sort needs 17 slots; largest node 16"},
		{stint.Resources{Memory: 64 * gib, Slots: 8}, two, "cannot_place: stage sort needs 64 GiB and 8 slots; no node has both"},
		{stint.Resources{Memory: 512 * gib}, nil, ""},
		{stint.Resources{Memory: 512 * gib}, []sched.Node{{Slots: 1}}, ""}, // its memory is not known
	} {
		if got := unplaceable(&stint.Stage{Name: "sort", Resources: c.takes}, c.nodes); got != c.want {
			t.Errorf("%+v: %q, want %q", c.takes, got, c.want)
		}
	}
}
