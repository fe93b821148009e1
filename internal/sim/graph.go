package sim

import (
	"fmt"
	"slices"
	"strings"

	"stint"
	"stint/internal/plan"
)

// edge is an edge between stages as the world sees it, from the names in the
// specification alone: it does not ask the plan.
type edge struct {
	from, to int // stages; from is -1 for the input
	place    int // among the edges of the stage that reads
	kind     stint.EdgeKind
}

// planned is a plan, and its edges as the world sees them.
type planned struct {
	*plan.Plan
	into, out [][]edge // by stage: those that it reads by, and those that it is read by
	perfect   [][]content
}

func newPlanned(p *plan.Plan) *planned {
	stages := p.Spec.Stages
	out := &planned{Plan: p, into: make([][]edge, len(stages)), out: make([][]edge, len(stages))}
	for _, e := range edgesOf(stages) {
		out.into[e.to] = append(out.into[e.to], e)
		if e.from >= 0 {
			out.out[e.from] = append(out.out[e.from], e)
		}
	}
	return out
}

// edgesOf returns the edges of the stages of a program.
func edgesOf(stages []stint.StageSpec) (out []edge) {
	for k := range stages {
		for n, e := range stages[k].Edges() {
			from := -1
			if e.Kind != stint.FromInput {
				from = slices.IndexFunc(stages, func(s stint.StageSpec) bool { return s.Name == e.From })
			}
			out = append(out, edge{from: from, to: k, place: n, kind: e.Kind})
		}
	}
	return out
}

// read is what operation op of the stage that reads is to be given by an edge.
func (p *planned) read(e *edge, op uint32) stint.Range {
	switch e.kind {
	case stint.OneToOne:
		return stint.Range{From: op, To: op + 1}
	case stint.Gather:
		g := p.Spec.Stages[e.to].Gather
		return stint.Range{From: g[op], To: g[op+1]}
	case stint.FromInput, stint.Shuffle, stint.Broadcast:
	}
	return stint.Range{To: p.Spec.Stages[e.from].Operations}
}

// perform is what operation op of a stage makes of what it reads, by edge. What it
// only moves stays what it was; what it has looked at beside that, it says.
func perform(stage *stint.StageSpec, op uint32, inputs [][]content) content {
	moved := joined(inputs[0])
	version := stage.Environment[programVersion]
	if stage.Input.Kind != stint.Shuffle && len(inputs) == 1 {
		if version != "" {
			moved.text = strings.TrimSpace(moved.text + " " + stage.Name + "@" + version)
		}
		return moved
	}
	var b strings.Builder
	for _, list := range inputs {
		fmt.Fprintf(&b, "%x ", joined(list).sum())
	}
	if stage.Input.Kind == stint.Shuffle {
		return content{text: fmt.Sprintf("%s%s/%d:%x", stage.Name, version, op, content{text: b.String()}.sum())}
	}
	beside := fmt.Sprintf("%s%s:%s", stage.Name, version, b.String()[strings.IndexByte(b.String(), ' '):])
	moved.text = strings.TrimSpace(moved.text + " " + beside)
	return moved
}

func (o *order) perform() content {
	return perform(&o.plan.Spec.Stages[o.grant.Stage], o.op, o.inputs)
}

// model is the output of one machine that performs everything in order. Where
// the operations of a stage are cuts of the input, however made, it knows only what
// they are together: then the output is one content, and cut is true.
func (p *planned) model() (out []content, cut bool) {
	stages := p.Spec.Stages
	all, cuts := make([][]content, len(stages)), make([]bool, len(stages))
	for k := range stages {
		var inputs [][]content
		for _, e := range p.into[k] {
			if e.from < 0 {
				inputs, cuts[k] = append(inputs, p.whole(stages[k].Input.From)), true
				continue
			}
			inputs = append(inputs, all[e.from])
			cuts[k] = cuts[k] || e.kind == stint.OneToOne && cuts[e.from]
		}
		switch stages[k].Input.Kind {
		case stint.FromInput, stint.OneToOne:
			for op, c := range inputs[0] {
				all[k] = append(all[k], perform(&stages[k], uint32(op), append([][]content{{c}}, inputs[1:]...)))
			}
		case stint.Gather:
			if k == len(p.Spec.Program.Stages) { // the plan's own
				return all[k-1], true
			}
			all[k] = []content{perform(&stages[k], 0, inputs)}
		case stint.Shuffle:
			for op := range stages[k].Operations {
				all[k] = append(all[k], perform(&stages[k], op, inputs))
			}
		case stint.Broadcast:
		}
	}
	return all[len(stages)-1], cuts[len(stages)-1]
}

// whole is the input of a name; nothing at all if it is empty.
func (p *planned) whole(name string) []content {
	whole := content{}
	if v := p.Listing.Range; v != nil && v.Count > 0 {
		whole.pieces = []piece{{"values", v.First, v.First + v.Count}}
	}
	for _, o := range p.Listing.Objects {
		if o.Size > 0 && o.Input == name {
			whole.pieces = append(whole.pieces, piece{contentOf(o), 0, o.Size})
		}
	}
	if whole.pieces == nil {
		return nil
	}
	return []content{whole}
}

// grapher draws a program of random shape. What it knows of each stage: whether it
// is read, and whether it is shuffled.
type grapher struct {
	world          *world
	inputs         []string
	stages         []stint.Stage
	read, shuffled []bool
}

// graph draws a program whose stages read each other in any way there is.
func (w *world) graph(inputs []string) []stint.Stage {
	g := &grapher{world: w, inputs: inputs}
	for range 1 + w.rng.IntN(5) {
		g.add()
	}
	for len(g.stages) < len(inputs) {
		g.add()
	}
	var loose []int // but the last
	for k := range len(g.stages) - 1 {
		if !g.read[k] {
			loose = append(loose, k)
		}
	}
	if len(loose) > 0 {
		g.finish(append(loose, len(g.stages)-1))
	}
	return g.stages
}

// add adds a stage that reads the input, or earlier stages.
func (g *grapher) add() {
	rng, k := g.world.rng, len(g.stages)
	var e stint.Edge
	switch kind := rng.IntN(10); {
	case k < max(len(g.inputs), 1) || kind == 0:
		e.Kind = stint.FromInput
		if n := len(g.inputs); n > 0 {
			e.From = g.inputs[min(k, n-1)]
		}
	case kind < 5:
		e = g.edge(stint.Shuffle, -1)
	case kind < 8:
		e = g.edge(stint.OneToOne, -1)
	default:
		e = g.edge(stint.Gather, -1)
	}
	g.push(e)
	st := &g.stages[k]
	if e.Kind == stint.Shuffle && rng.IntN(3) == 0 {
		if b := g.edge(stint.Shuffle, k); b.From != e.From {
			g.beside(st, b)
		}
	}
	for range rng.IntN(5) / 3 {
		g.beside(st, g.edge(stint.Broadcast, k))
	}
}

// edge draws an edge of a kind to a stage before the k-th that may be read so; if
// there is none, to the input.
func (g *grapher) edge(kind stint.EdgeKind, before int) stint.Edge {
	if before < 0 {
		before = len(g.stages)
	}
	at := g.world.rng.IntN(max(before, 1))
	for range before {
		if may := !g.read[at] || g.shuffled[at] == (kind == stint.Shuffle); may {
			return stint.Edge{Kind: kind, From: g.stages[at].Name}
		}
		at = (at + 1) % before
	}
	e := stint.Edge{Kind: stint.FromInput}
	if len(g.inputs) > 0 {
		e.From = g.inputs[0]
	}
	return e
}

func (g *grapher) push(e stint.Edge) {
	name := fmt.Sprintf("s%d", len(g.stages))
	g.mark(e)
	g.stages = append(g.stages, stint.Stage{Name: name, Action: stint.Action{Native: "identity"}, Input: e})
	g.read, g.shuffled = append(g.read, false), append(g.shuffled, false)
}

// beside adds an edge, unless it is to the input or there already.
func (g *grapher) beside(st *stint.Stage, e stint.Edge) {
	same := func(o stint.Edge) bool { return o.Kind == e.Kind && o.From == e.From }
	if e.Kind == stint.FromInput || slices.ContainsFunc(st.Edges(), same) {
		return
	}
	g.mark(e)
	st.Beside = append(st.Beside, e)
}

func (g *grapher) mark(e stint.Edge) {
	for k := range g.stages {
		if e.Kind != stint.FromInput && g.stages[k].Name == e.From {
			g.read[k], g.shuffled[k] = true, e.Kind == stint.Shuffle
		}
	}
}

// finish adds a last stage that reads what nobody has read.
func (g *grapher) finish(loose []int) {
	first, beside := stint.Shuffle, stint.Shuffle
	if kind := g.world.rng.IntN(4); kind > 0 {
		first, beside = []stint.EdgeKind{stint.OneToOne, stint.Gather, stint.Shuffle}[kind-1], stint.Broadcast
	}
	g.push(stint.Edge{Kind: first, From: g.stages[loose[0]].Name})
	for _, k := range loose[1:] {
		g.beside(&g.stages[len(g.stages)-1], stint.Edge{Kind: beside, From: g.stages[k].Name})
	}
}

// countShape counts what of a plan there is in the seeds.
func (w *world) countShape(p *planned) {
	for k := range p.Spec.Stages {
		st := &p.Spec.Stages[k]
		shuffles := 0
		for _, e := range st.Edges() {
			switch e.Kind {
			case stint.Shuffle:
				if shuffles++; shuffles == 2 {
					w.count(joins)
				}
			case stint.Broadcast:
				w.count(broadcasts)
			case stint.OneToOne:
				w.count(oneToOnes)
			case stint.Gather:
				if k < len(p.Spec.Program.Stages) {
					w.count(programGathers)
				}
			case stint.FromInput:
			}
		}
		if len(p.Readers(k)) > 1 {
			w.count(readTwice)
		}
	}
}
