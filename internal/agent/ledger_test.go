package agent

import (
	gocmp "cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stint"
	"stint/internal/link"
	"stint/internal/wire"
)

const (
	nodeA = stint.NodeID("n-aaaaaaaaaaaa")
	exec1 = stint.ExecutionID("x-aaaaaaaaaaaaaaaa")
	exec2 = stint.ExecutionID("x-bbbbbbbbbbbbbbbb")
)

func ops(from, to uint32) stint.Range { return stint.Range{From: from, To: to} }

func grant(x stint.ExecutionID, job stint.JobID, from, to uint32) stint.Grant {
	return stint.Grant{Execution: x, Job: job, Ops: ops(from, to), Attempt: 1, Epoch: 1, Incarnation: 3}
}

func newLedger(t *testing.T, limit int, grants ...stint.Grant) *Ledger {
	t.Helper()
	l := NewLedger(nodeA, 3, limit)
	for _, g := range grants {
		if ok, why := l.Accept(g); !ok {
			t.Fatalf("grant of %s: %s", g.Job, why)
		}
	}
	return l
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(stint.Range{}, stint.OpDone{})); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestAGrantThatIsLateRepeatedOrStaleStartsNothing(t *testing.T) {
	t.Parallel()
	stale := grant(exec1, 8, 20, 30)
	stale.Epoch = 1
	newer := grant(exec1, 7, 0, 10)
	newer.Epoch = 2
	other := grant(exec1, 9, 0, 10)
	other.Incarnation = 2
	later := grant(exec1, 9, 0, 10)
	later.Incarnation = 4
	l := NewLedger(nodeA, 3, 100)
	for _, c := range []struct {
		name string
		g    stint.Grant
		want string
	}{
		{"first", newer, ""},
		{"repeated", newer, "this job was accepted before"},
		{"stale epoch", stale, "granted by an owner that was replaced"},
		{"older incarnation", other, "granted to another incarnation"},
		{"newer incarnation", later, "granted to another incarnation"},
		{"empty", grant(exec1, 10, 5, 5), "no operations"},
	} {
		ok, why := l.Accept(c.g)
		if why != c.want || ok != (c.want == "") {
			t.Errorf("%s: %v %q, want %q", c.name, ok, why, c.want)
		}
	}
	if n := l.Waiting(exec1); n != 10 {
		t.Errorf("%d operations wait, want the 10 of the one accepted grant", n)
	}
}

func TestATicketIsConsumedEvenAfterTheJobEndedOrWasForgotten(t *testing.T) {
	t.Parallel()
	g := grant(exec1, 1, 0, 1)
	l := newLedger(t, 100, g)
	l.Next(exec1, 1)
	if !l.Done(exec1, 1, stint.OpDone{Op: 0}, nil, nil) {
		t.Fatal("the completion was not taken")
	}
	if ok, _ := l.Accept(g); ok {
		t.Error("accepted again after its end")
	}
	l.Forget(exec1)
	if ok, _ := l.Accept(g); ok {
		t.Error("accepted again after its execution was forgotten")
	}
	if len(l.Executions()) != 0 || len(l.Holdings()) != 0 {
		t.Error("a forgotten execution is still held")
	}
	if ok, why := l.Accept(grant(exec1, 2, 0, 1)); !ok {
		t.Errorf("a new job of an execution that came back: %s", why)
	}
}

func TestOperationsAreHandedOutInOrderAndInRuns(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 100, grant(exec1, 1, 0, 5), grant(exec1, 2, 10, 12))
	var got []string
	for {
		r, ok := l.Next(exec1, 3)
		if !ok {
			break
		}
		got = append(got, fmt.Sprint(r.Grant.Job, r.Ops.From, r.Ops.To))
	}
	equal(t, "runs", got, []string{"j-1 0 3", "j-1 3 5", "j-2 10 12"})
}

func TestExecutionsTakeTurns(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 100, grant(exec1, 1, 0, 3), grant(exec2, 1, 0, 2))
	all := func(stint.ExecutionID) bool { return true }
	var got []stint.ExecutionID
	for {
		x, ok := l.Turn(all)
		if !ok {
			break
		}
		got = append(got, x)
		l.Next(x, 1)
	}
	equal(t, "turns", got, []stint.ExecutionID{exec1, exec2, exec1, exec2, exec1})
}

func TestRetractGivesBackFromTheEndWhatWasNotHandedOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		handed, count int
		want          []stint.Range
	}{
		{0, 3, []stint.Range{ops(7, 10)}},
		{0, 50, []stint.Range{ops(0, 10)}},
		{8, 5, []stint.Range{ops(8, 10)}},
		{10, 5, nil},
		{0, 0, nil},
	} {
		l := newLedger(t, 100, grant(exec1, 1, 0, 10))
		l.Next(exec1, c.handed)
		got := l.Retract(stint.Retract{Execution: exec1, Job: 1, Count: c.count})
		equal(t, fmt.Sprintf("%d of which %d handed out", c.count, c.handed), got, stint.Returned{Job: 1, Ops: c.want})
		if n := l.Waiting(exec1); n != 10-c.handed-stint.CountRanges(c.want) {
			t.Errorf("%d wait after giving back %v", n, c.want)
		}
		r, _ := l.Report(exec1)
		equal(t, "report", r.Returned, []stint.Returned{got})
	}
}

func TestRetractOfAnUnknownJobIsAnsweredWithNothing(t *testing.T) {
	t.Parallel()
	l := NewLedger(nodeA, 3, 100)
	l.Retract(stint.Retract{Execution: exec1, Job: 4, Count: 2})
	r, ok := l.Report(exec1)
	if !ok {
		t.Fatal("no answer")
	}
	equal(t, "answer", r.Returned, []stint.Returned{{Job: 4}})
}

func TestWhatDidNotBeginIsHandedOutAgain(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 100, grant(exec1, 1, 0, 4))
	l.Next(exec1, 4)
	l.Begun(exec1, stint.Begun{Job: 1, Ops: ops(0, 1)})
	l.PutBack(exec1, 1, ops(0, 4))
	r, _ := l.Next(exec1, 10)
	equal(t, "handed out again", r.Ops, ops(1, 4))
	if _, ok := l.Next(exec1, 10); ok {
		t.Error("an operation that had begun was handed out again")
	}
}

func TestAnOperationEndsOnce(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 100, grant(exec1, 1, 0, 2))
	if l.Done(exec1, 1, stint.OpDone{Op: 0}, nil, nil) {
		t.Error("an operation that was not handed out was completed")
	}
	l.Next(exec1, 2)
	if !l.Done(exec1, 1, stint.OpDone{Op: 0}, nil, nil) || l.Done(exec1, 1, stint.OpDone{Op: 0}, nil, nil) {
		t.Error("the first completion counts, and no other")
	}
	if l.Fail(exec1, stint.Failure{Job: 1, Op: 0}) {
		t.Error("a completed operation failed")
	}
	if !l.Fail(exec1, stint.Failure{Job: 1, Op: 1}) || l.Fail(exec1, stint.Failure{Job: 1, Op: 1}) {
		t.Error("the first failure counts, and no other")
	}
	r, _ := l.Report(exec1)
	if len(r.Done) != 1 || len(r.Done[0].Ops) != 1 || len(r.Failures) != 1 {
		t.Errorf("report: %+v", r)
	}
	f := r.Failures[0]
	if f.Node != nodeA || f.Attempt != 1 {
		t.Errorf("failure: %+v", f)
	}
}

func TestAnInterruptedOperationHasEndedAndIsOwed(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 100, grant(exec1, 1, 0, 2))
	if l.Interrupted(exec1, stint.Interrupted{Job: 1, Op: 0}) {
		t.Error("an operation that was not handed out was interrupted")
	}
	l.Next(exec1, 1)
	i := stint.Interrupted{Job: 1, Op: 0, Start: 5, End: 6, Checkpoint: &stint.Checkpoint{Key: "k"}, Note: "n"}
	if !l.Interrupted(exec1, i) || l.Interrupted(exec1, i) || l.Owed() != 1 {
		t.Errorf("it ended not once; owed %d", l.Owed())
	}
	equal(t, "jobs with work left", l.Jobs(exec1), []stint.JobID{1})
	if !l.InterruptionOwed(exec1, 1, 0) || l.InterruptionOwed(exec1, 1, 1) || l.Open(exec1, 0, 0) || !l.Open(exec1, 0, 1) || l.Open(exec1, 1, 1) {
		t.Error("before the report")
	}
	r, _ := l.Report(exec1)
	equal(t, "interrupted", r.Interrupted, []stint.Interrupted{i})
	if !l.InterruptionOwed(exec1, 1, 0) {
		t.Error("not owed once it is reported")
	}
	l.Acked(exec1, r.Seq, 3)
	if l.InterruptionOwed(exec1, 1, 0) {
		t.Error("owed once it is acknowledged")
	}
	if n := len(l.Holdings()[0].Completed); n != 0 || l.Owed() != 0 {
		t.Errorf("%d completed, %d owed", n, l.Owed())
	}
	l.GiveUp(exec1)
	if jobs := l.Jobs(exec1); len(jobs) != 0 {
		t.Errorf("jobs with work left: %v", jobs)
	}
}

func TestReportsAreNumberedWithoutGapsAndKeptUntilAcknowledged(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 100, grant(exec1, 1, 0, 3))
	l.Next(exec1, 3)
	for op := range uint32(3) {
		l.Done(exec1, 1, stint.OpDone{Op: op}, nil, nil)
		if _, ok := l.Report(exec1); !ok {
			t.Fatal("nothing to report")
		}
	}
	if _, ok := l.Report(exec1); ok {
		t.Error("a report of nothing")
	}
	seqs := func() (list []uint64) {
		for _, r := range l.Unacked(exec1, 0) {
			list = append(list, r.Seq)
		}
		return list
	}
	l.Acked(exec1, 3, 2)
	equal(t, "after an acknowledgement of another incarnation", seqs(), []uint64{1, 2, 3})
	l.Acked(exec1, 2, 3)
	equal(t, "after the second was acknowledged", seqs(), []uint64{3})
	l.Acked(exec1, 3, 3)
	if len(seqs()) != 0 || l.Owed() != 0 {
		t.Errorf("%v and %d operations are left", seqs(), l.Owed())
	}
}

func TestNothingIsHandedOutWhileTooMuchIsUnacknowledged(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 2, grant(exec1, 1, 0, 5))
	for op := range uint32(2) {
		l.Next(exec1, 1)
		l.Done(exec1, 1, stint.OpDone{Op: op}, nil, nil)
	}
	if _, ok := l.Next(exec1, 1); ok || l.Waiting(exec1) != 0 {
		t.Error("handed out above the limit")
	}
	l.Report(exec1)
	l.Acked(exec1, 1, 3)
	if _, ok := l.Next(exec1, 1); !ok {
		t.Error("nothing handed out after the acknowledgement")
	}
}

func TestALongReportIsSplit(t *testing.T) {
	t.Parallel()
	const n = 100_000
	l := newLedger(t, 2*n, grant(exec1, 1, 0, n))
	l.Next(exec1, n)
	for op := range uint32(n) {
		l.Begun(exec1, stint.Begun{Job: 1, Ops: ops(op, op+1)})
		l.Done(exec1, 1, stint.OpDone{Op: op}, nil, nil)
	}
	total, reports := 0, 0
	for {
		r, ok := l.Report(exec1)
		if !ok {
			break
		}
		reports++
		total += endedIn(r)
	}
	if total != n || reports < 4 {
		t.Errorf("%d operations in %d reports", total, reports)
	}
}

// A report that is numbered is sent until it is acknowledged: one that no session
// takes would end every session.
func TestNoReportIsLongerThanASessionTakes(t *testing.T) {
	t.Parallel()
	const n = 40
	name := func(i int) string { return fmt.Sprintf("%0*d", stint.MaxCounterName, i) }
	turns := make([]stint.Range, 1_000_000) // every second operation
	for i := range turns {
		turns[i] = ops(uint32(2*i), uint32(2*i+1))
	}
	largest := stint.OpDone{Start: math.MaxInt64, End: math.MaxInt64, BytesIn: math.MaxInt64, BytesOut: math.MaxInt64, RecordsIn: math.MaxInt64, RecordsOut: math.MaxInt64, InputSum: math.MaxUint64, BadRecords: math.MaxInt64}
	tests := map[string]func(l *Ledger, op uint32) int{ // returns how many operations have ended
		"counters": func(l *Ledger, op uint32) int {
			var counters stint.Counters
			for i := range stint.MaxCounters {
				counters.Add(name(i), name(i), math.MinInt64)
			}
			done := largest
			done.Op = op
			l.Done(exec1, 1, done, counters.Deltas(op), nil)
			return 1
		},
		"parts": func(l *Ledger, op uint32) int {
			l.Done(exec1, 1, stint.OpDone{Op: op}, nil, &stint.Part{Op: op, Name: strings.Repeat("p", 255<<10), Bytes: math.MaxInt64, Sum: math.MaxUint64})
			return 1
		},
		"failures": func(l *Ledger, op uint32) int {
			nodes := slices.Repeat([]stint.NodeID{nodeA}, 10_000)
			text := strings.Repeat("e", link.MaxMessage)
			l.Fail(exec1, stint.Failure{Job: 1, Op: op, Start: math.MaxInt64, End: math.MaxInt64, Error: stint.Errorf(stint.Lost, "%s", text), Stderr: text, Sources: nodes, Silent: nodes})
			return 1
		},
		"interrupted": func(l *Ledger, op uint32) int {
			l.Interrupted(exec1, stint.Interrupted{Job: 1, Op: op, Note: strings.Repeat("n", link.MaxMessage)})
			return 1
		},
		"lost": func(l *Ledger, op uint32) int {
			if op == 0 { // once
				l.Lost(exec1, []stint.StageOps{{Stage: 0, Ops: turns}, {Stage: 1, Ops: turns[:10]}})
			}
			return 0
		},
		"bad copies": func(l *Ledger, op uint32) int {
			if op == 0 {
				l.Bad(exec1, stint.BadCopy{Node: nodeA, Ops: turns})
			}
			return 0
		},
	}
	for what, enter := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t, 1000, grant(exec1, 1, 0, n))
			l.Next(exec1, n)
			ended, told, lost, bad := 0, 0, 0, 0
			for op := range uint32(n) {
				l.Begun(exec1, stint.Begun{Job: 1, Ops: ops(op, op+1)})
				ended += enter(l, op)
			}
			for {
				r, ok := l.Report(exec1)
				if !ok {
					break
				}
				b, err := wire.Marshal(link.AgentMessage{Report: r})
				if err != nil || len(b) > link.MaxMessage/2 {
					t.Errorf("report %d takes %d bytes; a message at most %d: %v", r.Seq, len(b), link.MaxMessage, err)
				}
				told += endedIn(r)
				if r.Verified != nil {
					lost += countStages(r.Verified.Lost)
				}
				for _, c := range r.Bad {
					bad += stint.CountRanges(c.Ops)
				}
			}
			if told != ended {
				t.Errorf("%d operations of %d are reported", told, ended)
			}
			if what == "lost" && lost != len(turns)+10 || what == "bad copies" && bad != len(turns) {
				t.Errorf("%d operations are reported as lost, %d as bad", lost, bad)
			}
		})
	}
}

func TestHoldingsSayWhatTheLogsSay(t *testing.T) {
	t.Parallel()
	l := NewLedger(nodeA, 3, 100)
	l.Restore(exec1, []stint.StageOps{{Stage: 0, Ops: []stint.Range{ops(0, 4)}}}, 1, []stint.Begun{{Job: 2, Ops: ops(4, 5)}})
	l.Lost(exec1, []stint.StageOps{{Stage: 0, Ops: []stint.Range{ops(1, 2)}}})
	g := grant(exec1, 7, 8, 10)
	g.Stage = 1
	l.Accept(g)
	l.Next(exec1, 2)
	l.Done(exec1, 7, stint.OpDone{Op: 9}, nil, nil)
	l.Report(exec1)
	equal(t, "holdings", l.Holdings(), []stint.Holding{{
		Execution: exec1, Jobs: []stint.JobID{7}, LastSeq: 1,
		Completed: []stint.StageOps{{Stage: 0, Ops: []stint.Range{ops(0, 1), ops(2, 4)}}, {Stage: 1, Ops: []stint.Range{ops(9, 10)}}},
		Latest:    7,
		Begun:     []stint.Begun{{Job: 2, Ops: ops(4, 5)}},
	}})
}

func TestCopiesAreHeldUntilTheyAreLostOrDropped(t *testing.T) {
	t.Parallel()
	l := NewLedger(nodeA, 3, 100)
	l.RestoreCopies(exec1, []stint.StageOps{{Stage: 0, Ops: []stint.Range{ops(0, 4)}}})
	l.AddCopies(exec1, 0, []stint.Range{ops(4, 6), ops(8, 9)})
	l.AddCopies(exec1, 1, []stint.Range{ops(0, 1)})
	l.Lost(exec1, []stint.StageOps{{Stage: 0, Ops: []stint.Range{ops(1, 2)}}})
	l.Dropped(exec1, []stint.StageOps{{Stage: 1, Ops: []stint.Range{ops(0, 1)}}})
	equal(t, "copies", l.Holdings()[0].Copies, []stint.StageOps{{Stage: 0, Ops: []stint.Range{ops(0, 1), ops(2, 6), ops(8, 9)}}})
	bad := stint.BadCopy{Node: "n-b", Stage: 1, Ops: []stint.Range{ops(3, 4)}}
	l.Bad(exec1, bad)
	r, _ := l.Report(exec1)
	equal(t, "lost", r.Verified.Lost, []stint.StageOps{{Stage: 0, Ops: []stint.Range{ops(1, 2)}}})
	equal(t, "bad", r.Bad, []stint.BadCopy{bad})
	l.Forget(exec1)
	l.Accept(grant(exec1, 1, 0, 1))
	if got := l.Holdings()[0].Copies; len(got) != 0 {
		t.Errorf("copies of a forgotten execution: %v", got)
	}
	l.Forget(exec1)
	l.AddCopies(exec1, 0, []stint.Range{ops(2, 3)})
	equal(t, "copies after it was forgotten", l.Holdings()[0].Copies, []stint.StageOps{{Ops: []stint.Range{ops(2, 3)}}})
}

func TestCompletionsAreReportedAgainWithCountersAndParts(t *testing.T) {
	t.Parallel()
	l := NewLedger(nodeA, 3, 100)
	l.Again(exec1, []stint.StageOps{{Stage: 1, Ops: []stint.Range{ops(4, 6)}}}, []stint.Done{{
		Job: 2, Stage: 1, Ops: []stint.OpDone{{Op: 5}},
		Counters: []stint.CounterDelta{{Op: 5, Group: "g", Name: "n", Value: 3}}, Parts: []stint.Part{{Op: 5, Name: "p"}},
	}})
	r, ok := l.Report(exec1)
	if !ok {
		t.Fatal("nothing to report")
	}
	equal(t, "report", r.Done, []stint.Done{{
		Job: 2, Stage: 1, Ops: []stint.OpDone{{Op: 5}},
		Counters: []stint.CounterDelta{{Op: 5, Group: "g", Name: "n", Value: 3}}, Parts: []stint.Part{{Op: 5, Name: "p"}},
	}})
	equal(t, "what the log does not tell of any more", r.Verified.Lost, []stint.StageOps{{Stage: 1, Ops: []stint.Range{ops(4, 5)}}})
}

func TestStatusIsOfOperationsInProgressAndTheLatestCounts(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 100, grant(exec1, 1, 0, 2))
	l.Next(exec1, 2)
	l.Begun(exec1, stint.Begun{Job: 1, Ops: ops(0, 1)})
	l.Status(exec1, []stint.StatusText{{Job: 1, Op: 0, Text: "a"}, {Job: 1, Op: 1, Text: "not begun"}, {Job: 1, Op: 0, Text: "b"}})
	r, _ := l.Report(exec1)
	equal(t, "messages", r.Messages, []stint.StatusText{{Job: 1, Op: 0, Text: "b"}})
}

func BenchmarkLedger(b *testing.B) {
	l := NewLedger(nodeA, 3, 1<<30)
	l.Accept(grant(exec1, 1, 0, uint32(b.N)))
	for {
		r, ok := l.Next(exec1, 512)
		if !ok {
			break
		}
		for op := r.Ops.From; op < r.Ops.To; op++ {
			l.Begun(exec1, stint.Begun{Job: 1, Ops: ops(op, op+1)})
			l.Done(exec1, 1, stint.OpDone{Op: op}, nil, nil)
		}
		report, _ := l.Report(exec1)
		l.Acked(exec1, report.Seq, 3)
	}
}

// A server and a network that repeat, reorder and drop: whatever they do, no
// operation is handed out twice without having been put back, none ends twice,
// and every operation granted is reported exactly once as ended or given back.
func TestRandomHistoriesAccountForEveryOperationOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		m := &model{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), l: NewLedger(nodeA, 3, 30), open: map[key]string{}, told: map[key]int{}}
		for range 400 {
			m.step()
		}
		m.finish()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

type key struct {
	x   stint.ExecutionID
	job stint.JobID
	op  uint32
}

type model struct {
	t      *testing.T
	rnd    *rand.Rand
	l      *Ledger
	grants []stint.Grant
	open   map[key]string // operation handed out → "handed" or "begun"
	told   map[key]int    // operation → how often reported as ended or returned
	seen   map[stint.ExecutionID]uint64
	total  int
}

func (m *model) step() {
	x := []stint.ExecutionID{exec1, exec2}[m.rnd.IntN(2)]
	switch m.rnd.IntN(9) {
	case 0:
		g := grant(x, stint.JobID(len(m.grants)+1), uint32(m.rnd.IntN(50)), 0)
		g.Ops.To = g.Ops.From + uint32(1+m.rnd.IntN(12))
		if ok, why := m.l.Accept(g); !ok {
			m.t.Errorf("%s: %s", g.Job, why)
		}
		m.grants = append(m.grants, g)
		m.total += g.Ops.Len()
	case 1:
		if len(m.grants) > 0 {
			if ok, _ := m.l.Accept(m.grants[m.rnd.IntN(len(m.grants))]); ok {
				m.t.Error("a ticket was used twice")
			}
		}
	case 2, 3:
		m.next(x)
	case 4:
		m.begin()
	case 5, 6:
		m.end()
	case 7:
		m.giveBack()
	case 8:
		m.report(x)
	}
}

func (m *model) next(x stint.ExecutionID) {
	r, ok := m.l.Next(x, 1+m.rnd.IntN(6))
	if ok && m.l.Owed() >= 30 {
		m.t.Error("handed out above the limit")
	}
	for op := r.Ops.From; ok && op < r.Ops.To; op++ {
		k := key{x, r.Grant.Job, op}
		if m.open[k] != "" || m.told[k] != 0 {
			m.t.Errorf("%v handed out twice", k)
		}
		m.open[k] = "handed"
	}
}

// keys returns the operations handed out, sorted, so that a seed is a history.
func (m *model) keys() []key {
	var list []key
	for k := range m.open {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b key) int {
		return gocmp.Or(gocmp.Compare(a.x, b.x), gocmp.Compare(a.job, b.job), gocmp.Compare(a.op, b.op))
	})
	return list
}

func (m *model) pick() (key, bool) {
	list := m.keys()
	if len(list) == 0 {
		return key{}, false
	}
	return list[m.rnd.IntN(len(list))], true
}

func (m *model) begin() {
	if k, ok := m.pick(); ok {
		m.l.Begun(k.x, stint.Begun{Job: k.job, Ops: ops(k.op, k.op+1)})
		m.open[k] = "begun"
	}
}

func (m *model) end() {
	k, ok := m.pick()
	if !ok {
		return
	}
	var taken bool
	switch m.rnd.IntN(4) {
	case 0:
		taken = m.l.Fail(k.x, stint.Failure{Job: k.job, Op: k.op})
	case 1:
		taken = m.l.Interrupted(k.x, stint.Interrupted{Job: k.job, Op: k.op})
	default:
		taken = m.l.Done(k.x, k.job, stint.OpDone{Op: k.op}, nil, nil)
	}
	if !taken {
		m.t.Errorf("the end of %v was not taken", k)
	}
	if m.l.Done(k.x, k.job, stint.OpDone{Op: k.op}, nil, nil) {
		m.t.Errorf("%v ended twice", k)
	}
	delete(m.open, k)
}

func (m *model) giveBack() {
	if k, ok := m.pick(); ok && m.rnd.IntN(2) == 0 {
		m.l.PutBack(k.x, k.job, ops(k.op, k.op+1))
		if m.open[k] == "handed" {
			delete(m.open, k)
		}
	} else if len(m.grants) > 0 {
		g := m.grants[m.rnd.IntN(len(m.grants))]
		m.l.Retract(stint.Retract{Execution: g.Execution, Job: g.Job, Count: m.rnd.IntN(5)})
	}
}

func (m *model) report(x stint.ExecutionID) {
	if m.seen == nil {
		m.seen = map[stint.ExecutionID]uint64{}
	}
	r, ok := m.l.Report(x)
	if !ok {
		return
	}
	if r.Seq != m.seen[x]+1 {
		m.t.Errorf("report %d after %d", r.Seq, m.seen[x])
	}
	m.seen[x] = r.Seq
	for _, d := range r.Done {
		for _, op := range d.Ops {
			m.told[key{x, d.Job, op.Op}]++
		}
	}
	for _, f := range r.Failures {
		m.told[key{x, f.Job, f.Op}]++
	}
	for _, i := range r.Interrupted {
		m.told[key{x, i.Job, i.Op}]++
	}
	for _, b := range r.Returned {
		for _, ops := range b.Ops {
			for op := ops.From; op < ops.To; op++ {
				m.told[key{x, b.Job, op}]++
			}
		}
	}
	if m.rnd.IntN(2) == 0 {
		m.l.Acked(x, r.Seq, 3)
	}
}

func (m *model) finish() {
	m.l.limit = 1 << 30
	for _, x := range []stint.ExecutionID{exec1, exec2} {
		m.l.GiveUp(x)
	}
	for len(m.open) > 0 {
		m.end()
	}
	for _, x := range []stint.ExecutionID{exec1, exec2} {
		for m.l.Pending(x) {
			m.report(x)
		}
		m.l.Acked(x, m.seen[x], 3)
	}
	if len(m.told) != m.total || m.l.Owed() != 0 {
		m.t.Errorf("%d operations granted, %d accounted for, %d owed", m.total, len(m.told), m.l.Owed())
	}
	for k, n := range m.told {
		if n != 1 {
			m.t.Errorf("%v was reported %d times", k, n)
		}
	}
}
