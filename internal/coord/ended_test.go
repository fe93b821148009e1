package coord

import (
	"strings"
	"testing"

	"stint"
)

func TestWhatHasEndedElsewhereEndsHere(t *testing.T) {
	t.Parallel()
	for _, status := range []stint.ExecutionStatus{stint.Completed, stint.Terminated, stint.ExecutionFailed} {
		for _, suspended := range []bool{false, true} {
			s := &script{t: t, now: 1000}
			for _, line := range [][]string{
				{"execution", "map=2", "reduce=1"},
				{"begin"},
				{"attach", "n1"},
				{"assign", "n1", "map", "2"},
				{"report", "n1", "begun=1:0-1", "done=1:0-1"},
			} {
				s.command(line[0], line[1:])
			}
			ended := Event{At: 2000, Ended: &stint.Ended{Status: status, Address: "there", Output: "file:///out", Parts: 1, Bytes: 7}}
			if s.state.Refusal(ended) == nil {
				t.Error("what is in progress here ends elsewhere")
			}
			s.command("suspend", nil)
			if suspended {
				s.command("saved", []string{"n1"})
				s.command("result", []string{"record"})
			}
			d := s.state.Step(ended)
			doc := s.state.Document(2000)
			if !s.state.Settled() || doc.Status != status || len(d.Errands) > 0 || len(d.Messages) == 0 || doc.Saved.Operations > 0 {
				t.Errorf("%s: %+v, %+v", status, d, doc)
			}
			if failed := status == stint.ExecutionFailed; failed != (doc.Error != nil) || failed && !strings.Contains(doc.Error.Message, "there") {
				t.Errorf("%s: error %v", status, doc.Error)
			}
			if status == stint.Completed && (doc.Output.Bytes != 7 || doc.Output.Parts != 1) {
				t.Errorf("output %+v", doc.Output)
			}
			if s.state.Refusal(ended) == nil {
				t.Error("it ends twice")
			}
		}
	}
}

func TestCommitAndClearSayWhatTheyEnd(t *testing.T) {
	t.Parallel()
	s := &script{t: t, now: 1000}
	s.command("execution", []string{"map=1"})
	s.request.Keep = 0
	s.state.request.Keep = 77
	s.command("begin", nil)
	s.command("attach", []string{"n1"})
	if e := s.state.Step(Event{At: 1000, Terminate: true}).Errands[0].Errand; e.Ended != stint.Terminated || e.Keep != 77 {
		t.Errorf("clear: %+v", e)
	}
}

func TestWhenEveryNodeIsDrainedItIsSaidWhatToDo(t *testing.T) {
	t.Parallel()
	s := &script{t: t, now: 1000}
	s.command("execution", []string{"map=1"})
	s.command("begin", nil)
	s.command("attach", []string{"n1"})
	s.state.Step(Event{At: 1000, Drain: &DrainAsk{Node: "n1"}})
	if got := s.state.Document(1000).Waiting; !strings.Contains(got, "drain --undo") {
		t.Errorf("waiting %q", got)
	}
}
