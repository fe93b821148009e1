package coord

import (
	"testing"

	"stint"
)

// TestTheHomeOfSavedStateGoesAlong follows the storage of an execution that came
// from elsewhere into all that is said of it.
func TestTheHomeOfSavedStateGoesAlong(t *testing.T) {
	t.Parallel()
	const home = "file:///elsewhere"
	s := &script{t: t, now: 1000}
	for _, line := range [][]string{
		{"execution", "map=2", "reduce=1"},
		{"begin"},
		{"attach", "n1"},
		{"assign", "n1", "map", "2"},
		{"report", "n1", "begun=1:0-1", "done=1:0"},
	} {
		s.command(line[0], line[1:])
	}
	s.state.SetHome(home)
	s.state = restored(t, s.state, s.plan, s.request)
	if got := s.state.Home(); got != home {
		t.Fatalf("home is %q when it was kept", got)
	}
	s.command("attach", []string{"n1", "jobs=1"})
	check := func(what string, d Delta) {
		t.Helper()
		told := false
		for _, m := range d.Messages {
			if m.Suspend != nil {
				told = m.Suspend.Storage == home
			}
		}
		for _, e := range d.Errands {
			told = e.Errand.Storage == home
		}
		if !told {
			t.Errorf("%s: storage is not said in %+v", what, d)
		}
	}
	check("suspend", s.state.Step(Event{At: 1000, Suspend: &SuspendAsk{}}))
	d := s.state.Step(Event{At: 1000, Report: &stint.Report{Node: "n1", Incarnation: 1, Seq: 2, Interrupted: []stint.Interrupted{{Job: 1, Op: 1}}}})
	check("save", d)
	e := d.Errands[0].Errand
	check("record", s.state.Step(Event{At: 1000, Result: &stint.ErrandResult{ID: e.ID, Packs: []stint.Pack{{Key: "k", Ops: e.Ops}}}}))
	if got := s.state.sourcesOf(0).list; len(got) != 2 || got[1].Storage != home {
		t.Errorf("sources %+v", got)
	}
	check("clear", s.state.Step(Event{At: 1000, Terminate: true}))
	if got := s.state.Document(1000).Saved; got.Location != home || got.Operations != 1 {
		t.Errorf("saved %+v", got)
	}
}

func TestWhatAResumeAllowsHoldsForItsStint(t *testing.T) {
	t.Parallel()
	s := &script{t: t, now: 1000}
	s.command("execution", []string{"map=2", "reduce=1", "nodes=7"})
	s.command("begin", nil)
	suspend := func() {
		s.command("suspend", nil)
		s.command("result", []string{"record"})
	}
	suspend()
	s.command("resume", []string{"gen=2", "nodes=3", "slots=4"})
	if got, d := s.state.Spec().Slots, s.state.Demands(1000); got != 4 || d[0].MaxNodes != 3 {
		t.Errorf("%d slots, demand %+v", got, d)
	}
	suspend()
	s.command("resume", []string{"gen=3"})
	if got, d := s.state.Spec().Slots, s.state.Demands(1000); got != 0 || d[0].MaxNodes != 7 {
		t.Errorf("%d slots, demand %+v", got, d)
	}
	s.command("suspend", nil)
	s.command("schedule", []string{"5000"})
	s.command("resume", []string{"nodes=2", "slots=5"})
	if got, d := s.state.Spec().Slots, s.state.Demands(1000); got != 5 || d[0].MaxNodes != 2 || s.state.ResumeAt() != 0 {
		t.Errorf("a suspend taken back: %d slots, demand %+v, resumes at %d", got, d, s.state.ResumeAt())
	}
}
