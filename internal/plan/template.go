package plan

import (
	"cmp"

	"stint"
)

// Template is how programs of a type are executed where neither the request nor
// the program says otherwise.
type Template struct {
	Type        stint.ProgramType `json:"type"`
	SubsetSize  int64             `json:"subset_size"`      // bytes of a subset of a large input, at most; smaller inputs have smaller ones
	Attempts    int               `json:"attempts"`         // of one operation
	Memory      int64             `json:"memory,omitempty"` // of one operation, bytes; 0: a slot's share of the node's
	Description string            `json:"description"`      // why so
}

// TemplateOf returns the template of a program type; of one that is not known, as
// of none at all, that of custom programs.
func TemplateOf(kind stint.ProgramType) Template {
	t := Template{Type: kind, SubsetSize: 64 << 20, Attempts: 4}
	switch kind {
	case stint.TextSearch:
		t.Description = "reads much and leaves little: large subsets"
	case stint.LogAnalysis:
		t.Description = "counts are combined before they leave a node: large subsets, of which each leaves as little as a small one"
	case stint.Indexing:
		t.SubsetSize, t.Description = 32<<20, "leaves nearly as much as it reads: subsets whose records are sorted in memory"
	case stint.Conversion:
		t.Description = "leaves as much as it reads and holds little of it: large subsets"
	case stint.Sorting:
		t.SubsetSize, t.Description = 32<<20, "leaves as much as it reads, sorted: subsets whose records are sorted in memory"
	case stint.Simulation:
		t.Description = "computes long over few bytes: a range of seeds is cut into some thousand operations"
	case stint.SQL:
		t.Memory, t.Description = 512<<20, "groups and joins are held in memory: fewer operations at once on a node"
	case stint.Learning:
		t.SubsetSize, t.Attempts, t.Memory = 128<<20, 2, 1<<30
		t.Description = "operations are long and hold a model: large subsets, much memory, and no patience with one that fails"
	case stint.Custom:
		t.Description = "nothing is known of it"
	default:
		return TemplateOf(stint.Custom)
	}
	return t
}

// ResourcesOf returns what one operation of a program's stage takes: what the stage
// says, and otherwise what the template of the program's type says.
func ResourcesOf(p *stint.Program, stage *stint.Stage) stint.Resources {
	r := stage.Resources
	r.Memory = cmp.Or(r.Memory, TemplateOf(p.Type).Memory)
	return r
}
