package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"stint"
)

// Render writes a manifest that is read as the same program, but for the digests
// of its files. The program must make sense.
func Render(p stint.Program) []byte {
	w := new(writer)
	w.line("version: %d", Version)
	w.line("name: %s", scalarText(p.Name))
	w.textIf("type", string(p.Type))
	w.textIf("description", p.Description)
	if len(p.Inputs) > 0 {
		w.line("inputs: %s", flowList(p.Inputs))
	}
	w.params(p.Params)
	if p.OpenParams {
		w.line("open_params: true")
	}
	w.files(p.Files)
	w.mapIf("environment", p.Environment)
	w.onError(p.OnError)
	w.line("stages:")
	for _, s := range p.Stages {
		w.stage(s, len(p.Stages) > 0 && s.Name == p.Stages[0].Name)
	}
	return w.Bytes()
}

// writer writes lines at an indent.
type writer struct {
	bytes.Buffer
	indent string
}

func (w *writer) line(format string, args ...any) {
	w.WriteString(w.indent + fmt.Sprintf(format, args...) + "\n")
}

func (w *writer) textIf(key, value string) {
	if value != "" {
		w.line("%s: %s", key, scalarText(value))
	}
}

func (w *writer) mapIf(key string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	w.line("%s:", key)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		w.line("  %s: %s", scalarText(name), scalarText(m[name]))
	}
}

func (w *writer) params(params []stint.Param) {
	if len(params) == 0 {
		return
	}
	w.line("params:")
	for _, p := range params {
		var parts []string
		add := func(key, value string) { parts = append(parts, key+": "+value) }
		if p.Type != "" && p.Type != stint.TextParam {
			add("type", string(p.Type))
		}
		if p.Default != "" {
			add("default", scalarText(p.Default))
		}
		if p.Required {
			add("required", "true")
		}
		if len(p.Values) > 0 {
			add("values", flowList(p.Values))
		}
		if p.Description != "" {
			add("description", scalarText(p.Description))
		}
		w.line("  %s: {%s}", scalarText(p.Name), strings.Join(parts, ", "))
	}
}

// files names files so that no letter of theirs is a pattern.
func (w *writer) files(files []stint.ProgramFile) {
	if files == nil {
		return
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Name
		if !f.Digest.IsZero() {
			names[i] = literal(f.Name)
		}
	}
	w.line("files: %s", flowList(names))
}

// literal is the pattern that matches one name.
func literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

func (w *writer) onError(e stint.ErrorPolicy) {
	if e == (stint.ErrorPolicy{}) {
		return
	}
	var parts []string
	if e.Attempts > 0 {
		parts = append(parts, fmt.Sprintf("attempts: %d", e.Attempts))
	}
	if e.Backoff > 0 {
		parts = append(parts, fmt.Sprintf("backoff: %dms", e.Backoff))
	}
	if e.SkipBadRecords > 0 {
		parts = append(parts, "skip_bad_records: "+percent(e.SkipBadRecords))
	}
	if e.CompleteErrors {
		parts = append(parts, "complete_as_much_as_possible: true")
	}
	w.line("on_error: {%s}", strings.Join(parts, ", "))
}

// percent writes a share of 1 as a percentage that is read as the same share.
func percent(share float64) string {
	return shiftPoint(strconv.FormatFloat(share, 'f', -1, 64), 2) + "%"
}

func (w *writer) stage(s stint.Stage, first bool) {
	w.line("  - name: %s", scalarText(s.Name))
	w.indent = "    "
	defer func() { w.indent = "" }()
	w.line("%s", actionText(s.Action))
	if s.Combine != nil {
		w.line("combine: {%s}", actionText(*s.Combine))
	}
	if bare := first && s.Input == (stint.Edge{Kind: stint.FromInput}); !bare {
		w.line("input: %s", edgeText(s.Input))
	}
	if len(s.Beside) > 0 {
		w.line("with:")
		for _, e := range s.Beside {
			w.line("  - %s", edgeText(e))
		}
	}
	w.streaming(s.Streaming)
	var parts []string
	if s.Resources.Memory > 0 {
		parts = append(parts, "memory: "+sizeText(s.Resources.Memory))
	}
	if s.Resources.Slots > 0 {
		parts = append(parts, fmt.Sprintf("slots: %d", s.Resources.Slots))
	}
	if len(parts) > 0 {
		w.line("resources: {%s}", strings.Join(parts, ", "))
	}
	w.mapIf("environment", s.Environment)
	if s.Files != nil {
		names := make([]string, len(s.Files))
		for i, f := range s.Files {
			names[i] = literal(f)
		}
		w.line("files: %s", flowList(names))
	}
	if s.NoOutput {
		w.line("no_output: true")
	}
}

func actionText(a stint.Action) string {
	switch {
	case a.Native != "":
		return "native: " + scalarText(a.Native)
	case len(a.SDK) > 0:
		return "sdk: " + flowList(a.SDK)
	}
	return "command: " + flowList(a.Command)
}

func edgeText(e stint.Edge) string {
	var parts []string
	add := func(key, value string) { parts = append(parts, key+": "+value) }
	if e.Kind == stint.FromInput {
		if e.From != "" {
			add("input", scalarText(e.From))
		}
		switch e.Split {
		case stint.SplitCount:
			add("lines", strconv.FormatInt(e.Count, 10))
		case stint.SplitFiles, stint.SplitRange:
			add("split", string(e.Split))
		case stint.SplitLines:
		}
		if e.Delimiter != "" {
			add("delimiter", quotedText(e.Delimiter))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	add("from", scalarText(e.From))
	switch e.Kind {
	case stint.Shuffle:
		add("shuffle", "key")
	case stint.Gather:
		add("gather", "all")
	case stint.OneToOne:
		add("one_to_one", "true")
	case stint.Broadcast:
		add("broadcast", "true")
	case stint.FromInput:
	}
	if e.Partitions > 0 {
		add("partitions", strconv.Itoa(e.Partitions))
	}
	if e.Partitioner != nil {
		add("partitioner", partitionerText(*e.Partitioner))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func partitionerText(p stint.Partitioner) string {
	switch p.Kind {
	case stint.RangePartition:
		return "{range: " + scalarText(p.From) + "}"
	case stint.FieldPartition:
		text := "{fields: " + quotedText(p.Fields)
		if p.Separator != "" {
			text += ", separator: " + quotedText(p.Separator)
		}
		return text + "}"
	case stint.HashPartition:
	}
	return "hash"
}

func (w *writer) streaming(t *stint.Streaming) {
	if t == nil {
		return
	}
	var parts []string
	add := func(key, value, none string) {
		if value != none {
			parts = append(parts, key+": "+value)
		}
	}
	add("mode", string(t.Mode), "")
	add("separator", quotedText(t.Separator), `""`)
	add("key_fields", strconv.Itoa(t.KeyFields), "0")
	add("input_separator", quotedText(t.InputSeparator), `""`)
	add("output_separator", quotedText(t.OutputSeparator), `""`)
	add("offsets", strconv.FormatBool(t.Offsets), "false")
	add("reporter_prefix", quotedText(t.ReporterPrefix), `""`)
	add("ignore_exit", strconv.FormatBool(t.IgnoreExit), "false")
	add("must_consume", strconv.FormatBool(t.MustConsume), "false")
	w.line("streaming: {%s}", strings.Join(parts, ", "))
}

// sizeText writes a number of bytes with the largest unit that it is a multiple of.
func sizeText(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n%unit.size == 0 {
			return strconv.FormatInt(n/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

func flowList(words []string) string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = scalarText(word)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// bareText matches text that every reader takes for text without quotes.
var bareText = regexp.MustCompile(`^[A-Za-z_./][A-Za-z0-9_./-]*$`)

func scalarText(s string) string {
	if bareText.MatchString(s) && !otherType.MatchString(s) {
		return s
	}
	return quotedText(s)
}

// quotedText writes text as JSON does, which is YAML too.
func quotedText(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a buffer takes everything, and text is text
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\x7f`)
}
