package native

import (
	"maps"
	"slices"
	"strings"

	"stint"
)

// shipped is a program that comes with Stint: what it is, and what its
// parameters may be beyond what each is declared to be.
type shipped struct {
	program func(params map[string]string) stint.Program
	check   func(params map[string]string) error
}

func programs() map[string]shipped {
	return map[string]shipped{
		"wordcount":  {program: wordcountProgram},
		"grep":       {check: checkGrep, program: grepProgram},
		"sort":       {check: checkSort, program: sortProgram},
		"logstats":   {check: checkLogstats, program: logstatsProgram},
		"index":      {check: checkIndex, program: indexProgram},
		"montecarlo": {check: checkMontecarlo, program: montecarloProgram},
		"join":       {check: checkJoin, program: joinProgram},
		"identity":   {program: identityProgram},
		"noop":       {program: noopProgram},
	}
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
	program := p.program(params)
	if _, err := program.CheckParams(params); err != nil {
		return stint.Program{}, err
	}
	if p.check != nil {
		if err := p.check(params); err != nil {
			return stint.Program{}, err
		}
	}
	return program, nil
}

// CheckAction says whether an operator of that name exists; it is for programs
// that are not shipped. Errors have code [stint.Invalid].
func CheckAction(name string) error {
	if known := operators(); known[name] == nil {
		return unknownOperator(name, known)
	}
	return nil
}

func checkGrep(params map[string]string) error {
	_, err := newSearch(params)
	return err
}

func wordcountParams() []stint.Param {
	return []stint.Param{{Name: "fold", Type: stint.FlagParam, Default: "false", Description: "letters A to Z count as a to z"}}
}

func wordcountProgram(map[string]string) stint.Program {
	return stint.Program{
		Name: "wordcount", Type: stint.Indexing, Params: wordcountParams(),
		Description: "how often each word occurs; words are what white space separates",
		Stages: []stint.Stage{
			{Name: "count", Action: stint.Action{Native: "wordcount"}, Combine: &stint.Action{Native: "sum"}, Input: stint.Edge{Kind: stint.FromInput}},
			{Name: "total", Action: stint.Action{Native: "sum"}, Input: stint.Edge{Kind: stint.Shuffle, From: "count"}},
		},
	}
}

func grepParams() []stint.Param {
	return []stint.Param{
		{Name: "pattern", Type: stint.TextParam, Required: true, Description: "regular expression in the syntax of RE2"},
		{Name: "fixed", Type: stint.FlagParam, Default: "false", Description: "the pattern is text and no expression"},
		{Name: "ignore_case", Type: stint.FlagParam, Default: "false", Description: "upper and lower case are the same"},
		{Name: "invert", Type: stint.FlagParam, Default: "false", Description: "the lines that do not match"},
		{Name: "count", Type: stint.FlagParam, Default: "false", Description: "only how many lines there are"},
	}
}

func grepProgram(params map[string]string) stint.Program {
	p := stint.Program{
		Name: "grep", Type: stint.TextSearch, Params: grepParams(),
		Description: "the lines that match a pattern, or how many they are",
		Stages: []stint.Stage{
			{Name: "search", Action: stint.Action{Native: "grep"}, Input: stint.Edge{Kind: stint.FromInput}},
		},
	}
	if params["count"] == "true" {
		p.Stages = append(p.Stages, stint.Stage{
			Name: "total", Action: stint.Action{Native: "sum"},
			Input: stint.Edge{Kind: stint.Shuffle, From: "search", Partitions: 1},
		})
	}
	return p
}

func identityProgram(map[string]string) stint.Program {
	return stint.Program{
		Name: "identity", Type: stint.Conversion, Description: "copies its input",
		Stages: []stint.Stage{{Name: "identity", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput}}},
	}
}

// noopProgram reads nothing and leaves nothing: what it costs is what Stint costs.
func noopProgram(map[string]string) stint.Program {
	return stint.Program{
		Name: "noop", Type: stint.Simulation, Description: "operations that do nothing, to measure what they cost",
		Stages: []stint.Stage{{Name: "noop", Action: stint.Action{Native: "noop"}, Input: stint.Edge{Kind: stint.FromInput}, NoOutput: true}},
	}
}
