package manifest

import (
	"cmp"
	"slices"
	"strings"

	"stint"
	"stint/internal/plan"
)

const maxPartitions = plan.MaxPartitions

// arrange checks what stages say of each other, and puts them into an order in
// which each comes after those it reads: the order of the text, if that is one.
func (p *programReader) arrange() error {
	p.references()
	if err := p.err(); err != nil {
		return err
	}
	order, err := p.order()
	if err != nil {
		return err
	}
	for _, i := range order {
		p.program.Stages = append(p.program.Stages, p.stages[i].stage)
	}
	return p.checkGraph()
}

// references refuses names of stages and inputs that are not there.
func (p *programReader) references() {
	names := make([]string, len(p.stages))
	for i, s := range p.stages {
		names[i] = s.stage.Name
	}
	for _, s := range p.stages {
		for k, e := range s.stage.Edges() {
			where := s.froms[min(k, len(s.froms)-1)]
			if e.Kind == stint.FromInput {
				p.inputReference(s, e, where)
				continue
			}
			p.reference(where, s.what, e.From, "stage", names)
			if e.Partitioner != nil && e.Partitioner.Kind == stint.RangePartition {
				p.reference(where, s.what+" partitioner", e.Partitioner.From, "stage", names)
			}
		}
	}
}

func (p *programReader) inputReference(s *stageReader, e stint.Edge, where place) {
	switch {
	case len(p.program.Inputs) == 0 && e.From != "":
		p.refuse(where, "unknown_reference", "%s: input %s; the inputs of this program have no names: write inputs: [%s] at the top", s.what, quote(e.From), e.From)
	case len(p.program.Inputs) > 0 && e.From == "":
		p.refuse(where, "missing", "%s: reads an input without saying which; write input: {input: %s}", s.what, p.program.Inputs[0])
	case len(p.program.Inputs) > 0:
		p.reference(where, s.what, e.From, "input", p.program.Inputs)
	}
}

func (p *programReader) reference(where place, what, name, kind string, names []string) {
	if slices.Contains(names, name) {
		return
	}
	if hint := stint.Nearest(name, names); hint != "" {
		p.refuse(where, "unknown_reference", "%s: there is no %s %s; did you mean %q?", what, kind, quote(name), hint)
		return
	}
	p.refuse(where, "unknown_reference", "%s: there is no %s %s; there are %s", what, kind, quote(name), strings.Join(names, ", "))
}

// order returns the stages' numbers so that each comes after those it reads.
func (p *programReader) order() ([]int, error) {
	index := make(map[string]int, len(p.stages))
	for i, s := range p.stages {
		index[s.stage.Name] = i
	}
	reads := make([][]int, len(p.stages))
	for i, s := range p.stages {
		for _, e := range s.stage.Edges() {
			if e.Kind != stint.FromInput {
				reads[i] = append(reads[i], index[e.From])
			}
		}
	}
	done := make([]bool, len(p.stages))
	order := make([]int, 0, len(p.stages))
	for len(order) < len(p.stages) {
		ready := -1
		for i := range p.stages {
			if !done[i] && !slices.ContainsFunc(reads[i], func(from int) bool { return !done[from] }) {
				ready = i
				break
			}
		}
		if ready < 0 {
			return nil, p.cycle(reads, done)
		}
		done[ready] = true
		order = append(order, ready)
	}
	return order, nil
}

// cycle names the stages of a circle: each that is not done reads one that is not.
func (p *programReader) cycle(reads [][]int, done []bool) error {
	at := slices.Index(done, false)
	var path []int
	for !slices.Contains(path, at) {
		path = append(path, at)
		at = reads[at][slices.IndexFunc(reads[at], func(from int) bool { return !done[from] })]
	}
	path = append(path[slices.Index(path, at):], at)
	slices.Reverse(path) // it was walked against the flow
	names := make([]string, len(path))
	for i, n := range path {
		names[i] = p.stages[n].stage.Name
	}
	return refusal(p.file, p.stages[path[0]].names, "cycle", "stages read each other in a circle: %s", strings.Join(names, " -> "))
}

// checkGraph asks the plan, and says where the stage stands that it refuses.
func (p *programReader) checkGraph() error {
	checked := p.program
	checked.Files = nil // they are patterns as yet
	checked.Stages = slices.Clone(p.program.Stages)
	for i := range checked.Stages {
		checked.Stages[i].Files = nil
	}
	if r := plan.Examine(checked); r != nil {
		return refusal(p.file, p.placeOf(r.Stage), cmp.Or(r.Word, "bad_program"), "%s", r.Text)
	}
	return nil
}

// placeOf finds the stage that has a number in the program.
func (p *programReader) placeOf(number int) place {
	for _, s := range p.stages {
		if number >= 0 && s.stage.Name == p.program.Stages[number].Name {
			return s.names
		}
	}
	return place{1, 1}
}
