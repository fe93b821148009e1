package plan

import "stint"

// Input is what [Plan.Upstream] returns for an edge that reads the execution's input.
const Input = -1

// Reader is an edge that reads a stage: edge 0 is the input of the stage that
// reads, edge n is what it reads beside that, counted from 1.
type Reader struct {
	Stage, Edge int
}

// graph knows who reads what, by the numbers of the stages of a plan.
type graph struct {
	kinds     [][]stint.EdgeKind // by stage and edge
	upstream  [][]int
	readers   [][]Reader
	ancestors [][]int // of each stage all that its output is made of, without itself, ascending
}

func graphOf(stages []stint.StageSpec) graph {
	g := graph{
		kinds: make([][]stint.EdgeKind, len(stages)), upstream: make([][]int, len(stages)),
		readers: make([][]Reader, len(stages)), ancestors: make([][]int, len(stages)),
	}
	at := make(map[string]int, len(stages))
	for k := range stages {
		at[stages[k].Name] = k
		all := make([]bool, k)
		for n, e := range stages[k].Edges() {
			from := Input
			if e.Kind != stint.FromInput {
				from = at[e.From]
				g.readers[from] = append(g.readers[from], Reader{Stage: k, Edge: n})
				all[from] = true
				for _, a := range g.ancestors[from] {
					all[a] = true
				}
			}
			g.kinds[k], g.upstream[k] = append(g.kinds[k], e.Kind), append(g.upstream[k], from)
		}
		for a, is := range all {
			if is {
				g.ancestors[k] = append(g.ancestors[k], a)
			}
		}
	}
	return g
}

// Edges returns how many edges a stage has: one, and those beside it.
func (p *Plan) Edges(stage int) int { return len(p.graph.kinds[stage]) }

// Upstream returns the stage that an edge of a stage reads, [Input] if that is
// the execution's input.
func (p *Plan) Upstream(stage, edge int) int { return p.graph.upstream[stage][edge] }

// Readers returns the edges that read a stage, in the order of the stages.
func (p *Plan) Readers(stage int) []Reader { return p.graph.readers[stage] }

// Ancestors returns all stages that the output of a stage is made of, directly or
// not, in their order.
func (p *Plan) Ancestors(stage int) []int { return p.graph.ancestors[stage] }

// Whole reports whether every operation of a stage reads all operations of the
// stage that an edge leads to, so that none can begin before all of those have
// ended.
func (p *Plan) Whole(stage, edge int) bool {
	kind := p.graph.kinds[stage][edge]
	return kind == stint.Shuffle || kind == stint.Broadcast
}

// ReadsInput reports whether a stage reads the execution's input.
func (p *Plan) ReadsInput(stage int) bool { return p.graph.upstream[stage][0] == Input }

// Reads returns the operations of the stage upstream that operation op reads by an
// edge that does not lead to the execution's input.
func (p *Plan) Reads(stage, edge int, op uint32) stint.Range {
	switch st := &p.Spec.Stages[stage]; {
	case p.Whole(stage, edge):
		return stint.Range{To: p.Spec.Stages[p.Upstream(stage, edge)].Operations}
	case st.Gather != nil:
		return stint.Range{From: st.Gather[op], To: st.Gather[op+1]}
	}
	return stint.Range{From: op, To: op + 1}
}

// ReadBy returns the operation of the stage of a reader that reads operation op,
// if not all of them do: see [Plan.Whole].
func (p *Plan) ReadBy(r Reader, op uint32) uint32 {
	g := p.Spec.Stages[r.Stage].Gather
	if g == nil {
		return op
	}
	lo, hi := 0, len(g)-1
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if g[mid] <= op {
			lo = mid
		} else {
			hi = mid
		}
	}
	return uint32(lo)
}

// shuffles is what the edges have in common by which stages are shuffled
// together: all that read one stage, and all that one stage reads.
type shuffles struct {
	partitions  int // 0: nobody said
	partitioner stint.Partitioner
	by          string // stage that said so
}

// groupShuffles returns, for each stage that is shuffled, what its readers say of
// the shuffle. They must say the same.
func groupShuffles(stages []stint.Stage) ([]*shuffles, error) {
	groups := make([]*shuffles, len(stages))
	at := make(map[string]int, len(stages))
	for i := range stages {
		st := &stages[i]
		at[st.Name] = i
		var mine *shuffles
		for _, e := range st.Edges() {
			if e.Kind != stint.Shuffle {
				continue
			}
			one := &shuffles{partitions: e.Partitions, partitioner: spelledOut(e.Partitioner), by: st.Name}
			for _, other := range []*shuffles{groups[at[e.From]], mine} {
				if err := one.join(other); err != nil {
					return nil, ofStage(i, err)
				}
			}
			before := groups[at[e.From]]
			for k, g := range groups {
				if g != nil && (g == mine || g == before) {
					groups[k] = one
				}
			}
			groups[at[e.From]], mine = one, one
		}
	}
	return groups, nil
}

// join takes in what else is said of the same shuffle.
func (g *shuffles) join(other *shuffles) error {
	switch {
	case other == nil:
		return nil
	case g.partitioner != other.partitioner:
		return stint.Errorf(stint.Invalid, "stages %q and %q: shuffles of the same stage, or that are joined, need the same partitioner", other.by, g.by)
	case g.partitions == 0:
		g.partitions, g.by = other.partitions, other.by
	case other.partitions != 0 && other.partitions != g.partitions:
		return stint.Errorf(stint.Invalid, "stages %q and %q: shuffles of the same stage, or that are joined, need the same number of partitions: %d or %d", other.by, g.by, other.partitions, g.partitions)
	}
	return nil
}

// spelledOut returns a partitioner in which nothing is left to be understood.
func spelledOut(p *stint.Partitioner) stint.Partitioner {
	if p == nil {
		return stint.Partitioner{Kind: stint.HashPartition}
	}
	out := *p
	if out.Kind == stint.FieldPartition && out.Separator == "" {
		out.Separator = "\t"
	}
	return out
}
