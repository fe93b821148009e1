package coord

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stint"
	"stint/internal/plan"
	"stint/internal/wire"
)

// replayed folds records from the beginning.
func replayed(p *plan.Plan, req stint.Request, base int64, records []Record) *State {
	s := New(p, req, 1, base)
	for _, r := range records {
		s.Apply(r)
	}
	return s
}

// restored makes a state of another's snapshot, by way of the bytes that are kept.
func restored(t *testing.T, s *State, p *plan.Plan, req stint.Request) *State {
	t.Helper()
	dirty := make([][]bool, len(s.stages))
	for k := range s.stages {
		dirty[k] = slices.Clone(s.stages[k].dirty)
	}
	b, err := wire.Marshal(s.SnapshotAll())
	if err != nil {
		t.Fatal(err)
	}
	for k := range s.stages {
		s.stages[k].dirty = dirty[k]
	}
	var snap Snapshot
	if err := wire.Unmarshal(b, &snap); err != nil {
		t.Fatal(err)
	}
	out, err := Restore(p, req, 1, snap)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// checkState compares a live state with the fold of its records and with what
// its snapshot gives: all but what is not recorded must be the same.
func checkState(t *testing.T, live *State, p *plan.Plan, req stint.Request, records []Record) {
	t.Helper()
	if d := diff(live, replayed(p, req, live.base, records)); d != "" {
		t.Errorf("the fold of the records is another state (-live +folded):\n%s", d)
	}
	if d := diff(live, restored(t, live, p, req)); d != "" {
		t.Errorf("the snapshot gives another state (-live +restored):\n%s", d)
	}
}

func diff(a, b *State) string {
	over := a.status.Final() || a.status == stint.Terminating
	return cmp.Diff(a, b,
		cmp.AllowUnexported(State{}, cause{}, stage{}, records{}, op{}, job{}, node{}, voidedJob{}, exception{}, opKey{}, span{}, pack{}, avoidance{}, originRun{}, heldJob{}, movedJob{}, receipt{}),
		cmpopts.IgnoreUnexported(stint.Range{}, stint.OpDone{}),
		cmpopts.IgnoreFields(State{}, "plan", "epoch", "request", "messages", "errandAt", "errandErr", "volatile", "home"),
		cmpopts.IgnoreFields(stage{}, "sources", "dirty", "dropped", "holds", "waits"), // what is computed or noted again
		cmpopts.IgnoreFields(job{}, "asked"),
		cmpopts.IgnoreFields(node{}, "coolUntil", "called", "session", "since", "moved", "savedAt", "saves", "copies", "lostAt"),
		cmpopts.SortSlices(func(x, y opKey) bool { return x.compare(y) < 0 }),
		cmpopts.EquateEmpty(),
		cmp.Comparer(func(x, y nodeStatus) bool { return (x == nodeLost) == (y == nodeLost) }),                 // the rest is observed anew
		cmp.FilterPath(func(p cmp.Path) bool { return over && p.Last().String() == ".lastSeq" }, cmp.Ignore()), // acknowledged unrecorded
	)
}

// checkInvariants recomputes what the state keeps sums of.
func checkInvariants(t *testing.T, s *State) {
	t.Helper()
	queued, inProgress := make([]int, len(s.nodes)), make([]int, len(s.nodes))
	left := make(map[stint.JobID]int)
	for k := range s.stages {
		st := &s.stages[k]
		var counts [failed + 1]int
		for n := range st.ops {
			o := &st.ops[n]
			counts[o.state]++
			switch o.state {
			case granted:
				queued[o.node]++
				left[o.job]++
			case begun:
				inProgress[o.node]++
				left[o.job]++
			case pending, done, failed:
			}
			checkOp(t, s, k, uint32(n))
		}
		if counts != st.counts {
			t.Errorf("stage %d: counts %v; the operations say %v", k, st.counts, counts)
		}
		if st.spec.Part {
			checkParts(t, s, st)
		}
	}
	checkPlaces(t, s)
	for i := range s.nodes {
		if s.nodes[i].queued != queued[i] || s.nodes[i].begun != inProgress[i] {
			t.Errorf("node %s: queued %d, begun %d; the operations say %d and %d", s.nodes[i].id, s.nodes[i].queued, s.nodes[i].begun, queued[i], inProgress[i])
		}
		for _, id := range s.nodes[i].jobs {
			if s.jobs[id] == nil || int(s.jobs[id].node) != i {
				t.Errorf("node %s has %s, which is not there or another's", s.nodes[i].id, id)
			}
		}
	}
	for id, j := range s.jobs {
		if j.left != left[id] || j.left == 0 {
			t.Errorf("%s: %d left; the operations say %d", id, j.left, left[id])
		}
		if !slices.Contains(s.nodes[j.node].jobs, id) {
			t.Errorf("%s is not among the jobs of its node", id)
		}
	}
	for id, n := range left {
		if id != 0 && s.jobs[id] == nil {
			t.Errorf("%d operations are in %s, which is not there", n, id)
		}
	}
}

// checkOp checks that an operation is in exactly one place.
func checkOp(t *testing.T, s *State, k int, n uint32) {
	t.Helper()
	o := &s.stages[k].ops[n]
	key := opKey{k, n}
	inReady := stint.RangesContain(s.stages[k].ready, n)
	inRetries := slices.Contains(s.retries, key)
	_, special := s.exceptions[key]
	blocked := !s.unblocked(k, n)
	switch o.state {
	case pending:
		if want := !special && !blocked; inReady != want {
			t.Errorf("operation %d of stage %d is pending, special %v, blocked %v: in ready is %v", n, k, special, blocked, inReady)
		}
		if inRetries != special {
			t.Errorf("operation %d of stage %d is pending, special %v: in retries is %v", n, k, special, inRetries)
		}
	case granted, begun, done, failed:
		if inReady || inRetries {
			t.Errorf("operation %d of stage %d is %s and may be granted", n, k, stateName(o.state))
		}
	}
	if o.gone && (o.state != done || !o.saved && s.needed(k, n)) {
		t.Errorf("operation %d of stage %d is %s, its output is gone and needed", n, k, stateName(o.state))
	}
	if o.state == done && !o.gone && s.needed(k, n) && s.nodes[o.node].status == nodeLost {
		t.Errorf("operation %d of stage %d is done on a lost node and needed", n, k)
	}
}

func checkParts(t *testing.T, s *State, st *stage) {
	t.Helper()
	for n := range st.ops {
		if (st.ops[n].state == done) != (s.parts[n].Name != "") {
			t.Errorf("part %d: operation is %s, part %q", n, stateName(st.ops[n].state), s.parts[n].Name)
		}
	}
}

// A grant that was sent may be read, to be encoded, while the state goes on.
func TestAGrantThatWasSentDoesNotChange(t *testing.T) {
	t.Parallel()
	s := &script{t: t, now: 1000}
	for _, line := range [][]string{
		{"execution", "errors=yes", "attempts=1", "map=3", "reduce=1"},
		{"begin"},
		{"attach", "n1"},
		{"assign", "n1", "map", "3"},
		{"report", "n1", "begun=1:0-2", "done=1:1-2"},
		{"report", "n1", "failed=1:0:failed"},
	} {
		s.command(line[0], line[1:])
	}
	d := s.state.Step(Event{At: 5000, Assign: &Assign{Node: "n1", Incarnation: 1, Stage: 1, Count: 1}})
	missing := d.Messages[0].Grant.Missing
	s.state.setState(0, 1, failed)
	if len(missing) != 1 || missing[0].Len() != 1 {
		t.Errorf("it is without %v", missing)
	}
}
