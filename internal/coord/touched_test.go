package coord

import (
	"slices"
	"strings"
	"testing"

	"stint"
	"stint/internal/plan"
)

// touch gives objects of a listing another version.
func touch(l stint.Listing, objects ...int) stint.Listing {
	for _, i := range objects {
		l.Objects[i].Version += "'"
	}
	return l
}

func TestInputIsTouchedIfAllThatReadItFindTheSameBytes(t *testing.T) {
	t.Parallel()
	small, big := reducing(), copying()
	packed := reducing()
	packed.choice.Exact = false
	three := func() stint.Listing { return files(1, 2, 3) }
	twoBig := func() stint.Listing { return large(files(1, 2)) } // two operations each
	longer := touch(three(), 0, 1)
	longer.Objects[1].Size++
	for _, c := range []struct {
		rule      string
		of        adoptable
		was, now  stint.Listing
		completed []stint.Range
		forget    []uint32 // operations whose sums are not known
		different []int    // of those compared
		want      string   // which are compared; which objects are equal
	}{
		{"nothing", small, three(), three(), ranges(0, 3), nil, nil, "; "},
		{"all", small, three(), touch(three(), 0, 1, 2), ranges(0, 3), nil, nil, "0 1 2; 1 2 3"},
		{"one is different", small, three(), touch(three(), 0, 1, 2), ranges(0, 3), nil, []int{1}, "0 1 2; 1 3"},
		{"only what has another version is asked about", small, three(), touch(three(), 1), ranges(0, 3), nil, nil, "1; 2"},
		{"only what has the same size", small, three(), longer, ranges(0, 3), nil, nil, "0; 1"},
		{"others come and go", small, three(), touch(files(0, 2, 4), 1), ranges(0, 3), nil, nil, "1; 2"},
		{"one was not read", small, three(), touch(three(), 0, 1, 2), ranges(0, 1, 2, 3), nil, nil, "0 2; 1 3"},
		{"one was not read to its end", small, three(), touch(three(), 0, 1, 2), ranges(0, 3), []uint32{2}, nil, "0 1; 1 2"},
		{"half of one was not read: the rest need not be", big, twoBig(), touch(twoBig(), 0, 1), ranges(0, 1, 2, 4), nil, nil, "2 3; 2"},
		{"half of one is different", big, twoBig(), touch(twoBig(), 0, 1), ranges(0, 4), nil, []int{0}, "0 1 2 3; 2"},
		{"those read together are equal together", packed, three(), touch(three(), 0, 2), ranges(0, 1), nil, nil, "0; 1 3"},
		{"or not", packed, three(), touch(three(), 0, 2), ranges(0, 1), nil, []int{0}, "0; "},
		{"one of them is gone", packed, three(), touch(files(1, 3), 0), ranges(0, 1), nil, nil, "; "},
	} {
		old := c.of.performing(t, c.of.plan(t, earlier, c.was), c.completed, nil)
		for _, n := range c.forget {
			old.stages[0].inputSums[n] = 0
		}
		now := c.of.plan(t, another, c.now)
		touched := old.Touched(now)
		if got := outcome(touched, c.now, c.different); got != c.want {
			t.Errorf("%s: compared; equal: %q, want %q", c.rule, got, c.want)
		}
		for i := range touched.Len() {
			subset, sum := touched.Compare(i)
			if n := touched.ops[i].op; sum != 100+uint64(n) || subset.Bytes() != old.plan.Subset(0, n).Bytes() {
				t.Errorf("%s: of operation %d: %+v with sum %d", c.rule, n, subset, sum)
			}
			for _, p := range subset.Pieces {
				if !slices.Contains(c.now.Objects, p.Object) {
					t.Errorf("%s: %+v is not what is there now", c.rule, p.Object)
				}
			}
		}
	}
}

// outcome says which operations are compared, and what is equal then.
func outcome(touched *Touched, now stint.Listing, different []int) string {
	var ops, equal []string
	for _, n := range touched.ops {
		ops = append(ops, string('0'+rune(n.op)))
	}
	for _, i := range different {
		touched.Different(i)
	}
	content := touched.Content()
	for _, o := range now.Objects {
		if content(stint.Object{}, o) {
			equal = append(equal, o.URL[len(o.URL)-1:])
		}
	}
	return strings.Join(ops, " ") + "; " + strings.Join(equal, " ")
}

func TestNothingIsComparedForAnotherProgram(t *testing.T) {
	t.Parallel()
	of, other := reducing(), reducing()
	other.req.Params = map[string]string{"p": "q"}
	old := of.performing(t, of.plan(t, earlier, files(1)), ranges(0, 1), nil)
	if n := old.Touched(other.plan(t, another, touch(files(1), 0))).Len(); n != 0 {
		t.Errorf("%d operations are compared", n)
	}
	numbers := of.performing(t, of.plan(t, earlier, stint.Listing{Range: &stint.Values{Count: 3}}), nil, nil)
	if n := numbers.Touched(numbers.plan).Len(); n != 0 {
		t.Errorf("%d operations over numbers are compared", n)
	}
}

func TestWhatAnOperationReadThatIsToBePerformedAgainIsNotKnown(t *testing.T) {
	t.Parallel()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(1, 2)), ranges(0, 2), nil)
	old.Apply(Record{At: 5000, Gone: &Gone{Node: "n-a", Lost: true}})
	now := touch(files(1, 2), 0, 1)
	if got := outcome(old.Touched(of.plan(t, another, now)), now, nil); got != "1; 2" {
		t.Errorf("compared; equal: %q", got)
	}
}

func TestEmptyObjectsAreEqual(t *testing.T) {
	t.Parallel()
	empty := files(1, 2)
	empty.Objects[0].Size = 0
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, empty), nil, nil)
	now := stint.Listing{Objects: append([]stint.Object(nil), empty.Objects...)}
	if got := outcome(old.Touched(of.plan(t, another, touch(now, 0))), now, nil); got != "; 1" {
		t.Errorf("compared; equal: %q", got)
	}
}

// A lost pack loses what is in it, whatever that is called by now.
func TestAPackIsLostByItsName(t *testing.T) {
	t.Parallel()
	of := reducing()
	first := of.performing(t, of.plan(t, earlier, files(10, 20, 30, 40)), ranges(0, 4), nil)
	save(first, "p1", ranges(0, 2))
	save(first, "p2", ranges(2, 4))
	s, _ := Adopt(first, of.plan(t, earlier, files(5, 10, 20, 30, 40)), of.req, 2, 9000, Kept{}, nil)
	bad := &BadRecord{Copies: []stint.BadCopy{{Pack: "p1"}, {Pack: "none"}, {Pack: "p2", Stage: 7}}}
	for range 2 { // also when it is said again
		s.Apply(Record{At: 9000, Bad: bad})
		checkInvariants(t, s)
		if d := difference(ranges(3, 5), doneOps(s, 0)); d != "" || len(s.stages[0].packs) != 1 {
			t.Errorf("with packs %v, completed (-want +got):\n%s", s.stages[0].packs, d)
		}
	}
}

// performed is what node n-a tells of an operation of the first stage.
func performed(job stint.JobID, seq uint64, n uint32) *stint.Report {
	return &stint.Report{Node: "n-a", Incarnation: 3, Seq: seq, Done: []stint.Done{{Job: job, Ops: []stint.OpDone{{Op: n}}}}}
}

// changed makes an execution in progress whose input has changed since node n-a
// performed operations of it: number 0 was added.
func changed(t *testing.T) (*State, *plan.Plan, adoptable) {
	t.Helper()
	of := reducing()
	old := of.performing(t, of.plan(t, earlier, files(1, 2, 3)), ranges(0, 2), nil)
	save(old, "p1", ranges(0, 2))
	old.Apply(Record{At: 5000, Status: &StatusRecord{Status: stint.Suspended}})
	p := of.plan(t, earlier, files(0, 1, 2, 3))
	s, _ := Adopt(old, p, of.req, 2, 9000, Kept{}, nil)
	s.Step(Event{At: 9000, Resume: &ResumeAsk{Generation: s.Generation() + 1}})
	return s, p, of
}

func attachWith(s *State, incarnation stint.Incarnation, session uint64, h stint.Holding) Delta {
	return s.Step(Event{At: 9000, Attach: &Attach{Node: stint.Node{ID: "n-a", Name: "n-a", Slots: 2, Incarnation: incarnation}, Holding: h, Session: session}})
}

func forgets(d Delta) bool {
	return len(d.Messages) > 0 && d.Messages[0].Forget != nil && d.Messages[0].Forget.Keep == 0
}

func TestWhatANodeHasFromBeforeTheInputChangedIsForgotten(t *testing.T) {
	t.Parallel()
	s, p, of := changed(t)
	holds := stint.Holding{Execution: earlier, Completed: []stint.StageOps{{Ops: ranges(0, 1, 3, 4)}}, Copies: []stint.StageOps{{Ops: ranges(1, 2)}}, LastSeq: 50}
	completed := ranges(1, 3)
	check := func(when string) {
		t.Helper()
		checkInvariants(t, s)
		if d := difference(completed, doneOps(s, 0)); d != "" || s.out > 0 {
			t.Errorf("%s: %d operations are out, completed (-want +got):\n%s", when, s.out, d)
		}
		if d := difference(map[uint32]string{1: "p1 x-aaaaaaaaaaaaaaaa 0/0", 2: "p1 x-aaaaaaaaaaaaaaaa 0/1"}, found(s)); d != "" {
			t.Errorf("%s: output can be had (-want +got):\n%s", when, d)
		}
	}
	if !forgets(attachWith(s, 3, 1, holds)) {
		t.Error("it is not told to forget")
	}
	check("when it has come")
	s.Step(Event{At: 9000, Report: performed(1, 51, 0)}) // of a job it had then
	check("when it has told what it performed then")
	s.Step(Event{At: 9000, Assign: &Assign{Node: "n-a", Incarnation: 3, Count: 1}})
	if !forgets(attachWith(s, 3, 2, stint.Holding{Execution: earlier, Jobs: []stint.JobID{s.lastJob}, LastSeq: 51})) {
		t.Error("it is not told again, though it may not have heard it")
	}
	check("when it has come again")
	s = restored(t, s, p, of.req)
	s.Resume(9000)
	if !forgets(attachWith(s, 4, 1, holds)) {
		t.Error("with another server and another process: it is not told to forget")
	}
	check("in another incarnation")
}

func TestANodeThatSpeaksOfANewJobIsBelieved(t *testing.T) {
	t.Parallel()
	s, _, _ := changed(t)
	attachWith(s, 3, 1, stint.Holding{Execution: earlier})
	s.Step(Event{At: 9000, Assign: &Assign{Node: "n-a", Incarnation: 3, Count: 1}})
	r := performed(s.lastJob, 7, 0)
	s.Step(Event{At: 9000, Report: r})
	if d := attachWith(s, 4, 2, stint.Holding{Execution: earlier, Completed: []stint.StageOps{{Ops: ranges(0, 1)}}}); forgets(d) {
		t.Error("it is told to forget what it has performed since")
	}
	checkInvariants(t, s)
	if d := difference(ranges(0, 3), doneOps(s, 0)); d != "" || found(s)[0] != "n-a" {
		t.Errorf("output can be had: %v; completed (-want +got):\n%s", found(s), d)
	}
	other := s.Step(Event{At: 9000, Attach: &Attach{Node: stint.Node{ID: "n-c", Slots: 1, Incarnation: 9}, Holding: stint.Holding{Execution: earlier, Completed: []stint.StageOps{{Ops: ranges(3, 4)}}}}})
	if d := difference(ranges(0, 3), doneOps(s, 0)); !forgets(other) || d != "" {
		t.Errorf("a node that nobody knows is believed: completed (-want +got):\n%s", d)
	}
}

// What a job from before the input changed looked for and did not find, it names by
// the number of that time.
func TestABadCopyThatAnEarlierJobFoundIsNotThatOfAnotherOperation(t *testing.T) {
	t.Parallel()
	s, _, _ := changed(t)
	earlier := s.lastJob
	attachWith(s, 3, 1, stint.Holding{})
	s.Step(Event{At: 9000, Assign: &Assign{Node: "n-a", Incarnation: 3, Count: 1}})
	s.Step(Event{At: 9000, Report: performed(s.lastJob, 7, 0)})
	bad := func(seq uint64, job stint.JobID) {
		s.Step(Event{At: 9000, Report: &stint.Report{Node: "n-a", Incarnation: 3, Seq: seq, Bad: []stint.BadCopy{
			{Node: "n-a", Ops: ranges(0, 1), Job: job}, {Pack: "p1", Ops: ranges(1, 2), Job: job}, {Pack: "p1", Stage: 9, Job: job},
		}}})
		checkInvariants(t, s)
	}
	bad(8, earlier)
	if d := difference(ranges(0, 3), doneOps(s, 0)); d != "" {
		t.Errorf("when an earlier job has found copies to be bad, completed (-want +got):\n%s", d)
	}
	bad(9, s.lastJob)
	if d := difference(ranges(2, 3), doneOps(s, 0)); d != "" {
		t.Errorf("when a job of now has, completed (-want +got):\n%s", d)
	}
}

func TestHowAnExecutionResumesByItselfIsRecorded(t *testing.T) {
	t.Parallel()
	of := reducing()
	p := of.plan(t, earlier, files(1, 2))
	s := of.performing(t, p, ranges(0, 2), nil)
	s.Apply(Record{At: 5000, Status: &StatusRecord{Status: stint.Suspended, Generation: 1}})
	ask := ScheduleAsk{At: 7000, Nodes: 2, Slots: 3}
	for _, r := range s.Step(Event{At: 6000, Schedule: &ask}).Records {
		if r.Schedule == nil || *r.Schedule != (ScheduleRecord{At: 7000, Nodes: 2, Slots: 3}) {
			t.Errorf("recorded: %+v", r)
		}
	}
	if got := restored(t, s, p, of.req).Scheduled(); got != ask {
		t.Errorf("from a snapshot: %+v, want %+v", got, ask)
	}
	s.Step(Event{At: 7000, Resume: &ResumeAsk{Generation: 2, Nodes: 2}})
	if got := s.Scheduled(); got != (ScheduleAsk{}) {
		t.Errorf("when it has resumed: %+v", got)
	}
}
