package command

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"stint"
)

// Partitioners, input formats and reducers of Hadoop that are known here, without
// the package's name.
const (
	fieldPartitioner = "KeyFieldBasedPartitioner"
	hashPartitioner  = "HashPartitioner"
	textInput        = "TextInputFormat"
	countInput       = "NLineInputFormat"
	identityReducer  = "IdentityReducer"
)

// Reducer returns the action of a reducer as Hadoop Streaming takes it, and the
// combiner that is implied: a command, "aggregate", or the class IdentityReducer.
// A nil action is for NONE: there is no reducer.
func Reducer(text string) (reduce, combine *stint.Action, err error) {
	switch {
	case text == "NONE":
		return nil, nil, nil
	case strings.EqualFold(text, "aggregate"):
		return &stint.Action{Native: "aggregate"}, &stint.Action{Native: "aggregate-combine"}, nil
	case simpleName(text) == identityReducer:
		return &stint.Action{Native: "identity"}, nil, nil
	}
	args, err := SplitArgs(text)
	if err != nil {
		return nil, nil, err
	}
	return &stint.Action{Command: args}, nil, nil
}

// simpleName returns the name of a Java class of Hadoop without its package, and
// other text as it is.
func simpleName(class string) string {
	if strings.HasPrefix(class, "org.apache.hadoop.") && !strings.Contains(class, " ") {
		return class[strings.LastIndexByte(class, '.')+1:]
	}
	return class
}

// job is a streaming program that properties are put into.
type job struct {
	program     *stint.Program
	partitioner string // class; empty: none named
	fields      string // -k options
	fieldsGiven bool
	separator   string // between the fields of a key
	input       string // input format's class
	count       int64  // lines of one operation, with countInput
	skip        bool   // input need not be consumed
}

func (j *job) first() *stint.Stage { return &j.program.Stages[0] }
func (j *job) last() *stint.Stage  { return &j.program.Stages[len(j.program.Stages)-1] }

// setter puts a property's value into a job.
type setter func(j *job, value string) error

// properties returns what can be set, by the names of today.
func properties() map[string]setter {
	return map[string]setter{
		"stream.map.output.field.separator":    text(func(j *job) *string { return &streamOf(j.first()).Separator }),
		"stream.map.input.field.separator":     text(func(j *job) *string { return &streamOf(j.first()).InputSeparator }),
		"stream.num.map.output.key.fields":     number(func(j *job, n int) { streamOf(j.first()).KeyFields = n }),
		"stream.map.input.ignoreKey":           flag(func(j *job, yes bool) { streamOf(j.first()).Offsets = !yes }),
		"stream.reduce.output.field.separator": text(func(j *job) *string { return &j.reduce().Separator }),
		"stream.reduce.input.field.separator":  text(func(j *job) *string { return &j.reduce().InputSeparator }),
		"stream.num.reduce.output.key.fields":  number(func(j *job, n int) { j.reduce().KeyFields = n }),
		"stream.stderr.reporter.prefix":        everywhere(func(s *stint.Streaming, value string) { s.ReporterPrefix = value }),
		"stream.non.zero.exit.is.failure": flag(func(j *job, yes bool) {
			for i := range j.program.Stages {
				streamOf(&j.program.Stages[i]).IgnoreExit = !yes
			}
		}),
		"stream.minRecWrittenToEnableSkip_":           number(func(j *job, n int) { j.skip = n == 0 }),
		"mapreduce.output.textoutputformat.separator": text(func(j *job) *string { return &streamOf(j.last()).OutputSeparator }),
		"textinputformat.record.delimiter":            recordDelimiter,
		"mapreduce.job.inputformat.class":             class(func(j *job) *string { return &j.input }, textInput, countInput),
		"mapreduce.input.lineinputformat.linespermap": number(func(j *job, n int) { j.count = int64(n) }),
		"mapreduce.job.partitioner.class":             class(func(j *job) *string { return &j.partitioner }, hashPartitioner, fieldPartitioner),
		"mapreduce.partition.keypartitioner.options":  func(j *job, value string) error { j.fields, j.fieldsGiven = value, true; return nil },
		"num.key.fields.for.partition":                number(func(j *job, n int) { j.fields, j.fieldsGiven = firstFields(n), true }),
		"mapreduce.map.output.key.field.separator":    text(func(j *job) *string { return &j.separator }),
		"mapreduce.job.reduces":                       number(func(j *job, n int) { j.reduces(n) }),
	}
}

// oldNames returns the names that properties had before, and have now.
func oldNames() map[string]string {
	return map[string]string{
		"map.output.key.field.separator":       "mapreduce.map.output.key.field.separator",
		"mapred.input.format.class":            "mapreduce.job.inputformat.class",
		"mapred.line.input.format.linespermap": "mapreduce.input.lineinputformat.linespermap",
		"mapred.partitioner.class":             "mapreduce.job.partitioner.class",
		"mapred.reduce.tasks":                  "mapreduce.job.reduces",
		"mapred.text.key.partitioner.options":  "mapreduce.partition.keypartitioner.options",
		"mapred.textoutputformat.separator":    "mapreduce.output.textoutputformat.separator",
	}
}

// Properties puts properties of Hadoop, by their old names or those of today, into
// a program made of commands: a map stage, and perhaps a reduce stage. mode is
// that of its streams; in mode hadoop a program has to take all its input unless
// the properties say otherwise. Errors have code [stint.Invalid]: a property that
// is not known, with the one whose name is nearest, or a value.
func Properties(p *stint.Program, mode stint.StreamMode, given map[string]string) error {
	j := &job{program: p}
	known, old := properties(), oldNames()
	seen := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		today := name
		if n, ok := old[name]; ok {
			today = n
		}
		set, ok := known[today]
		switch {
		case !ok && compares(name):
			return stint.Errorf(stint.Invalid, "property %.80q: comparators are not supported: keys are compared by their bytes; more key fields, and a partitioner of fewer, sort values too", name)
		case !ok:
			return stint.Errorf(stint.Invalid, "property %.80q is not known%s", name, meant(name, known, old))
		}
		if other, twice := seen[today]; twice {
			return stint.Errorf(stint.Invalid, "properties %s and %s are the same", other, name)
		}
		seen[today] = name
		if err := set(j, given[name]); err != nil {
			return stint.Errorf(stint.Invalid, "property %s=%.80q: %s", name, given[name], err)
		}
	}
	return j.finish(mode)
}

// finish makes of what was set what goes together.
func (j *job) finish(mode stint.StreamMode) error {
	switch {
	case j.fieldsGiven && j.partitioner != fieldPartitioner:
		return stint.Errorf(stint.Invalid, "fields of a key to partition by: expected partitioner %s with them", fieldPartitioner)
	case j.count > 0 && j.input != countInput:
		return stint.Errorf(stint.Invalid, "lines of one operation: expected input format %s with them", countInput)
	case j.partitioner == fieldPartitioner && len(j.program.Stages) > 1:
		j.last().Input.Partitioner = &stint.Partitioner{Kind: stint.FieldPartition, Fields: j.fields, Separator: j.separator}
	}
	if j.input == countInput {
		j.first().Input.Split, j.first().Input.Count = stint.SplitCount, max(j.count, 1)
		streamOf(j.first()).Offsets = true
	}
	for i := range j.program.Stages {
		s := streamOf(&j.program.Stages[i])
		if mode == stint.StreamHadoop {
			s.Mode, s.MustConsume = mode, !j.skip
		}
		if *s == (stint.Streaming{}) {
			j.program.Stages[i].Streaming = nil
		}
	}
	return nil
}

// reduce returns the reducer's streams; those of nobody if there is none, since
// Hadoop takes no notice of what is set then.
func (j *job) reduce() *stint.Streaming {
	if len(j.program.Stages) < 2 {
		return &stint.Streaming{}
	}
	return streamOf(j.last())
}

// reduces sets the number of partitions; with none there is no reducer.
func (j *job) reduces(n int) {
	if n == 0 {
		j.program.Stages = j.program.Stages[:1]
		j.first().Combine = nil
	}
	if len(j.program.Stages) > 1 {
		j.last().Input.Partitions = n
	}
}

func streamOf(s *stint.Stage) *stint.Streaming {
	if s.Streaming == nil {
		s.Streaming = &stint.Streaming{}
	}
	return s.Streaming
}

// firstFields returns the options that say a number of fields from the first.
func firstFields(n int) string {
	if n < 1 {
		return ""
	}
	return "-k1," + strconv.Itoa(n)
}

func text(field func(*job) *string) setter {
	return func(j *job, value string) error {
		if value == "" {
			return stint.Errorf(stint.Invalid, "expected at least one character")
		}
		*field(j) = value
		return nil
	}
}

func recordDelimiter(j *job, value string) error {
	if value == "" {
		return stint.Errorf(stint.Invalid, "expected at least one character")
	}
	j.first().Input.Delimiter = stint.Escape(value)
	return nil
}

func everywhere(set func(*stint.Streaming, string)) setter {
	return func(j *job, value string) error {
		if value == "" {
			return stint.Errorf(stint.Invalid, "expected at least one character")
		}
		for i := range j.program.Stages {
			set(streamOf(&j.program.Stages[i]), value)
		}
		return nil
	}
}

func number(set func(*job, int)) setter {
	return func(j *job, value string) error {
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 0 {
			return stint.Errorf(stint.Invalid, "expected a whole number")
		}
		set(j, int(n))
		return nil
	}
}

func flag(set func(*job, bool)) setter {
	return func(j *job, value string) error {
		if value != "true" && value != "false" {
			return stint.Errorf(stint.Invalid, "expected true or false")
		}
		set(j, value == "true")
		return nil
	}
}

func class(field func(*job) *string, known ...string) setter {
	return func(j *job, value string) error {
		name := simpleName(value)
		if !slices.Contains(known, name) {
			return stint.Errorf(stint.Invalid, "expected one of %s", strings.Join(known, ", "))
		}
		*field(j) = name
		return nil
	}
}

// compares reports whether a property says how keys are compared.
func compares(name string) bool { return strings.Contains(strings.ToLower(name), "comparator") }

// meant says which known property may have been meant.
func meant(name string, known map[string]setter, old map[string]string) string {
	names := slices.Concat(slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(old)))
	if n := stint.Nearest(name, names); n != "" {
		return "; did you mean " + n + "?"
	}
	return ""
}
