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
	return e.avoid != i || e.notBefore+avoidFor <= now || !s.another(i, now)
}

// another reports whether there is a node beside node i that may be given work.
func (s *State) another(i uint16, now int64) bool {
	for k := range s.nodes {
		if uint16(k) != i && s.target(uint16(k)) && s.nodes[k].coolUntil <= now {
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

// retract asks a node for operations of a stage that it has not begun, the
// newest jobs first.
func (s *State) retract(d *Delta, a *RetractAsk) {
	i, known := s.nodeIndex(a.Node)
	if !known || s.nodes[i].status != nodeReady || s.status != stint.InProgress {
		return
	}
	left := a.Count
	jobs := s.nodes[i].jobs
	for at := len(jobs) - 1; at >= 0 && left > 0; at-- {
		j := s.jobs[jobs[at]]
		if j.stage != a.Stage || j.asked {
			continue
		}
		j.asked = true
		n := min(left, j.left)
		d.Messages = append(d.Messages, Message{Node: a.Node, Retract: &stint.Retract{Execution: s.ID(), Job: jobs[at], Count: n}})
		left -= n
	}
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
	Cool   bool // it said it cannot perform operations now
	Stage  int  // of its newest job
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
			if !stint.RangesContain(s.avoidedBy(st, e.avoid, now), key.op) && !s.due(key, e.avoid, now) {
				shy[e.avoid]++
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
	l := Load{Node: n.id, Queued: n.queued, Begun: n.begun, Cool: n.coolUntil > now, Stage: k}
	if avoided := s.avoidedBy(&s.stages[k], uint16(i), now); avoided != nil {
		l.Avoid = stint.CountRanges(common(without(s.stages[k].ready, s.stranded(k)), avoided))
		for _, key := range s.retries {
			if key.stage == k && s.exceptions[key].notBefore <= now && s.unblocked(k, key.op) && !s.strands(k, key.op) && stint.RangesContain(avoided, key.op) {
				l.Avoid++
			}
		}
	}
	if len(n.jobs) > 0 {
		l.Stage = s.jobs[n.jobs[len(n.jobs)-1]].stage
	}
	return l
}
