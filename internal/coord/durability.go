package coord

import "stint"

// Durability says what would be lost with each node as of now, in milliseconds
// since 1970.
func (s *State) Durability(now int64) stint.Durability {
	out := stint.Durability{Execution: s.ID(), Replication: s.replication(), Nodes: []stint.NodeRisk{}}
	risks := make([]stint.NodeRisk, len(s.nodes))
	for k := range s.stages {
		st := &s.stages[k]
		if out.Saved += int64(st.saved); st.spec.Part {
			out.Saved += int64(st.counts[done])
		}
		further := st.countCopies(anyNode)
		for n := range st.ops {
			o := &st.ops[n]
			switch {
			case o.state == begun:
				risks[o.node].Operations++
				risks[o.node].CoreSeconds += float64(s.since(now)-min(st.starts[n], s.since(now))) / 1000
			case o.state == done && !o.saved && !o.gone && further[n] == 0 && s.needed(k, uint32(n)):
				risks[o.node].Operations++
				risks[o.node].CoreSeconds += float64(o.end-min(st.starts[n], o.end)) / 1000
			}
		}
	}
	for i := range s.nodes {
		if r := risks[i]; s.nodes[i].status != nodeLost && (s.nodes[i].status == nodeReady || r.Operations > 0) {
			r.Node = s.nodes[i].id
			out.Nodes = append(out.Nodes, r)
		}
	}
	return out
}
