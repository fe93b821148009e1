package manifest

import (
	"fmt"
	"strings"

	"stint"
)

// stageReader reads the keys of a stage.
type stageReader struct {
	*programReader
	where place
	what  string
	stage stint.Stage
	froms []place // of the names that the edges have, in their order
	names place   // of its own name

	ownResources bool
}

func (p *programReader) readStages(n *node) {
	p.each(n, "stages", maxStages, func(n *node, what string) {
		s := &stageReader{programReader: p, where: n.place, what: what, names: n.place}
		p.stages = append(p.stages, s)
		s.read(n, len(p.stages) == 1)
	})
}

func (s *stageReader) read(n *node, first bool) {
	var input, beside, resources *node
	actions, known := 0, len(s.problems)
	act := func(read func(n *node, a *stint.Action)) func(n *node) {
		return func(n *node) { actions++; read(n, &s.stage.Action) }
	}
	if !s.object(
		n, s.what,
		field{"name", s.readName},
		field{"command", act(func(n *node, a *stint.Action) { s.command(n, s.what, a) })},
		field{"native", act(func(n *node, a *stint.Action) { s.native(n, s.what, a) })},
		field{"sdk", act(func(n *node, a *stint.Action) { s.sdk(n, s.what, a) })},
		field{"combine", s.combine},
		field{"input", func(n *node) { input = n }},
		field{"with", func(n *node) { beside = n }},
		field{"streaming", s.streaming},
		field{"resources", func(n *node) { resources = n }},
		field{"environment", func(n *node) { s.stage.Environment = s.pairs(n, s.what+".environment") }},
		field{"files", s.files},
		field{"no_output", func(n *node) { s.stage.NoOutput = s.flag(n, s.what+".no_output") }},
	) {
		return
	}
	if s.stage.Name == "" {
		s.refuse(n.place, "missing", "%s: no name", s.what)
	}
	if actions > 1 || actions == 0 && len(s.problems) == known {
		s.refuse(n.place, "conflict", "%s: %d of command, native and sdk; expected exactly one", s.what, actions)
	}
	s.readInput(input, first)
	if beside != nil {
		s.each(beside, s.what+".with", maxStages, func(n *node, what string) {
			s.readBeside(n, what)
		})
	}
	if resources != nil {
		s.ownResources = true
		s.stage.Resources = s.readResources(resources, s.what+".resources")
	}
}

// files reads the names of those files of the program that the stage uses: with
// none it would use all.
func (s *stageReader) files(n *node) {
	known := len(s.problems)
	s.stage.Files = s.reader.names(n, s.what+".files")
	if len(s.stage.Files) == 0 && len(s.problems) == known {
		s.refuse(n.place, "empty", "%s.files: name at least one file, or leave it out for all", s.what)
	}
}

func (s *stageReader) readName(n *node) {
	s.names = n.place
	s.stage.Name = s.text(n, s.what+".name")
	if s.stage.Name != "" && !stageName.MatchString(s.stage.Name) {
		s.refuse(n.place, "bad_name", "%s.name: %s; expected a lower-case letter, then lower-case letters, digits, - or _, 63 in all at most", s.what, quote(s.stage.Name))
	}
	for i, other := range s.stages[:len(s.stages)-1] {
		if other.stage.Name == s.stage.Name && s.stage.Name != "" {
			s.refuse(n.place, "duplicate", "%s.name: %q is the name of stages[%d] too", s.what, s.stage.Name, i)
			return
		}
	}
}

// argv reads the arguments of a process.
func (s *stageReader) argv(n *node, what string) []string {
	if n.kind != list {
		code, found := "wrong_type", n.describe()
		if n.kind == scalar && strings.TrimSpace(n.text) == "" {
			code = "empty"
		}
		s.refuse(n.place, code, "%s: %s; expected a list of arguments, as [python3, map.py]; no shell is used", what, found)
		return nil
	}
	args := s.words(n, what, maxWords)
	if len(args) == 0 || strings.TrimSpace(args[0]) == "" && len(s.problems) == 0 {
		s.refuse(n.place, "empty", "%s: no command in it", what)
		return nil
	}
	if program := args[0]; strings.Contains(program, "/") && !strings.HasPrefix(program, "/") && climbs(program) {
		s.refuse(n.items[0].place, "bad_path", "%s: %s leaves the working directory; name a file of the program, a command in PATH, or an absolute path", what, quote(program))
	}
	return args
}

// climbs reports whether a relative path has a part that goes up.
func climbs(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

func (s *stageReader) command(n *node, what string, a *stint.Action) {
	a.Command = s.argv(n, what+".command")
}

func (s *stageReader) native(n *node, what string, a *stint.Action) {
	if a.Native = s.line(n, what+".native", 100); a.Native == "" && len(s.problems) == 0 {
		s.refuse(n.place, "empty", "%s.native: expected the name of an operator", what)
	}
}

func (s *stageReader) sdk(n *node, what string, a *stint.Action) {
	if n.kind == scalar && strings.TrimSpace(n.text) != "" {
		n = &node{place: n.place, kind: list, items: []*node{n}}
	}
	a.SDK = s.argv(n, what+".sdk")
}

func (s *stageReader) combine(n *node) {
	what := s.what + ".combine"
	actions := 0
	s.stage.Combine = new(stint.Action)
	ok := s.object(
		n, what,
		field{"command", func(n *node) { actions++; s.command(n, what, s.stage.Combine) }},
		field{"native", func(n *node) { actions++; s.native(n, what, s.stage.Combine) }},
		field{"sdk", func(n *node) { actions++; s.sdk(n, what, s.stage.Combine) }},
	)
	if ok && actions != 1 {
		s.refuse(n.place, "conflict", "%s: %d of command, native and sdk; expected exactly one", what, actions)
	}
}

func (s *stageReader) readInput(n *node, first bool) {
	switch {
	case n == nil && first:
		s.stage.Input = stint.Edge{Kind: stint.FromInput}
		s.froms = append(s.froms, s.where)
	case n == nil:
		s.refuse(s.where, "missing", "%s: no input: only the first stage reads the program's input unless it says so; write input: {from: STAGE, shuffle: key}, or input: {split: lines}", s.what)
	default:
		e, ok := s.edge(n, s.what+".input")
		if ok && e.Kind == stint.Broadcast {
			s.refuse(n.place, "conflict", "%s.input: a broadcast goes beside another input: put it into with:", s.what)
		}
		s.stage.Input = e
	}
}

// readBeside reads an edge that goes beside another.
func (s *stageReader) readBeside(n *node, what string) {
	e, ok := s.edge(n, what)
	if ok && e.Kind != stint.Shuffle && e.Kind != stint.Broadcast {
		s.refuse(n.place, "conflict", "%s: beside another input there may be {from: STAGE, shuffle: key} and {from: STAGE, broadcast: true}", what)
	}
	s.stage.Beside = append(s.stage.Beside, e)
}

// edgeKeys are the keys of an edge, as they were found.
type edgeKeys struct {
	from, input, split, lines, delimiter                          *node
	shuffle, partitions, partitioner, gather, oneToOne, broadcast *node
}

// edge reads what a stage reads, and reports whether that makes sense. A place in
// froms goes with every edge that is read.
func (s *stageReader) edge(n *node, what string) (e stint.Edge, ok bool) {
	var k edgeKeys
	keep := func(to **node) func(n *node) { return func(n *node) { *to = n } }
	known := len(s.problems)
	s.object(
		n, what,
		field{"from", keep(&k.from)}, field{"shuffle", keep(&k.shuffle)}, field{"partitions", keep(&k.partitions)}, field{"partitioner", keep(&k.partitioner)},
		field{"gather", keep(&k.gather)}, field{"one_to_one", keep(&k.oneToOne)}, field{"broadcast", keep(&k.broadcast)},
		field{"input", keep(&k.input)}, field{"split", keep(&k.split)}, field{"lines", keep(&k.lines)}, field{"delimiter", keep(&k.delimiter)},
	)
	if len(s.problems) > known {
		return e, false
	}
	if k.from == nil {
		e = s.inputEdge(n, what, &k)
	} else {
		e = s.stageEdge(n, what, &k)
	}
	return e, len(s.problems) == known
}

// given names those of some keys that were found.
func given(keys map[string]*node) (names []string, first *node) {
	for _, name := range []string{"shuffle", "gather", "one_to_one", "broadcast", "partitions", "partitioner", "input", "split", "lines", "delimiter"} {
		if n := keys[name]; n != nil {
			names = append(names, name)
			if first == nil {
				first = n
			}
		}
	}
	return names, first
}

// inputEdge reads an edge from the program's input.
func (s *stageReader) inputEdge(n *node, what string, k *edgeKeys) stint.Edge {
	e := stint.Edge{Kind: stint.FromInput}
	where := n.place
	if names, first := given(map[string]*node{
		"shuffle": k.shuffle, "gather": k.gather, "one_to_one": k.oneToOne, "broadcast": k.broadcast, "partitions": k.partitions, "partitioner": k.partitioner,
	}); first != nil {
		s.refuse(first.place, "conflict", "%s: %s goes with from: STAGE, which is not there", what, strings.Join(names, ", "))
		return e
	}
	if k.input != nil {
		e.From, where = s.text(k.input, what+".input"), k.input.place
	}
	s.froms = append(s.froms, where)
	if k.split != nil {
		e.Split = word(&s.reader, k.split, what+".split", stint.SplitLines, stint.SplitFiles, stint.SplitRange)
		if e.Split == stint.SplitLines {
			e.Split = ""
		}
	}
	if k.lines != nil {
		e.Count = s.integer(k.lines, what+".lines", 1, 1<<40)
		if e.Split != "" {
			s.refuse(k.lines.place, "conflict", "%s: lines goes with split: lines, not with split: %s", what, e.Split)
		}
		e.Split = stint.SplitCount
	}
	if k.delimiter != nil {
		e.Delimiter = s.delimiter(k.delimiter, what+".delimiter")
	}
	return e
}

// maxDelimiter is how long a delimiter may be, in bytes.
const maxDelimiter = 64

// delimiter reads what ends a record: any bytes, NUL too, as text that
// [stint.Unescape] takes. What double quotes have made a control character is
// written as text again.
func (s *stageReader) delimiter(n *node, what string) string {
	if n.kind != scalar || n.plain {
		s.refuse(n.place, "wrong_type", `%s: %s; expected text in quotes, as "\0"`, what, n.describe())
		return ""
	}
	delimiter, err := stint.Unescape(n.text)
	switch {
	case err != nil:
		s.refuse(n.place, "bad_value", "%s: %s", what, err)
	case delimiter == "" || len(delimiter) > maxDelimiter:
		s.refuse(n.place, "out_of_range", "%s: %d bytes; expected 1..%d", what, len(delimiter), maxDelimiter)
	case delimiter != "\n":
		return stint.Escape(delimiter)
	}
	return ""
}

// stageEdge reads an edge from another stage.
func (s *stageReader) stageEdge(n *node, what string, k *edgeKeys) stint.Edge {
	e := stint.Edge{From: s.text(k.from, what+".from")}
	s.froms = append(s.froms, k.from.place)
	if names, first := given(map[string]*node{"input": k.input, "split": k.split, "lines": k.lines, "delimiter": k.delimiter}); first != nil {
		s.refuse(first.place, "conflict", "%s: %s goes with the program's input, not with from: STAGE", what, strings.Join(names, ", "))
		return e
	}
	ways, _ := given(map[string]*node{"shuffle": k.shuffle, "gather": k.gather, "one_to_one": k.oneToOne, "broadcast": k.broadcast})
	if len(ways) != 1 {
		s.refuse(n.place, "conflict", "%s: %d ways to read stage %s; expected one of shuffle: key, gather: all, one_to_one: true, broadcast: true", what, len(ways), quote(e.From))
		return e
	}
	switch ways[0] {
	case "shuffle":
		word(&s.reader, k.shuffle, what+".shuffle", "key")
		e.Kind = stint.Shuffle
	case "gather":
		word(&s.reader, k.gather, what+".gather", "all")
		e.Kind = stint.Gather
	case "one_to_one":
		word(&s.reader, k.oneToOne, what+".one_to_one", "true")
		e.Kind = stint.OneToOne
	case "broadcast":
		word(&s.reader, k.broadcast, what+".broadcast", "true")
		e.Kind = stint.Broadcast
	}
	if names, first := given(map[string]*node{"partitions": k.partitions, "partitioner": k.partitioner}); first != nil && e.Kind != stint.Shuffle {
		s.refuse(first.place, "conflict", "%s: %s goes with shuffle: key", what, strings.Join(names, ", "))
		return e
	}
	if k.partitions != nil && (k.partitions.kind != scalar || k.partitions.text != "auto") {
		if k.partitions.kind == scalar && k.partitions.plain && !wholeNumber.MatchString(k.partitions.text) {
			s.refuse(k.partitions.place, "wrong_type", "%s.partitions: %s; expected auto or a whole number from 1 to %d", what, k.partitions.describe(), maxPartitions)
		} else {
			e.Partitions = int(s.integer(k.partitions, what+".partitions", 1, maxPartitions))
		}
	}
	if k.partitioner != nil {
		e.Partitioner = s.partitioner(k.partitioner, what+".partitioner")
	}
	return e
}

// partitioner reads hash, {fields: …} or {range: STAGE}.
func (s *stageReader) partitioner(n *node, what string) *stint.Partitioner {
	if n.kind == scalar {
		if word(&s.reader, n, what, "hash") == "" && stint.Nearest(n.text, []string{"fields", "range"}) != "" {
			s.problems[len(s.problems)-1].text = fmt.Sprintf(`%s: %s; write {fields: "-k1,2"} or {range: STAGE}`, what, n.describe())
		}
		return nil
	}
	var fields, limits, separator *node
	p := new(stint.Partitioner)
	if !s.object(
		n, what,
		field{"fields", func(n *node) { fields = n }},
		field{"range", func(n *node) { limits = n }},
		field{"separator", func(n *node) { separator = n }},
	) {
		return nil
	}
	switch {
	case (fields == nil) == (limits == nil):
		s.refuse(n.place, "conflict", `%s: expected one of hash, {fields: "-k1,2"} and {range: STAGE}`, what)
	case fields != nil:
		p.Kind, p.Fields = stint.FieldPartition, s.line(fields, what+".fields", 200)
		if separator != nil {
			p.Separator = s.separator(separator, what+".separator")
		}
	case separator != nil:
		s.refuse(separator.place, "conflict", "%s: separator goes with fields", what)
	default:
		p.Kind, p.From = stint.RangePartition, s.text(limits, what+".range")
	}
	return p
}

// separator reads text that stands between two things: any character but LF.
func (s *stageReader) separator(n *node, what string) string {
	if n.kind != scalar || n.text == "" || len(n.text) > maxDelimiter || strings.ContainsAny(n.text, "\n\x00") {
		s.refuse(n.place, "wrong_type", `%s: %s; expected 1..%d bytes of text without LF and NUL, as ","`, what, n.describe(), maxDelimiter)
		return ""
	}
	if n.plain {
		return s.text(n, what)
	}
	return n.text
}

func (s *stageReader) streaming(n *node) {
	what := s.what + ".streaming"
	t := new(stint.Streaming)
	s.stage.Streaming = t
	separator := func(name string, to *string) field {
		return field{name, func(n *node) { *to = s.separator(n, what+"."+name) }}
	}
	flag := func(name string, to *bool) field {
		return field{name, func(n *node) { *to = s.flag(n, what+"."+name) }}
	}
	s.object(
		n, what,
		field{"mode", func(n *node) { t.Mode = word(&s.reader, n, what+".mode", stint.StreamLines, stint.StreamHadoop) }},
		separator("separator", &t.Separator),
		field{"key_fields", func(n *node) { t.KeyFields = int(s.integer(n, what+".key_fields", 1, 10_000)) }},
		separator("input_separator", &t.InputSeparator),
		separator("output_separator", &t.OutputSeparator),
		flag("offsets", &t.Offsets),
		field{"reporter_prefix", func(n *node) { t.ReporterPrefix = s.line(n, what+".reporter_prefix", 100) }},
		flag("ignore_exit", &t.IgnoreExit),
		flag("must_consume", &t.MustConsume),
	)
	if t.Mode == stint.StreamLines {
		t.Mode = ""
	}
}
