package coord

import (
	"slices"
	"strings"
	"testing"

	"stint"
)

// imbalances are what an explanation finds of that kind, by stage.
func imbalances(s *State) (out []string) {
	for _, f := range s.Explain(9000).Findings {
		if f.Kind == stint.FoundImbalance {
			out = append(out, f.Stage+": "+f.Text)
		}
	}
	return out
}

// What was taken over was read and made elsewhere, and is not in the sums.
func TestWhatWasTakenOverIsNoImbalance(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(1, 2, 3)), ranges(0, 3), ranges(0, 2))
	s, _ := Adopt(old, of.plan(t, another, files(1, 2, 3)), of.req, 2, 9000, everything(old), nil)
	if got := imbalances(s); got != nil {
		t.Errorf("found %q", got)
	}
	own := of.performing(t, of.plan(t, earlier, files(1, 2, 3)), ranges(0, 3), nil)
	rebased, _ := Adopt(own, of.plan(t, earlier, files(1, 2)), of.req, 2, 9000, Kept{}, nil)
	for k := range rebased.stages {
		for n, o := range rebased.stages[k].ops {
			if o.state == pending {
				completeOp(rebased, k, uint32(n))
			}
		}
	}
	if got := imbalances(rebased); got != nil {
		t.Errorf("found of an execution whose input has changed: %q", got)
	}
}

// A native operator that takes a sample reads what it wants to; of a command it is
// worth saying.
func TestACommandThatDoesNotReadAllItsInputIsAnImbalance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		action stint.Action
		want   []string
	}{
		{stint.Action{Native: "sample"}, nil},
		{stint.Action{Command: []string{"head"}}, []string{"map: it read 0 records, and 20 bytes of 60 that input left"}},
	} {
		of := copying()
		of.req.Program.Stages[0].Action = c.action
		l := files(1, 2)
		l.Objects[0].Size, l.Objects[1].Size = 30, 30
		s := of.performing(t, of.plan(t, earlier, l), ranges(0, 2), nil)
		if got := imbalances(s); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.action, got, c.want)
		}
	}
	if text := strings.Join(imbalances(reducing().performing(t, reducing().plan(t, earlier, files(1)), ranges(0, 1), ranges(0, 2))), " "); !strings.HasPrefix(text, "reduce: it read 0 records of 0 and 20 bytes of 0 that map left") {
		t.Errorf("%q", text)
	}
}
