package plan

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"stint"
)

// Bounds of what a program may ask for.
const (
	MaxStages     = 200
	MaxInputs     = 100     // that have names
	maxFileName   = 4096    // bytes
	maxDelimiter  = 64      // bytes
	maxKeyFields  = 1000    // of a streaming command
	maxSlots      = 1024    // of one operation
	maxAttempts   = 100     // of one operation
	MaxBackoff    = 3600000 // milliseconds, before a second attempt
	maxLineCount  = 1 << 40 // lines of one operation
	unknown       = "unknown_reference"
	partsOf       = "-parts" // what the plan's own gather is called, behind the name of the stage
	whatNamesHave = "a lower-case letter, then letters, digits, - or _, at most 63 in all"
)

var properName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// Examine returns why a program makes no sense, nil if it does.
func Examine(p stint.Program) *Refusal {
	switch {
	case len(p.Stages) == 0:
		return refuse("", "program %q: no stages", p.Name)
	case len(p.Stages) > MaxStages:
		return refuse("", "program %q: %d stages; at most %d", p.Name, len(p.Stages), MaxStages)
	}
	for _, check := range []func(*stint.Program) error{checkPolicy, checkInputs, checkFiles, checkNames} {
		if err := check(&p); err != nil {
			return ofStage(-1, err)
		}
	}
	for i := range p.Stages {
		if err := checkStage(&p, i); err != nil {
			return ofStage(i, err)
		}
	}
	if err := checkReaders(&p); err != nil {
		return ofStage(-1, err)
	}
	return nil
}

func checkPolicy(p *stint.Program) error {
	switch e := p.OnError; {
	case e.Attempts < 0 || e.Attempts > maxAttempts:
		return stint.Errorf(stint.Invalid, "program %q: %d attempts: expected 1 to %d", p.Name, e.Attempts, maxAttempts)
	case e.Backoff < 0 || e.Backoff > MaxBackoff:
		return stint.Errorf(stint.Invalid, "program %q: back-off of %d ms: expected 0 to %d", p.Name, e.Backoff, MaxBackoff)
	case !(e.SkipBadRecords >= 0 && e.SkipBadRecords <= 1): // also what is no number
		return stint.Errorf(stint.Invalid, "program %q: a share of %v of bad records: expected 0 to 1", p.Name, e.SkipBadRecords)
	}
	return nil
}

// checkInputs refuses names of inputs that are none, and inputs that no stage reads.
func checkInputs(p *stint.Program) error {
	if len(p.Inputs) > MaxInputs {
		return stint.Errorf(stint.Invalid, "program %q: %d inputs; at most %d", p.Name, len(p.Inputs), MaxInputs)
	}
	for i, name := range p.Inputs {
		switch {
		case !properName.MatchString(name):
			return stint.Errorf(stint.Invalid, "input %d: name %.80q: expected %s", i, name, whatNamesHave)
		case slices.Contains(p.Inputs[:i], name):
			return stint.Errorf(stint.Invalid, "input %d: name %q is taken", i, name)
		case !slices.ContainsFunc(p.Stages, func(s stint.Stage) bool { return s.Input.Kind == stint.FromInput && s.Input.From == name }):
			return refuse("unused", "input %q: no stage reads it", name)
		}
	}
	return nil
}

// checkFiles refuses names of files that lead out of the working directory, or
// that cannot be there together.
func checkFiles(p *stint.Program) error {
	folders := make(map[string]string) // of a file
	seen := make(map[string]bool, len(p.Files))
	for _, f := range p.Files {
		switch {
		case !fs.ValidPath(f.Name) || f.Name == "." || len(f.Name) > maxFileName || strings.ContainsAny(f.Name, "\x00\\"):
			return stint.Errorf(stint.Invalid, "program file %.80q: expected a relative path of at most %d bytes, with slashes and without . and .. in it", f.Name, maxFileName)
		case seen[f.Name]:
			return stint.Errorf(stint.Invalid, "program file %.80q: it is there twice", f.Name)
		}
		seen[f.Name] = true
		for at := strings.LastIndexByte(f.Name, '/'); at > 0; at = strings.LastIndexByte(f.Name[:at], '/') {
			folders[f.Name[:at]] = f.Name
		}
	}
	for _, f := range p.Files {
		if in := folders[f.Name]; in != "" {
			return stint.Errorf(stint.Invalid, "program file %.80q: it is also a folder, of %.80q", f.Name, in)
		}
	}
	return nil
}

func checkNames(p *stint.Program) error {
	seen := make(map[string]bool, len(p.Stages))
	for i, st := range p.Stages {
		if !properName.MatchString(st.Name) {
			return ofStage(i, refuse("", "stage %d: name %.80q: expected %s", i, st.Name, whatNamesHave))
		}
		if seen[st.Name] {
			return ofStage(i, refuse("", "stage %d: name %q is taken", i, st.Name))
		}
		seen[st.Name] = true
	}
	if parts := p.Stages[len(p.Stages)-1].Name + partsOf; seen[parts] {
		return ofStage(slices.IndexFunc(p.Stages, func(s stint.Stage) bool { return s.Name == parts }), refuse("", "stage %q: the name is taken by what may gather the parts of the last stage", parts))
	}
	return nil
}

func checkStage(p *stint.Program, i int) error {
	st := &p.Stages[i]
	if err := checkAction("stage "+st.Name, st.Action); err != nil {
		return err
	}
	if st.Combine != nil {
		if err := checkAction("stage "+st.Name+", combine", *st.Combine); err != nil {
			return err
		}
	}
	switch r := st.Resources; {
	case st.NoOutput && i+1 < len(p.Stages):
		return stint.Errorf(stint.Invalid, "stage %q: only the last stage can be without output", st.Name)
	case r.Memory < 0:
		return stint.Errorf(stint.Invalid, "stage %q: memory of %d bytes: expected 1 or more", st.Name, r.Memory)
	case r.Slots < 0 || r.Slots > maxSlots:
		return stint.Errorf(stint.Invalid, "stage %q: %d slots: expected 1 to %d", st.Name, r.Slots, maxSlots)
	}
	if err := checkStreaming(st); err != nil {
		return err
	}
	if err := checkUsed(p, st); err != nil {
		return err
	}
	return checkEdges(p, i)
}

func checkAction(where string, a stint.Action) error {
	given := 0
	for _, is := range []bool{len(a.Command) > 0, a.Native != "", len(a.SDK) > 0} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return stint.Errorf(stint.Invalid, "%s: expected exactly one of a command, a native operator and an SDK program", where)
	case len(a.Command) > 0 && a.Command[0] == "", len(a.SDK) > 0 && a.SDK[0] == "":
		return stint.Errorf(stint.Invalid, "%s: the command is empty", where)
	}
	return nil
}

func checkStreaming(st *stint.Stage) error {
	c := st.Streaming
	if c == nil {
		return nil
	}
	switch {
	case c.Mode != "" && c.Mode != stint.StreamLines && c.Mode != stint.StreamHadoop:
		return stint.Errorf(stint.Invalid, "stage %q: streaming mode %.80q: one of %s, %s", st.Name, c.Mode, stint.StreamLines, stint.StreamHadoop)
	case c.KeyFields < 0 || c.KeyFields > maxKeyFields:
		return stint.Errorf(stint.Invalid, "stage %q: %d key fields: expected 1 to %d", st.Name, c.KeyFields, maxKeyFields)
	case c.Offsets && st.Input.Kind != stint.FromInput:
		return stint.Errorf(stint.Invalid, "stage %q: offsets: only lines of the input have them", st.Name)
	}
	for _, s := range []string{c.Separator, c.InputSeparator, c.OutputSeparator} {
		if len(s) > maxDelimiter || strings.Contains(s, "\n") {
			return stint.Errorf(stint.Invalid, "stage %q: separator %.80q: expected at most %d bytes without a line feed", st.Name, s, maxDelimiter)
		}
	}
	return nil
}

// checkUsed refuses names of files that the program does not have, or that would
// be in the place of a broadcast.
func checkUsed(p *stint.Program, st *stint.Stage) error {
	names := make([]string, len(p.Files))
	for i, f := range p.Files {
		names[i] = f.Name
	}
	for _, name := range st.Files {
		if !slices.Contains(names, name) {
			return refuse(unknown, "stage %q: uses file %.80q, which the program does not have%s", st.Name, name, didYouMean(name, names))
		}
	}
	if len(st.Files) > 0 {
		names = st.Files
	}
	variables := make(map[string]string) // by what of the name a variable keeps, see package worker
	for _, e := range st.Beside {
		if e.Kind != stint.Broadcast {
			continue
		}
		variable := strings.ReplaceAll(e.From, "-", "_")
		if other, taken := variables[variable]; taken && other != e.From {
			return refuse("duplicate", "stage %q: commands find the outputs of stages %q and %q under the same variable: give one of them another name", st.Name, other, e.From)
		}
		variables[variable] = e.From
		if at := slices.IndexFunc(names, func(name string) bool { first, _, _ := strings.Cut(name, "/"); return first == e.From }); at >= 0 {
			return stint.Errorf(stint.Invalid, "stage %q: file %.80q would be where the output of stage %q is: give one of them another name", st.Name, names[at], e.From)
		}
	}
	return nil
}

func checkEdges(p *stint.Program, i int) error {
	st := &p.Stages[i]
	for n, e := range st.Edges() {
		if err := checkEdge(p, i, e); err != nil {
			return err
		}
		var ok bool
		switch e.Kind {
		case stint.FromInput, stint.Gather, stint.OneToOne:
			ok = n == 0
		case stint.Shuffle:
			ok = n == 0 || st.Input.Kind == stint.Shuffle
		case stint.Broadcast:
			ok = n > 0
		}
		if !ok {
			return stint.Errorf(stint.Invalid, "stage %q: edge %q %s: beside a shuffle are shuffles and broadcasts, beside any other edge broadcasts", st.Name, e.Kind, placeOf(n))
		}
		if slices.ContainsFunc(st.Edges()[:n], func(o stint.Edge) bool { return o.Kind == e.Kind && o.From == e.From }) {
			return stint.Errorf(stint.Invalid, "stage %q: reads %q twice", st.Name, e.From)
		}
	}
	return nil
}

func placeOf(n int) string {
	if n == 0 {
		return "as the only one"
	}
	return "beside another"
}

func checkEdge(p *stint.Program, i int, e stint.Edge) error {
	st := &p.Stages[i]
	switch e.Kind {
	case stint.FromInput:
		if err := checkInput(p, st, e); err != nil {
			return err
		}
	case stint.Shuffle, stint.Gather, stint.OneToOne, stint.Broadcast:
		if err := checkFrom(p, i, e.From); err != nil {
			return err
		}
		if e.Split != "" || e.Count != 0 || e.Delimiter != "" {
			return stint.Errorf(stint.Invalid, "stage %q: split, count and delimiter are for stages that read the input; it reads %q", st.Name, e.From)
		}
	default:
		return stint.Errorf(stint.Invalid, "stage %q: edge %.80q: one of %s, %s, %s, %s, %s", st.Name, e.Kind, stint.FromInput, stint.Shuffle, stint.Gather, stint.OneToOne, stint.Broadcast)
	}
	switch {
	case e.Kind != stint.Shuffle && (e.Partitions != 0 || e.Partitioner != nil):
		return stint.Errorf(stint.Invalid, "stage %q: partitions are those of a shuffle; the edge is %q", st.Name, e.Kind)
	case e.Partitions < 0 || e.Partitions > MaxPartitions:
		return stint.Errorf(stint.Invalid, "stage %q: partitions %d: expected 1 to %d", st.Name, e.Partitions, MaxPartitions)
	case e.Partitioner != nil:
		return checkPartitioner(p, st, e)
	}
	return nil
}

func checkInput(p *stint.Program, st *stint.Stage, e stint.Edge) error {
	delimiter, err := stint.Unescape(e.Delimiter)
	switch {
	case len(p.Inputs) == 0 && e.From != "":
		return refuse(unknown, "stage %q: reads input %.80q; the inputs of the program have no names", st.Name, e.From)
	case len(p.Inputs) > 0 && !slices.Contains(p.Inputs, e.From):
		return refuse(unknown, "stage %q: reads input %.80q%s", st.Name, e.From, didYouMean(e.From, p.Inputs))
	case err != nil:
		return stint.Errorf(stint.Invalid, "stage %q: delimiter: %w", st.Name, err)
	case ending(e) != "\n" && e.Split != stint.SplitFiles && len(st.Action.SDK) > 0:
		return stint.Errorf(stint.Invalid, "stage %q: an SDK program is given lines: a delimiter is for commands and operators", st.Name)
	case len(delimiter) > maxDelimiter:
		return stint.Errorf(stint.Invalid, "stage %q: a delimiter of %d bytes: expected at most %d", st.Name, len(delimiter), maxDelimiter)
	}
	switch e.Split {
	case "", stint.SplitLines, stint.SplitFiles, stint.SplitRange:
		if e.Count != 0 {
			return stint.Errorf(stint.Invalid, "stage %q: count %d: it is for split %s", st.Name, e.Count, stint.SplitCount)
		}
		return nil
	case stint.SplitCount:
		return checkCount(p, st, e)
	}
	return stint.Errorf(stint.Invalid, "stage %q: split %.80q: one of %s, %s, %s", st.Name, e.Split, stint.SplitLines, stint.SplitFiles, stint.SplitCount)
}

// ending returns what ends the records of an input, as text: one spelling of each.
func ending(e stint.Edge) string {
	delimiter, err := stint.Unescape(e.Delimiter)
	switch {
	case err != nil:
		return e.Delimiter // it is refused
	case delimiter == "" || delimiter == "\n":
		return "\n"
	}
	return stint.Escape(delimiter)
}

// checkCount refuses stages that separate one input by different numbers of
// lines: the listing knows one.
func checkCount(p *stint.Program, st *stint.Stage, e stint.Edge) error {
	if e.Count < 1 || e.Count > maxLineCount {
		return stint.Errorf(stint.Invalid, "stage %q: count %d: expected how many lines one operation reads, 1 to %d", st.Name, e.Count, int64(maxLineCount))
	}
	for i := range p.Stages {
		o := &p.Stages[i].Input
		if o.Kind == stint.FromInput && o.Split == stint.SplitCount && o.From == e.From && (o.Count != e.Count || ending(*o) != ending(e)) {
			return stint.Errorf(stint.Invalid, "stage %q: splits the same input as stage %q by another count or delimiter", st.Name, p.Stages[i].Name)
		}
	}
	return nil
}

// checkFrom refuses what is not the name of an earlier stage.
func checkFrom(p *stint.Program, i int, from string) error {
	at := slices.IndexFunc(p.Stages, func(s stint.Stage) bool { return s.Name == from })
	switch {
	case at < 0:
		var names []string
		for _, s := range p.Stages[:i] {
			names = append(names, s.Name)
		}
		return refuse(unknown, "stage %q: reads %.80q, which is no stage%s", p.Stages[i].Name, from, didYouMean(from, names))
	case at >= i:
		return stint.Errorf(stint.Invalid, "stage %q: reads %q, which is not before it: stages stand in an order in which each comes after those that it reads", p.Stages[i].Name, from)
	}
	return nil
}

// checkPartitioner refuses one that cannot say which partition a key belongs to.
// The stage that e reads is known to be there.
func checkPartitioner(p *stint.Program, st *stint.Stage, e stint.Edge) error {
	by := e.Partitioner
	switch {
	case by.Kind != stint.HashPartition && by.Kind != stint.FieldPartition && by.Kind != stint.RangePartition:
		return stint.Errorf(stint.Invalid, "stage %q: partitioner %.80q: one of %s, %s, %s", st.Name, by.Kind, stint.HashPartition, stint.FieldPartition, stint.RangePartition)
	case by.Kind != stint.FieldPartition && (by.Fields != "" || by.Separator != ""):
		return stint.Errorf(stint.Invalid, "stage %q: partitioner %s: fields and a separator are for %s", st.Name, by.Kind, stint.FieldPartition)
	case by.Kind != stint.RangePartition && by.From != "":
		return stint.Errorf(stint.Invalid, "stage %q: partitioner %s: from is for %s", st.Name, by.Kind, stint.RangePartition)
	case by.Kind != stint.RangePartition:
		return nil
	}
	reads := &p.Stages[slices.IndexFunc(p.Stages, func(s stint.Stage) bool { return s.Name == e.From })]
	var names []string
	for _, o := range reads.Beside {
		if o.Kind == stint.Broadcast {
			names = append(names, o.From)
		}
	}
	if !slices.Contains(names, by.From) {
		return refuse(unknown, "stage %q: partitions by the ranges of %.80q, which stage %q does not read as a broadcast%s", st.Name, by.From, e.From, didYouMean(by.From, names))
	}
	return nil
}

// checkReaders refuses stages whose output nobody reads, or that are read in ways
// that do not go together.
func checkReaders(p *stint.Program) error {
	shuffled, plain := make([]string, len(p.Stages)), make([]string, len(p.Stages))
	at := make(map[string]int, len(p.Stages))
	for i, st := range p.Stages {
		at[st.Name] = i
		for _, e := range st.Edges() {
			switch e.Kind {
			case stint.Shuffle:
				shuffled[at[e.From]] = st.Name
			case stint.Gather, stint.OneToOne, stint.Broadcast:
				plain[at[e.From]] = st.Name
			case stint.FromInput:
			}
		}
	}
	for i, st := range p.Stages {
		switch last := i+1 == len(p.Stages); {
		case shuffled[i] != "" && plain[i] != "":
			return ofStage(i, refuse("", "stage %q is shuffled by %q and read as it is by %q: put an identity stage between", st.Name, shuffled[i], plain[i]))
		case shuffled[i] == "" && plain[i] == "" && !last:
			return ofStage(i, refuse("unused", "stage %q: no stage reads it, and only the last leaves the output: remove it", st.Name))
		}
	}
	_, err := groupShuffles(p.Stages)
	return err
}

// didYouMean names what may have been meant by a name that is not among some
// others, or these if they are few.
func didYouMean(name string, others []string) string {
	best := stint.Nearest(name, others)
	switch {
	case best != "":
		return "; did you mean \"" + best + "\"?"
	case len(others) > 0 && len(others) <= 5:
		return "; there is " + strings.Join(others, ", ")
	}
	return ""
}
