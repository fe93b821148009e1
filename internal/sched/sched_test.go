package sched

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"stint"
	"stint/internal/coord"
)

const (
	execA = stint.ExecutionID("x-aaaaaaaaaaaaaaaa")
	execB = stint.ExecutionID("x-bbbbbbbbbbbbbbbb")
)

// nodes makes nodes n0, n1, … with so many slots each.
func nodes(slots ...int) (list []Node) {
	for i, n := range slots {
		list = append(list, Node{ID: nodeID(i), Incarnation: 1, Slots: n})
	}
	return list
}

func nodeID(i int) stint.NodeID { return stint.NodeID(fmt.Sprintf("n%d", i)) }

// demand is of an execution that has nothing on nodes n0 … but what loads say:
// queued and begun by turns.
func demand(x stint.ExecutionID, stage, ready int, millis float64, loads ...int) coord.Demand {
	d := coord.Demand{Execution: x, Stage: stage, Ready: ready, MeanMillis: millis}
	for i := 0; i+1 < len(loads); i += 2 {
		d.Loads = append(d.Loads, coord.Load{Node: nodeID(i / 2), Queued: loads[i], Begun: loads[i+1], Waits: loads[i]})
	}
	return d
}

func describe(list []Decision) string {
	words := make([]string, 0, len(list))
	for _, d := range list {
		name := strings.ToUpper(string(d.Execution)[2:3])
		if d.Assign != nil {
			words = append(words, fmt.Sprintf("%s%d to %s %d", name, d.Assign.Stage, d.Assign.Node, d.Assign.Count))
		} else {
			words = append(words, fmt.Sprintf("%s%d from %s %d", name, d.Retract.Stage, d.Retract.Node, d.Retract.Count))
		}
	}
	return strings.Join(words, ", ")
}

func TestPlace(t *testing.T) {
	t.Parallel()
	cool := demand(execA, 0, 10, 1000, 0, 0, 0, 0)
	cool.Loads[0].Cool = true
	few := demand(execA, 0, 10, 1000, 0, 0, 1, 1, 0, 0)
	few.MaxNodes = 1
	asked := demand(execA, 0, 0, 1000, 40, 2, 0, 0)
	asked.Retracting = true
	older := demand(execA, 1, 0, 1000, 40, 2, 0, 0)
	older.Loads[0].Waits = 0
	mixed := demand(execA, 1, 0, 1000, 40, 2, 0, 0)
	mixed.Loads[0].Waits = 8
	moved := demand(execA, 0, 5, 9000, 0, 0, 0, 0)
	moved.Loads[0].Avoid = 5
	some := demand(execA, 0, 5, 9000, 0, 0)
	some.Loads[0].Avoid = 3
	alone := demand(execA, 0, 5, 9000, 0, 1, 0, 0)
	alone.MaxNodes, alone.Loads[0].Avoid = 1, 5
	shy := demand(execA, 0, 5, 9000, 0, 0, 0, 0)
	shy.MaxNodes, shy.Loads[0].Avoid = 1, 3
	unknown := demand(execA, 0, 10, 1000, 0, 0)
	unknown.Loads[0].Node = "n9"
	for _, c := range []struct {
		rule    string
		nodes   []Node
		demands []coord.Demand
		want    string
	}{
		{"nothing is wanted", nodes(2), nil, ""},
		{"of as many nodes as may, those that may perform most", nodes(2, 2), []coord.Demand{shy}, "A0 to n1 4"},
		{"no node is there", nil, []coord.Demand{demand(execA, 0, 10, 0)}, ""},
		{"long operations: one in each slot, one ahead of it", nodes(2), []coord.Demand{demand(execA, 0, 10, 9000, 0, 0)}, "A0 to n0 4"},
		{"unknown operations are taken for long ones", nodes(2), []coord.Demand{demand(execA, 0, 10, 0, 0, 0)}, "A0 to n0 4"},
		{"short operations: half a second of work for each slot", nodes(2), []coord.Demand{demand(execA, 0, 100_000, 5, 0, 0)}, "A0 to n0 202"},
		{"no queue is longer than the bound", nodes(64), []coord.Demand{demand(execA, 0, 10_000_000, 0.004, 0, 0)}, "A0 to n0 131072"},
		{"what a node has counts", nodes(2), []coord.Demand{demand(execA, 0, 10, 9000, 1, 2)}, "A0 to n0 1"},
		{"a full node gets nothing", nodes(2), []coord.Demand{demand(execA, 0, 10, 9000, 2, 2)}, ""},
		{"few operations are shared", nodes(2, 2), []coord.Demand{demand(execA, 0, 2, 9000, 0, 0, 0, 0)}, "A0 to n0 1, A0 to n1 1"},
		{"in proportion to the slots", nodes(1, 3), []coord.Demand{demand(execA, 0, 4, 9000, 0, 0, 0, 0)}, "A0 to n0 1, A0 to n1 3"},
		{"one operation goes to the emptiest node", nodes(2, 2), []coord.Demand{demand(execA, 0, 1, 9000, 0, 1, 0, 0)}, "A0 to n1 1"},
		{"a node that cools down gets nothing", nodes(2, 2), []coord.Demand{cool}, "A0 to n1 4"},
		{"at most so many nodes, those that have work of it first", nodes(2, 2, 2), []coord.Demand{few}, "A0 to n1 2"},
		{"a node gets nothing of what is to go on elsewhere", nodes(2, 2), []coord.Demand{moved}, "A0 to n1 4"},
		{"nor is it the one node that may work for it", nodes(2, 2), []coord.Demand{alone}, "A0 to n1 4"},
		{"and no more than the rest", nodes(2), []coord.Demand{some}, "A0 to n0 2"},
		{"a node without a session gets nothing", nodes(2), []coord.Demand{unknown}, ""},
		{"the later stage comes first", nodes(1), []coord.Demand{demand(execA, 0, 1, 9000, 0, 0), demand(execA, 1, 1, 9000, 0, 0)}, "A1 to n0 1, A0 to n0 1"},
		{"executions share a node", nodes(2), []coord.Demand{demand(execA, 0, 10, 9000, 0, 2), demand(execB, 0, 10, 9000, 0, 0)}, "A0 to n0 2"},
		{"the load of an execution counts once, not once a stage", nodes(2), []coord.Demand{demand(execA, 0, 0, 9000, 0, 2), demand(execA, 1, 5, 9000, 0, 2)}, "A1 to n0 2"},
		{"an idle node has the longest queue halved", nodes(2, 2), []coord.Demand{demand(execA, 0, 0, 1000, 40, 2, 0, 0)}, "A0 from n0 20"},
		{"the longest", nodes(2, 2, 2), []coord.Demand{demand(execA, 0, 0, 1000, 8, 2, 30, 2, 0, 0)}, "A0 from n1 15"},
		{"a short queue is left alone", nodes(2, 2), []coord.Demand{demand(execA, 0, 0, 1000, 2, 2, 0, 0)}, ""},
		{"nobody is idle", nodes(2, 2), []coord.Demand{demand(execA, 0, 0, 1000, 40, 2, 0, 2)}, ""},
		{"one retraction at a time", nodes(2, 2), []coord.Demand{asked}, ""},
		{"nothing that is of another stage", nodes(2, 2), []coord.Demand{older}, ""},
		{"what is of this stage is taken, whatever else is there", nodes(2, 2), []coord.Demand{mixed}, "A1 from n0 4"},
		{"while something is ready nothing is taken back", nodes(2, 2), []coord.Demand{demand(execA, 0, 5, 1000, 40, 2, 0, 0)}, "A0 to n1 4"},
		{"what can begin at once comes before what would wait", nodes(2, 2), []coord.Demand{demand(execA, 0, 2, 9000, 0, 2, 0, 0)}, "A0 to n1 2"},
		{"and then all have their queues", nodes(2, 2), []coord.Demand{demand(execA, 0, 4, 9000, 0, 2, 0, 0)}, "A0 to n1 3, A0 to n0 1"},
	} {
		if got := describe(Place(Snapshot{Nodes: c.nodes, Demands: c.demands})); got != c.want {
			t.Errorf("%s: %q, want %q", c.rule, got, c.want)
		}
	}
}

func TestWhatAnOperationTakesOfItsNode(t *testing.T) {
	t.Parallel()
	heavy := func(takes stint.Resources, ready int, loads ...int) []coord.Demand {
		d := demand(execA, 0, ready, 9000, loads...)
		d.Resources = takes
		return []coord.Demand{d}
	}
	two := nodes(4, 8)
	two[0].Memory, two[1].Memory = 32, 16
	for _, c := range []struct {
		rule    string
		demands []coord.Demand
		want    string
	}{
		{"a node with too few slots gets nothing", heavy(stint.Resources{Slots: 5}, 9, 0, 0, 0, 0), "A0 to n1 2"},
		{"nor one with too little memory", heavy(stint.Resources{Memory: 17}, 9, 0, 0, 0, 0), "A0 to n0 2"},
		{"and none where no node has enough", heavy(stint.Resources{Memory: 33}, 9, 0, 0, 0, 0), ""},
		{"one for as many as there is room for, one ahead", heavy(stint.Resources{Slots: 4}, 99, 0, 0, 0, 0), "A0 to n0 2, A0 to n1 4"},
		{"by memory, too", heavy(stint.Resources{Memory: 16}, 99, 0, 0, 0, 0), "A0 to n0 4, A0 to n1 2"},
		{"an idle node takes over what a busy one cannot begin", heavy(stint.Resources{Slots: 4}, 0, 2, 1, 0, 0), "A0 from n0 1"},
		{"but not if the operation does not fit", heavy(stint.Resources{Memory: 20}, 0, 2, 1, 0, 0), ""},
	} {
		if got := describe(Place(Snapshot{Nodes: two, Demands: c.demands})); got != c.want {
			t.Errorf("%s: %q, want %q", c.rule, got, c.want)
		}
	}
}

// What waits behind operations that take long goes to slots that do nothing.
func TestAStuckQueueIsTakenEvenWhereItIsShort(t *testing.T) {
	t.Parallel()
	stuck := func(d coord.Demand, nodes ...int) coord.Demand {
		for _, i := range nodes {
			d.Loads[i].Stuck = true
		}
		return d
	}
	queue := func(loads ...int) coord.Demand { return demand(execA, 0, 0, 0, loads...) }
	long := queue(6, 1, 0, 0)
	few := queue(1, 1, 0, 0)
	few.MaxNodes = 1
	other := queue(1, 0, 0, 0)
	other.Loads[0].Stuck = true
	cool := queue(1, 1, 0, 0)
	cool.Loads[1].Cool = true
	asked := queue(1, 1, 0, 0)
	asked.Retracting = true
	ahead := demand(execA, 1, 0, 0, 1, 1, 0, 0)
	ahead.Loads[0].Waits = 0
	for _, c := range []struct {
		rule    string
		nodes   []Node
		demands []coord.Demand
		want    string
	}{
		{"the only operation of a queue", nodes(1, 1), []coord.Demand{stuck(queue(1, 1, 0, 0), 0)}, "A0 from n0 1"},
		{"not while the queue moves", nodes(1, 1), []coord.Demand{queue(1, 1, 0, 0)}, ""},
		{"as many as can begin at once", nodes(4, 2), []coord.Demand{stuck(queue(4, 4, 0, 0), 0)}, "A0 from n0 2"},
		{"in all idle slots", nodes(4, 2, 2), []coord.Demand{stuck(queue(4, 4, 0, 1, 0, 0), 0)}, "A0 from n0 3"},
		{"and half of a long queue", nodes(1, 1), []coord.Demand{stuck(long, 0)}, "A0 from n0 3"},
		{"nothing that has a slot, and only has not begun in it", nodes(2, 2), []coord.Demand{stuck(queue(1, 1, 0, 0), 0)}, ""},
		{"what has none though less has begun", nodes(2, 2), []coord.Demand{stuck(queue(2, 1, 0, 0), 0)}, "A0 from n0 1"},
		{"of the longest queue that is stuck", nodes(1, 1, 1, 2), []coord.Demand{stuck(queue(1, 1, 1, 1, 0, 0, 2, 2), 1)}, "A0 from n1 1"},
		{"nobody is idle", nodes(1, 1), []coord.Demand{stuck(queue(1, 1, 0, 1), 0)}, ""},
		{"nor is a node that cools down", nodes(1, 1), []coord.Demand{stuck(cool, 0)}, ""},
		{"nor one that the execution may not have", nodes(1, 1), []coord.Demand{stuck(few, 0)}, ""},
		{"one retraction at a time", nodes(1, 1), []coord.Demand{stuck(asked, 0)}, ""},
		{"what waits is of another stage", nodes(1, 1), []coord.Demand{stuck(ahead, 0)}, ""},
		{"what waits behind another execution", nodes(1, 1), []coord.Demand{other, demand(execB, 0, 0, 0, 0, 1, 0, 0)}, "A0 from n0 1"},
		{"what comes back goes to the idle node alone", nodes(4, 2), []coord.Demand{demand(execA, 0, 2, 0, 2, 4, 0, 0)}, "A0 to n1 2"},
	} {
		if got := describe(Place(Snapshot{Nodes: c.nodes, Demands: c.demands})); got != c.want {
			t.Errorf("%s: %q, want %q", c.rule, got, c.want)
		}
	}
}

func TestEveryExecutionIsServedFirstInTurn(t *testing.T) {
	t.Parallel()
	first := make(map[stint.ExecutionID]int)
	for round := range uint64(10) {
		got := Place(Snapshot{Round: round, Nodes: nodes(1), Demands: []coord.Demand{demand(execA, 0, 10, 9000, 0, 0), demand(execB, 0, 10, 9000, 0, 0)}})
		first[got[0].Execution]++
	}
	if first[execA] != 5 || first[execB] != 5 {
		t.Errorf("served first: %v", first)
	}
}

// What is nearer to the end comes first, whoever's turn it is.
func TestLaterStagesOfAnExecutionComeFirst(t *testing.T) {
	t.Parallel()
	for round := range uint64(6) {
		got := Place(Snapshot{Round: round, Nodes: nodes(2, 2, 2), Demands: []coord.Demand{
			demand(execA, 0, 1, 9000, 0, 0, 0, 0, 0, 0), demand(execA, 2, 1, 9000, 0, 0, 0, 0, 0, 0),
			demand(execB, 1, 1, 9000, 0, 0, 0, 0, 0, 0), demand(execA, 1, 1, 9000, 0, 0, 0, 0, 0, 0),
		}})
		var stages []int
		for _, d := range got {
			if d.Execution == execA {
				stages = append(stages, d.Assign.Stage)
			}
		}
		if !slices.Equal(stages, []int{2, 1, 0}) {
			t.Errorf("round %d: stages %v", round, stages)
		}
	}
}

func TestAmongEqualNodesItIsAnothersTurnInEveryRound(t *testing.T) {
	t.Parallel()
	got := make(map[stint.NodeID]bool)
	for round := range uint64(3) {
		for _, d := range Place(Snapshot{Round: round, Nodes: nodes(1, 1, 1), Demands: []coord.Demand{demand(execA, 0, 1, 9000, 0, 0, 0, 0, 0, 0)}}) {
			got[d.Assign.Node] = true
		}
	}
	if len(got) != 3 {
		t.Errorf("in three rounds the operation was given to %v", got)
	}
}

// TestDecisionsKeepTheBounds looks at the decisions on any snapshot.
func TestDecisionsKeepTheBounds(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		s := randomSnapshot(rng)
		before := describe(Place(s))
		load, given := make(map[stint.NodeID]int), make(map[string]int)
		seen := make(map[stint.ExecutionID]bool)
		for _, d := range s.Demands {
			for _, l := range d.Loads {
				if !seen[d.Execution] {
					load[l.Node] += l.Queued + l.Begun
				}
			}
			seen[d.Execution] = true
		}
		for _, d := range Place(s) {
			i := slices.IndexFunc(s.Demands, func(m coord.Demand) bool {
				return m.Execution == d.Execution && (d.Assign != nil && m.Stage == d.Assign.Stage || d.Retract != nil && m.Stage == d.Retract.Stage)
			})
			if i < 0 {
				t.Fatalf("a decision on no demand: %s", before)
			}
			m := s.Demands[i]
			if d.Retract != nil {
				if m.Ready > 0 || m.Retracting || d.Retract.Count < 1 {
					t.Fatalf("%+v: %s", m, before)
				}
				continue
			}
			n := s.Nodes[slices.IndexFunc(s.Nodes, func(n Node) bool { return n.ID == d.Assign.Node })]
			load[n.ID] += d.Assign.Count
			key := fmt.Sprint(m.Execution, m.Stage)
			if given[key] += d.Assign.Count; given[key] > m.Ready || d.Assign.Count < 1 {
				t.Fatalf("%d given of %d ready: %s", given[key], m.Ready, before)
			}
			if load[n.ID] > target(n.Slots, m.MeanMillis) {
				t.Fatalf("node %s has %d, its target is %d: %s", n.ID, load[n.ID], target(n.Slots, m.MeanMillis), before)
			}
		}
		if again := describe(Place(s)); again != before {
			t.Fatalf("the same snapshot gave %q and %q", before, again)
		}
	}
}

func randomSnapshot(rng *rand.Rand) Snapshot {
	s := Snapshot{Round: rng.Uint64N(100)}
	for range rng.IntN(5) {
		s.Nodes = append(s.Nodes, nodes(1 + rng.IntN(4))[0])
		s.Nodes[len(s.Nodes)-1].ID = nodeID(len(s.Nodes) - 1)
	}
	for _, x := range []stint.ExecutionID{execA, execB} {
		var loads []coord.Load
		for i := range s.Nodes {
			if rng.IntN(4) > 0 {
				loads = append(loads, coord.Load{Node: nodeID(i), Queued: rng.IntN(20), Begun: rng.IntN(4), Waits: rng.IntN(20), Stuck: rng.IntN(3) == 0, Cool: rng.IntN(5) == 0})
			}
		}
		for stage := range 1 + rng.IntN(2) {
			s.Demands = append(s.Demands, coord.Demand{
				Execution: x, Stage: stage, Ready: rng.IntN(3) * rng.IntN(200), MeanMillis: float64(rng.IntN(3)) * rng.Float64() * 1000,
				MaxNodes: rng.IntN(3), Retracting: rng.IntN(4) == 0, Loads: loads,
			})
		}
	}
	return s
}
