package native

import (
	"maps"
	"slices"
	"strings"

	"stint"
)

// shipped is a program that comes with Stint: what it is, and what its
// parameters may be.
type shipped struct {
	program func(params map[string]string) stint.Program
	check   func(params map[string]string) error
	params  []string // names
}

func programs() map[string]shipped {
	return map[string]shipped{
		"wordcount": {params: []string{"fold"}, check: checkWordcount, program: wordcountProgram},
		"grep":      {params: []string{"count", "fixed", "ignore_case", "invert", "pattern"}, check: checkGrep, program: grepProgram},
		"identity":  {program: singleStage("identity", stint.Conversion)},
		"noop":      {program: noopProgram},
	}
}

// noopProgram reads nothing and leaves nothing: what it costs is what Stint costs.
func noopProgram(params map[string]string) stint.Program {
	p := singleStage("noop", stint.Simulation)(params)
	p.Stages[0].NoOutput = true
	return p
}

// Programs returns the programs that come with Stint, sorted by name, as they
// are without parameters.
func Programs() []stint.Program {
	known := programs()
	out := make([]stint.Program, 0, len(known))
	for _, name := range slices.Sorted(maps.Keys(known)) {
		out = append(out, known[name].program(nil))
	}
	return out
}

// Program returns the shipped program of that name for the given parameters,
// whose stages may depend on them. Errors have code [stint.NotFound] for a name
// and [stint.Invalid] for a parameter, and say what is allowed. It is a pure
// function.
func Program(name string, params map[string]string) (stint.Program, error) {
	known := programs()
	p, ok := known[name]
	if !ok {
		return stint.Program{}, stint.Errorf(stint.NotFound, "program %.80q: expected one of %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	for _, param := range slices.Sorted(maps.Keys(params)) {
		if !slices.Contains(p.params, param) {
			return stint.Program{}, stint.Errorf(stint.Invalid, "program %s: parameter %.80q: %s", name, param, allowed(p.params))
		}
	}
	if p.check != nil {
		if err := p.check(params); err != nil {
			return stint.Program{}, err
		}
	}
	return p.program(params), nil
}

// CheckAction says whether an operator of that name exists; it is for programs
// that are not shipped. Errors have code [stint.Invalid].
func CheckAction(name string) error {
	if known := operators(); known[name] == nil {
		return unknownOperator(name, known)
	}
	return nil
}

func allowed(names []string) string {
	if len(names) == 0 {
		return "it has no parameters"
	}
	return "expected one of " + strings.Join(names, ", ")
}

func checkWordcount(params map[string]string) error {
	_, err := boolParam(params, "fold")
	return err
}

func checkGrep(params map[string]string) error {
	_, err := newSearch(params)
	return err
}

func wordcountProgram(map[string]string) stint.Program {
	return stint.Program{Name: "wordcount", Type: stint.Indexing, Stages: []stint.Stage{
		{Name: "count", Action: stint.Action{Native: "wordcount"}, Combine: &stint.Action{Native: "sum"}, Input: stint.Edge{Kind: stint.FromInput}},
		{Name: "total", Action: stint.Action{Native: "sum"}, Input: stint.Edge{Kind: stint.Shuffle, From: "count"}},
	}}
}

func grepProgram(params map[string]string) stint.Program {
	p := stint.Program{Name: "grep", Type: stint.TextSearch, Stages: []stint.Stage{
		{Name: "search", Action: stint.Action{Native: "grep"}, Input: stint.Edge{Kind: stint.FromInput}},
	}}
	if counting, err := boolParam(params, "count"); err == nil && counting {
		p.Stages = append(p.Stages, stint.Stage{
			Name: "total", Action: stint.Action{Native: "sum"},
			Input: stint.Edge{Kind: stint.Shuffle, From: "search", Partitions: 1},
		})
	}
	return p
}

func singleStage(name string, kind stint.ProgramType) func(map[string]string) stint.Program {
	return func(map[string]string) stint.Program {
		return stint.Program{Name: name, Type: kind, Stages: []stint.Stage{
			{Name: name, Action: stint.Action{Native: name}, Input: stint.Edge{Kind: stint.FromInput}},
		}}
	}
}

// boolParam reads a parameter that is true or false; missing is false.
func boolParam(params map[string]string, name string) (bool, error) {
	switch v := params[name]; v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, stint.Errorf(stint.Invalid, "parameter %s=%.80q: expected true or false", name, v)
	}
}
