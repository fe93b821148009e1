package sched

import (
	"cmp"
	"slices"

	"stint"
	"stint/internal/coord"
)

const (
	horizonMillis = 500     // of work that a node's queue should hold
	mostQueued    = 1 << 17 // operations in a node's queue
	stealAbove    = 1       // a queue of more than this per slot may be halved for an idle node, though it moves
)

// Node is a computing node as the scheduler sees it.
type Node struct {
	ID          stint.NodeID
	Incarnation stint.Incarnation
	Slots       int
	Memory      int64 // bytes; 0: not known
}

// Snapshot is what a decision is made on.
type Snapshot struct {
	Round   uint64 // counts decisions; turns the order in which executions are served
	Nodes   []Node
	Demands []coord.Demand
}

// Decision is what the scheduler wishes of one execution's state machine:
// exactly one of Assign and Retract is set.
type Decision struct {
	Execution stint.ExecutionID
	Assign    *coord.Assign
	Retract   *coord.RetractAsk
}

// board is the working state of one decision.
type board struct {
	round uint64
	nodes []*place
	byID  map[stint.NodeID]*place
	out   []Decision
}

type place struct {
	Node
	load int // queued and in progress, of all executions
}

// atOnce returns how many operations of a demand the node performs at once.
func (p *place) atOnce(d coord.Demand) int {
	return max(p.Slots/d.Resources.Weight(p.Slots, p.Memory), 1)
}

// Place decides. The same snapshot gives the same decisions.
func Place(s Snapshot) []Decision {
	b := newBoard(s)
	demands := slices.Clone(s.Demands)
	slices.SortStableFunc(demands, func(x, y coord.Demand) int {
		return cmp.Or(cmp.Compare(x.Execution, y.Execution), cmp.Compare(y.Stage, x.Stage))
	})
	demands = turned(demands, s.Round)
	for _, d := range demands {
		if d.Ready > 0 {
			b.give(d)
		}
	}
	for _, d := range demands {
		if d.Ready == 0 && !d.Retracting {
			b.level(d)
		}
	}
	return b.out
}

// turned has another execution be first in every round. Of one execution later
// stages always come before earlier ones: what is nearer to the end leaves less
// to be kept.
func turned(demands []coord.Demand, round uint64) []coord.Demand {
	var starts []int // of executions
	for i := range demands {
		if i == 0 || demands[i].Execution != demands[i-1].Execution {
			starts = append(starts, i)
		}
	}
	if len(starts) == 0 {
		return nil
	}
	at := starts[round%uint64(len(starts))]
	return slices.Concat(demands[at:], demands[:at])
}

func newBoard(s Snapshot) *board {
	b := &board{round: s.Round, byID: make(map[stint.NodeID]*place, len(s.Nodes))}
	for _, n := range s.Nodes {
		p := &place{Node: n}
		b.nodes = append(b.nodes, p)
		b.byID[n.ID] = p
	}
	slices.SortFunc(b.nodes, func(x, y *place) int { return cmp.Compare(x.ID, y.ID) })
	counted := make(map[stint.ExecutionID]bool)
	for _, d := range s.Demands {
		if counted[d.Execution] {
			continue // the loads are the execution's, repeated with each of its stages
		}
		counted[d.Execution] = true
		for _, l := range d.Loads {
			if p := b.byID[l.Node]; p != nil {
				p.load += l.Queued + l.Begun
			}
		}
	}
	return b
}

// give shares what a demand has ready over the nodes, in proportion to their
// slots: first what can begin at once, then what each should have in its queue.
func (b *board) give(d coord.Demand) {
	h := hand{demand: d, nodes: b.eligible(d), left: d.Ready, given: make(map[stint.NodeID]int), most: make(map[stint.NodeID]int)}
	for _, l := range d.Loads {
		h.most[l.Node] = d.Ready - l.Avoid
	}
	h.deal(func(own int) int { return own })
	h.deal(func(own int) int { return target(own, d.MeanMillis) })
	for _, p := range h.nodes {
		if n := h.given[p.ID]; n > 0 {
			b.out = append(b.out, Decision{Execution: d.Execution, Assign: &coord.Assign{Node: p.ID, Incarnation: p.Incarnation, Stage: d.Stage, Count: n}})
		}
	}
}

// hand is what is being dealt of a demand.
type hand struct {
	demand coord.Demand
	nodes  []*place
	left   int                  // operations that nobody has been given
	most   map[stint.NodeID]int // that a node may perform
	given  map[stint.NodeID]int
}

// deal shares what is left in proportion to the slots, up to so many on each node
// as upTo says of its slots.
func (h *hand) deal(upTo func(own int) int) {
	slots := 0
	for _, p := range h.nodes {
		slots += p.atOnce(h.demand)
	}
	for _, p := range h.nodes {
		own := p.atOnce(h.demand)
		share := (h.left*own + slots - 1) / slots
		slots -= own
		n := max(min(share, upTo(own)-p.load, h.most[p.ID]-h.given[p.ID]), 0)
		h.left -= n
		p.load += n
		h.given[p.ID] += n
	}
}

// eligible returns the nodes that may work for a demand: those that have what an
// operation takes, do not cool down and may perform something of it, at most
// MaxNodes.
func (b *board) eligible(d coord.Demand) []*place {
	var out []*place
	for _, l := range d.Loads {
		if p := b.byID[l.Node]; p != nil && d.Resources.FitIn(p.Slots, p.Memory) && !l.Cool && (l.Avoid == 0 || l.Avoid < d.Ready) {
			out = append(out, p)
		}
	}
	if d.MaxNodes > 0 && len(out) > d.MaxNodes {
		out = b.few(d, out)[:d.MaxNodes]
	}
	if n := len(out); n > 0 { // among equals it is another's turn in every round
		turn := b.turn(n)
		out = slices.Concat(out[turn:], out[:turn])
	}
	slices.SortStableFunc(out, func(x, y *place) int { return cmp.Compare(x.load*y.Slots, y.load*x.Slots) })
	return out
}

// few puts those nodes first of which an execution that may have few is to have some:
// those that have work of it, then those that may perform most of what is ready. If
// something failed somewhere, it is another's turn in every round: the node that it is
// to avoid need not be the only one that cannot perform it.
func (b *board) few(d coord.Demand, nodes []*place) []*place {
	loads := make(map[stint.NodeID]coord.Load, len(d.Loads))
	for _, l := range d.Loads {
		loads[l.Node] = l
	}
	slices.SortFunc(nodes, func(x, y *place) int { return cmp.Compare(x.ID, y.ID) })
	if slices.ContainsFunc(d.Loads, func(l coord.Load) bool { return l.Avoid > 0 }) {
		turn := b.turn(len(nodes))
		nodes = slices.Concat(nodes[turn:], nodes[:turn])
	}
	busy := func(p *place) int { return min(loads[p.ID].Queued+loads[p.ID].Begun, 1) }
	slices.SortStableFunc(nodes, func(x, y *place) int {
		return cmp.Or(-cmp.Compare(busy(x), busy(y)), cmp.Compare(loads[x.ID].Avoid, loads[y.ID].Avoid))
	})
	return nodes
}

// turn is whose turn it is among n nodes: another's in every round, and now and then
// in another order, so that what is tried again at equal distances comes to all.
func (b *board) turn(n int) int {
	const golden, stretch = 0x9e3779b97f4a7c15, 16
	return int((b.round + b.round/stretch*golden>>32) % uint64(n))
}

// target is how many operations a node should have, in its slots and its queue.
func target(slots int, meanMillis float64) int {
	ahead := 1 // unknown or long operations: one for each slot
	if meanMillis > 0 {
		ahead = max(1, int(min(horizonMillis/meanMillis, mostQueued)))
	}
	return min(slots*(1+ahead), mostQueued)
}

// level takes back half of the longest queue of a demand that has nothing ready, if
// a node that may work for it has a slot that does nothing. A queue that is as short
// as it should be is left alone while it moves. One that is stuck is not: of what has
// no slot there, as much is taken as can begin elsewhere at once.
func (b *board) level(d coord.Demand) {
	idle := 0
	for _, p := range b.eligible(d) {
		idle += max(p.atOnce(d)-p.load, 0)
	}
	if idle == 0 {
		return
	}
	var longest *place
	waits, count := 0, 0
	for _, l := range d.Loads {
		p := b.byID[l.Node]
		if p == nil || l.Waits <= waits {
			continue
		}
		n := 0
		if l.Waits > p.atOnce(d)*stealAbove {
			n = l.Waits / 2
		}
		if l.Stuck {
			n = max(n, min(l.Waits, p.load-p.atOnce(d), idle))
		}
		if n > 0 {
			longest, waits, count = p, l.Waits, n
		}
	}
	if longest == nil {
		return
	}
	b.out = append(b.out, Decision{Execution: d.Execution, Retract: &coord.RetractAsk{Node: longest.ID, Stage: d.Stage, Count: count}})
}
