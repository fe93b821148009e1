package coord

import (
	"cmp"
	"slices"

	"stint"
)

// mostJobs bounds how many jobs one assignment is cut into.
const mostJobs = 16

// assign cuts jobs for a node from what is ready: first retries that may go
// there, then runs of fresh operations from the front.
func (s *State) assign(d *Delta, now int64, a *Assign) {
	i, known := s.nodeIndex(a.Node)
	if !known || s.status != stint.InProgress || s.fatal != nil || a.Stage < 0 || a.Stage >= len(s.stages) {
		return
	}
	if n := &s.nodes[i]; !s.target(i) || n.incarnation != a.Incarnation || n.coolUntil > now || !s.reachable(a.Stage) {
		return
	}
	left := a.Count
	for _, key := range slices.Clone(s.retries) {
		if left > 0 && key.stage == a.Stage && s.due(key, i, now) {
			s.issue(d, now, i, key.stage, stint.Range{From: key.op, To: key.op + 1})
			left--
		}
	}
	st := &s.stages[a.Stage]
	for jobs := 0; left > 0 && jobs < mostJobs; jobs++ {
		ready := without(without(st.ready, s.avoidedBy(st, i, now)), s.stranded(a.Stage))
		if len(ready) == 0 {
			break
		}
		r := s.cut(st, ready[0], left)
		if s.plan.ReadsInput(a.Stage) && st.spec.Values == nil {
			r.To = s.plan.Fitting(a.Stage, r, grantBytes)
		}
		s.issue(d, now, i, a.Stage, r)
		left -= r.Len()
	}
}

// due reports whether a retry may begin on node i now.
func (s *State) due(key opKey, i uint16, now int64) bool {
	e := s.exceptions[key]
	if e.notBefore > now || !s.unblocked(key.stage, key.op) || s.strands(key.stage, key.op) {
		return false
	}
	if stint.RangesContain(s.avoidedBy(&s.stages[key.stage], i, now), key.op) {
		return false
	}
	return e.notBefore+avoidFor <= now || !s.shuns(e, i, now)
}

// shyOf returns the nodes that are to leave a retry which may begin to others, and may
// get it later.
func (s *State) shyOf(key opKey, now int64) (out []uint16) {
	e := s.exceptions[key]
	if e.notBefore+avoidFor <= now {
		return nil
	}
	if s.another(now, e.avoid) {
		out = append(out, e.avoid)
	}
	if len(e.cutOff) > 0 && s.another(now, e.cutOff...) {
		for _, i := range e.cutOff {
			if !slices.Contains(out, i) {
				out = append(out, i)
			}
		}
	}
	st := &s.stages[key.stage]
	return slices.DeleteFunc(out, func(i uint16) bool { return stint.RangesContain(s.avoidedBy(st, i, now), key.op) })
}

// shuns reports whether node i is to leave an operation to others: to any, if it
// failed there last, and to those that may reach its input, if that did not.
func (s *State) shuns(e *exception, i uint16, now int64) bool {
	return e.avoid == i && s.another(now, i) || slices.Contains(e.cutOff, i) && s.another(now, e.cutOff...)
}

// another reports whether there is a node that may be given work beside some.
func (s *State) another(now int64, beside ...uint16) bool {
	for k := range s.nodes {
		if !slices.Contains(beside, uint16(k)) && s.target(uint16(k)) && s.nodes[k].coolUntil <= now {
			return true
		}
	}
	return false
}

// allReady reports whether every node that holds output of a stage can be asked.
func (s *State) allReady(k int) bool {
	for i, n := range s.stages[k].holds {
		if n > 0 && s.nodes[i].status != nodeReady {
			return false
		}
	}
	return true
}

// cut takes of a run of ready operations the first, at most most, that have the
// same number of attempts behind them.
func (*State) cut(st *stage, r stint.Range, most int) stint.Range {
	r.To = min(r.To, r.From+uint32(min(most, 1<<20)))
	first := st.ops[r.From].attempts
	for n := r.From + 1; n < r.To; n++ {
		if st.ops[n].attempts != first {
			r.To = n
		}
	}
	return r
}

func (s *State) issue(d *Delta, now int64, i uint16, k int, ops stint.Range) {
	g := &GrantRecord{
		Job: s.lastJob + 1, Stage: k, Ops: ops, Attempt: int(s.stages[k].ops[ops.From].attempts) + 1,
		Node: s.nodes[i].id, Incarnation: s.nodes[i].incarnation,
	}
	s.record(d, Record{At: now, Grant: g})
	d.Messages = append(d.Messages, Message{Node: g.Node, Grant: s.grant(g.Job)})
}

// grant makes what the node is sent for a job, as things stand now.
func (s *State) grant(id stint.JobID) *stint.Grant {
	j := s.jobs[id]
	g := &stint.Grant{
		Execution: s.ID(), Job: id, Stage: j.stage, Ops: j.ops, Attempt: j.attempt,
		Epoch: s.epoch, Incarnation: j.incarnation,
	}
	st := &s.stages[j.stage]
	switch {
	case st.spec.Values != nil:
	case s.plan.ReadsInput(j.stage):
		for n := j.ops.From; n < j.ops.To; n++ {
			g.Subsets = append(g.Subsets, s.plan.Subset(j.stage, n))
		}
	default:
		r := s.reading(j.stage, 0, j.ops)
		g.Sources, g.Missing = r.Sources, r.Missing
	}
	for e := 1; e < s.plan.Edges(j.stage); e++ {
		g.Beside = append(g.Beside, s.reading(j.stage, e, j.ops))
	}
	if len(s.checkpoints) > 0 {
		for _, key := range s.checkpointKeys() {
			if key.stage == j.stage && key.op >= j.ops.From && key.op < j.ops.To {
				g.Checkpoints = append(g.Checkpoints, s.checkpoints[key])
			}
		}
	}
	return g
}

// retract asks a node for operations of a stage that it has not begun, as far as is
// known, the newest jobs first.
func (s *State) retract(d *Delta, now int64, a *RetractAsk) {
	i, known := s.nodeIndex(a.Node)
	if !known || s.nodes[i].status != nodeReady || s.status != stint.InProgress {
		return
	}
	s.nodes[i].moved = max(s.nodes[i].moved, now)
	left := a.Count
	jobs := s.nodes[i].jobs
	for at := len(jobs) - 1; at >= 0 && left > 0; at-- {
		j := s.jobs[jobs[at]]
		if j.stage != a.Stage || j.asked {
			continue
		}
		n := s.waitingIn(jobs[at], left)
		if n == 0 {
			continue
		}
		j.asked = true
		d.Messages = append(d.Messages, Message{Node: a.Node, Retract: &stint.Retract{Execution: s.ID(), Job: jobs[at], Count: n}})
		left -= n
	}
}

// waitingIn returns how many operations of a job have not begun, at most most.
func (s *State) waitingIn(id stint.JobID, most int) int {
	j, n := s.jobs[id], 0
	ops := s.stages[j.stage].ops
	for at := j.ops.To; at > j.ops.From && n < most; at-- {
		if o := &ops[at-1]; o.job == id && o.state == granted {
			n++
		}
	}
	return n
}

// Demand is what an execution wants from the scheduler: its first stage that
// has something ready, and what its nodes have to do already.
type Demand struct {
	Execution  stint.ExecutionID
	Stage      int
	Resources  stint.Resources // that one operation takes of its node
	Ready      int             // operations that could be granted now
	MeanMillis float64         // of one operation; 0: not known yet
	MaxNodes   int             // 0: all
	Retracting bool            // a node was asked to give operations back and has not answered
	Loads      []Load
}

// Load is what one node has to do for an execution.
type Load struct {
	Node   stint.NodeID
	Queued int // granted and not begun
	Begun  int
	Waits  int  // of Queued, operations of the demand
	Stuck  bool // nothing has left its queue for a while
	Cool   bool // it said it cannot perform operations now
	Avoid  int  // operations of the demand that it is not to get, or not as long as another may
}

// Demands returns one demand per stage that has operations ready or out.
func (s *State) Demands(now int64) []Demand {
	if s.status != stint.InProgress || s.fatal != nil {
		return nil
	}
	var out []Demand
	for k := range s.stages {
		st := &s.stages[k]
		d := Demand{Execution: s.ID(), Stage: k, Resources: st.spec.Resources, MeanMillis: st.meanMillis, MaxNodes: cmp.Or(s.mostNodes, s.request.Nodes), Ready: stint.CountRanges(without(st.ready, s.stranded(k)))}
		shy := make(map[uint16]int) // retries that another node is to get first
		for _, key := range s.retries {
			e := s.exceptions[key]
			if key.stage != k || e.notBefore > now || !s.unblocked(k, key.op) || s.strands(k, key.op) {
				continue
			}
			d.Ready++
			for _, i := range s.shyOf(key, now) {
				shy[i]++
			}
		}
		if d.Ready > 0 && !s.reachable(k) {
			d.Ready = 0
		}
		if d.Ready == 0 && st.counts[granted]+st.counts[begun] == 0 {
			continue
		}
		for _, j := range s.jobs {
			d.Retracting = d.Retracting || j.asked
		}
		for i := range s.nodes {
			if s.target(uint16(i)) {
				l := s.load(i, k, now)
				l.Avoid += shy[uint16(i)]
				d.Loads = append(d.Loads, l)
			}
		}
		out = append(out, d)
	}
	return out
}

func (s *State) load(i, k int, now int64) Load {
	n := &s.nodes[i]
	l := Load{Node: n.id, Queued: n.queued, Begun: n.begun, Stuck: n.queued > 0 && now >= n.moved+stuckAfter, Cool: n.coolUntil > now}
	if waits := s.stages[k].waits; i < len(waits) {
		l.Waits = waits[i]
	}
	if avoided := s.avoidedBy(&s.stages[k], uint16(i), now); avoided != nil {
		l.Avoid = stint.CountRanges(common(without(s.stages[k].ready, s.stranded(k)), avoided))
		for _, key := range s.retries {
			if key.stage == k && s.exceptions[key].notBefore <= now && s.unblocked(k, key.op) && !s.strands(k, key.op) && stint.RangesContain(avoided, key.op) {
				l.Avoid++
			}
		}
	}
	return l
}
