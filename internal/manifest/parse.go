package manifest

import (
	"regexp"
	"slices"
	"time"

	"stint"
)

// Bounds of what a manifest may have.
const (
	Version        = 1 // of manifests, the newest that is read
	maxStages      = 1000
	maxWords       = 10_000 // of one list
	maxEnvironment = 128 << 10
	maxDescription = 1000
	maxAttempts    = 100
	maxSlots       = 1000
	maxBackoff     = time.Hour
)

var (
	programName = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,62}$`)
	stageName   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	inputName   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
)

// CheckName says whether a program can be called so.
func CheckName(name string) error {
	if !programName.MatchString(name) {
		return stint.Errorf(stint.Invalid, "bad_name: program name %.80q: expected a lower-case letter, then lower-case letters, digits, -, _ or ., 63 in all at most", name)
	}
	return nil
}

// ProgramTypes lists the types of programs.
func ProgramTypes() []stint.ProgramType {
	return []stint.ProgramType{
		stint.TextSearch, stint.LogAnalysis, stint.Indexing, stint.Conversion, stint.Sorting,
		stint.Simulation, stint.SQL, stint.Learning, stint.Custom,
	}
}

// Parse reads a manifest; file is what it is called in refusals. The files of the
// program are patterns without a digest, nil for all that lie beside the manifest:
// [Resolve] puts the files in their place. Warnings say what was accepted and may
// not be meant.
func Parse(file string, text []byte) (stint.Program, []string, error) {
	root, err := tree(file, text)
	if err != nil {
		return stint.Program{}, nil, err
	}
	p := &programReader{reader: reader{file: file}}
	p.read(root)
	if err := p.err(); err != nil {
		return stint.Program{}, nil, err
	}
	if err := p.arrange(); err != nil {
		return stint.Program{}, nil, err
	}
	return p.program, p.warnings, nil
}

// programReader reads the keys of a program.
type programReader struct {
	reader
	program   stint.Program
	resources stint.Resources // of stages that have none of their own
	stages    []*stageReader
}

func (p *programReader) read(root *node) {
	version := func(n *node) {
		const newest = 1 << 30
		if v := p.integer(n, "version", 1, newest); v > Version {
			p.refuse(n.place, "version_too_new", "version: %d; this service reads 1..%d: upgrade it", v, Version)
		}
	}
	if !p.object(
		root, "manifest",
		field{"version", version},
		field{"name", p.name},
		field{"type", func(n *node) { p.program.Type = word(&p.reader, n, "type", ProgramTypes()...) }},
		field{"description", func(n *node) { p.program.Description = p.line(n, "description", maxDescription) }},
		field{"inputs", p.inputs},
		field{"params", p.params},
		field{"open_params", func(n *node) { p.program.OpenParams = p.flag(n, "open_params") }},
		field{"files", func(n *node) { p.program.Files = p.patterns(n, "files") }},
		field{"environment", func(n *node) { p.program.Environment = p.pairs(n, "environment") }},
		field{"resources", func(n *node) { p.resources = p.readResources(n, "resources") }},
		field{"on_error", p.onError},
		field{"stages", p.readStages},
	) {
		return
	}
	if p.program.Name == "" && len(p.problems) == 0 {
		p.refuse(root.place, "missing", "manifest: no name: give it one, as name: top-errors")
	}
	if len(p.stages) == 0 && len(p.problems) == 0 {
		p.refuse(root.place, "missing", "manifest: no stages: give at least one, as stages: [{name: map, command: [./map]}]")
	}
	if err := p.program.CheckDeclarations(); err != nil && len(p.problems) == 0 {
		p.refuse(root.place, "bad_value", "params: %s", err)
	}
	for i := range p.stages {
		if !p.stages[i].ownResources {
			p.stages[i].stage.Resources = p.resources
		}
	}
}

func (p *programReader) name(n *node) {
	p.program.Name = p.text(n, "name")
	if p.program.Name != "" && CheckName(p.program.Name) != nil {
		p.refuse(n.place, "bad_name", "name: %s; expected a lower-case letter, then lower-case letters, digits, -, _ or ., 63 in all at most", quote(p.program.Name))
	}
}

func (p *programReader) inputs(n *node) {
	p.each(n, "inputs", maxStages, func(n *node, what string) {
		name := p.text(n, what)
		switch {
		case name == "":
			if len(p.problems) == 0 {
				p.refuse(n.place, "empty", "%s: a name is expected", what)
			}
		case !inputName.MatchString(name):
			p.refuse(n.place, "bad_name", "%s: %s; expected a lower-case letter, then letters, digits, - or _: locations are given when the program is run", what, quote(name))
		case slices.Contains(p.program.Inputs, name):
			p.refuse(n.place, "duplicate", "%s: input %q is there twice", what, name)
		}
		p.program.Inputs = append(p.program.Inputs, name)
	})
}

func (p *programReader) params(n *node) {
	if n.kind != mapping {
		p.refuse(n.place, "wrong_type", "params: %s; expected NAME: {type: …, default: …}", n.describe())
		return
	}
	for _, e := range n.entries {
		what := "params." + e.name
		param := stint.Param{Name: e.name}
		known := len(p.problems)
		var values, preset *node
		p.object(
			e.value, what,
			field{"type", func(n *node) { param.Type = word(&p.reader, n, what+".type", stint.ParamTypes()...) }},
			field{"default", func(n *node) { preset = n }},
			field{"required", func(n *node) { param.Required = p.flag(n, what+".required") }},
			field{"values", func(n *node) { values = n }},
			field{"description", func(n *node) { param.Description = p.line(n, what+".description", maxDescription) }},
		)
		if param.Type == stint.TextParam {
			param.Type = ""
		}
		read := p.raw // numbers and flags are written as such
		if param.Type == "" {
			read = p.text
		}
		if preset != nil {
			param.Default = read(preset, what+".default")
		}
		if values != nil {
			p.each(values, what+".values", maxWords, func(n *node, what string) { param.Values = append(param.Values, read(n, what)) })
		}
		if len(p.problems) == known {
			p.declared(e.place, param)
		}
		p.program.Params = append(p.program.Params, param)
	}
}

// declared refuses a declaration that makes no sense, where it stands.
func (p *programReader) declared(where place, param stint.Param) {
	alone := stint.Program{Name: p.program.Name, Params: []stint.Param{param}}
	if err := alone.CheckDeclarations(); err != nil {
		p.refuse(where, "bad_value", "%s", err)
	}
}

func (p *programReader) onError(n *node) {
	e := &p.program.OnError
	p.object(
		n, "on_error",
		field{"attempts", func(n *node) { e.Attempts = int(p.integer(n, "on_error.attempts", 0, maxAttempts)) }},
		field{"backoff", func(n *node) { e.Backoff = p.millis(n, "on_error.backoff", maxBackoff) }},
		field{"skip_bad_records", func(n *node) { e.SkipBadRecords = p.share(n, "on_error.skip_bad_records") }},
		field{"complete_as_much_as_possible", func(n *node) { e.CompleteErrors = p.flag(n, "on_error.complete_as_much_as_possible") }},
	)
}

func (r *reader) readResources(n *node, what string) (out stint.Resources) {
	r.object(
		n, what,
		field{"memory", func(n *node) { out.Memory = r.size(n, what+".memory") }},
		field{"slots", func(n *node) { out.Slots = int(r.integer(n, what+".slots", 1, maxSlots)) }},
	)
	return out
}

// patterns reads names and patterns of files.
func (r *reader) patterns(n *node, what string) []stint.ProgramFile {
	out := []stint.ProgramFile{}
	for _, name := range r.names(n, what) {
		out = append(out, stint.ProgramFile{Name: name})
	}
	return out
}

func (r *reader) names(n *node, what string) []string {
	out := []string{}
	r.each(n, what, maxWords, func(n *node, what string) {
		name := r.text(n, what)
		if code, why := badPattern(name); code != "" && name != "" {
			r.refuse(n.place, code, "%s: %s; %s", what, quote(name), why)
		}
		out = append(out, name)
	})
	return out
}
