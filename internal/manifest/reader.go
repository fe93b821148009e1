package manifest

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"stint"
)

// maxProblems is how many refusals are told at once.
const maxProblems = 20

// problem is one thing that is wrong.
type problem struct {
	place
	code, text string
}

// reader turns nodes into values and collects what is wrong with them.
type reader struct {
	file     string
	problems []problem
	warnings []string
}

func (r *reader) refuse(p place, code, format string, args ...any) {
	r.problems = append(r.problems, problem{place: p, code: code, text: fmt.Sprintf(format, args...)})
}

func (r *reader) warn(p place, format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf("%s:%d:%d: ", r.file, p.line, p.column)+fmt.Sprintf(format, args...))
}

// err returns all that is wrong, in the order of the text.
func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	lines := make([]string, 0, maxProblems)
	for _, p := range r.problems[:min(len(r.problems), maxProblems)] {
		lines = append(lines, refusal(r.file, p.place, p.code, "%s", p.text).Message)
	}
	return &stint.Error{Code: stint.Invalid, Message: strings.Join(lines, "\n")}
}

// field is a key that a mapping may have.
type field struct {
	name string
	read func(n *node)
}

// object reads a mapping whose keys are known; what is the word for it in
// refusals. It reports whether n is a mapping.
func (r *reader) object(n *node, what string, fields ...field) bool {
	if n.kind != mapping {
		r.refuse(n.place, "wrong_type", "%s: %s; expected keys of %s", what, n.describe(), fieldNames(fields))
		return false
	}
	for _, e := range n.entries {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == e.name })
		if i < 0 {
			r.unknownKey(e, what, fields)
			continue
		}
		fields[i].read(e.value)
	}
	return true
}

func (r *reader) unknownKey(e entry, what string, fields []field) {
	if slices.Contains([]string{"wasm", "gang"}, e.name) {
		r.refuse(e.place, "unknown_key", "%s: %s is not in this version", what, e.name)
		return
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if hint := stint.Nearest(e.name, names); hint != "" {
		r.refuse(e.place, "unknown_key", "%s: %s; did you mean %s?", what, quote(e.name), hint)
		return
	}
	r.refuse(e.place, "unknown_key", "%s: %s; expected one of %s", what, quote(e.name), strings.Join(names, ", "))
}

func fieldNames(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return strings.Join(names, ", ")
}

// describe says for people what a node is.
func (n *node) describe() string {
	switch n.kind {
	case list:
		return "a list"
	case mapping:
		return "a mapping"
	case scalar:
	}
	if n.plain && n.text == "" {
		return "nothing"
	}
	return quote(n.text)
}

// otherType matches what readers of YAML, of 1.1 above all, take for another
// type than text: nothing, yes and no, numbers to several bases and with colons,
// points at infinity, dates.
var otherType = regexp.MustCompile(`^(?:~|null|Null|NULL|true|True|TRUE|false|False|FALSE|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?|=|<<)?$`)

// text reads text. What without quotes is something else to some readers must be
// quoted.
func (r *reader) text(n *node, what string) string {
	switch {
	case n.kind != scalar:
		r.refuse(n.place, "wrong_type", "%s: %s; expected text", what, n.describe())
		return ""
	case n.plain && n.text == "":
		r.refuse(n.place, "wrong_type", `%s: nothing; expected text (or "")`, what)
		return ""
	case n.plain && otherType.MatchString(n.text):
		r.refuse(n.place, "wrong_type", "%s: %s is not text to every reader of YAML; quote it: %q", what, n.text, n.text)
		return ""
	}
	return r.raw(n, what)
}

// raw reads a scalar as it is written.
func (r *reader) raw(n *node, what string) string {
	if n.kind != scalar {
		r.refuse(n.place, "wrong_type", "%s: %s; expected a value", what, n.describe())
		return ""
	}
	if i := strings.IndexByte(n.text, 0); i >= 0 {
		r.refuse(n.place, "bad_value", "%s: byte %d is NUL", what, i+1)
		return ""
	}
	return n.text
}

// line reads text of one line without control characters.
func (r *reader) line(n *node, what string, most int) string {
	s := r.text(n, what)
	if len(s) > most {
		r.refuse(n.place, "too_large", "%s: %d bytes; the limit is %d", what, len(s), most)
	}
	if i := strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }); i >= 0 {
		r.refuse(n.place, "bad_value", "%s: a control character at byte %d; expected one line of text", what, i+1)
	}
	return s
}

// word reads one of a few words.
func word[S ~string](r *reader, n *node, what string, allowed ...S) S {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	if n.kind == scalar && slices.Contains(names, n.text) {
		return S(n.text)
	}
	expected := "expected " + strings.Join(names, ", ")
	if len(names) > 1 {
		expected = "expected one of " + strings.Join(names, ", ")
	}
	if hint := stint.Nearest(n.text, names); n.kind == scalar && hint != "" {
		expected += "; did you mean " + hint + "?"
	}
	r.refuse(n.place, "wrong_type", "%s: %s; %s", what, n.describe(), expected)
	return ""
}

var wholeNumber = regexp.MustCompile(`^-?(?:0|[1-9][0-9]*)$`)

// integer reads a whole number within bounds.
func (r *reader) integer(n *node, what string, low, high int64) int64 {
	if n.kind != scalar || !n.plain || !wholeNumber.MatchString(n.text) {
		r.refuse(n.place, "wrong_type", "%s: %s; expected a whole number from %d to %d, without quotes", what, n.describe(), low, high)
		return 0
	}
	v, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil || v < low || v > high {
		r.refuse(n.place, "out_of_range", "%s: %.40s; expected %d..%d", what, n.text, low, high)
		return 0
	}
	return v
}

func (r *reader) flag(n *node, what string) bool {
	if n.kind != scalar || !n.plain || n.text != "true" && n.text != "false" {
		r.refuse(n.place, "wrong_type", "%s: %s; expected true or false", what, n.describe())
		return false
	}
	return n.text == "true"
}

// size reads a number of bytes, which has a unit.
func (r *reader) size(n *node, what string) int64 {
	if n.kind != scalar {
		r.refuse(n.place, "wrong_type", "%s: %s; expected a size, as 256MiB", what, n.describe())
		return 0
	}
	if wholeNumber.MatchString(n.text) {
		r.refuse(n.place, "needs_unit", "%s: %.40s; write %.40sMiB or %.40sGiB", what, n.text, n.text, n.text)
		return 0
	}
	v, err := stint.ParseSize(n.text)
	if err != nil || v == 0 {
		r.refuse(n.place, "wrong_type", "%s: %s; expected a whole number above 0 and a unit, as 256MiB", what, n.describe())
		return 0
	}
	if !strings.Contains(n.text, "i") {
		r.warn(n.place, "%s: %s is %d bytes", what, n.text, v)
	}
	return v
}

var percentage = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)%$`)

// ParseShare reads a percentage, as 0.01%, as a share of 1. It is exact: what
// [Render] writes of a share is read as the same.
func ParseShare(text string) (float64, error) {
	m := percentage.FindStringSubmatch(text)
	if m == nil {
		return 0, stint.Errorf(stint.Invalid, "%s; expected a percentage, as 0.01%%", quote(text))
	}
	v, err := strconv.ParseFloat(shiftPoint(m[1], -2), 64)
	if err != nil || v > 1 {
		return 0, stint.Errorf(stint.Invalid, "%s; expected 0%%..100%%", quote(text))
	}
	return v, nil
}

// share reads a percentage as a share of 1.
func (r *reader) share(n *node, what string) float64 {
	if n.kind != scalar {
		r.refuse(n.place, "wrong_type", "%s: %s; expected a percentage, as 0.01%%", what, n.describe())
		return 0
	}
	v, err := ParseShare(n.text)
	switch {
	case err == nil:
	case percentage.MatchString(n.text):
		r.refuse(n.place, "out_of_range", "%s: %s", what, err)
	case n.text != "" && strings.Trim(n.text, "0123456789.") == "":
		r.refuse(n.place, "needs_unit", "%s: %s; write %.40s%%", what, quote(n.text), n.text)
	default:
		r.refuse(n.place, "wrong_type", "%s: %s", what, err)
	}
	return v
}

// shiftPoint multiplies a decimal numeral by ten to the n, in its text: no digit
// is lost.
func shiftPoint(numeral string, n int) string {
	whole, fraction, _ := strings.Cut(numeral, ".")
	for ; n < 0; n++ {
		if whole == "" {
			whole = "0"
		}
		fraction = whole[len(whole)-1:] + fraction
		whole = whole[:len(whole)-1]
	}
	for ; n > 0; n-- {
		if fraction == "" {
			fraction = "0"
		}
		whole += fraction[:1]
		fraction = fraction[1:]
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if fraction = strings.TrimRight(fraction, "0"); fraction == "" {
		return whole
	}
	return whole + "." + fraction
}

// millis reads a span of time as milliseconds.
func (r *reader) millis(n *node, what string, most time.Duration) int64 {
	d, err := time.ParseDuration(n.text)
	if n.kind != scalar || err != nil {
		r.refuse(n.place, "wrong_type", "%s: %s; expected a time with a unit, as 200ms or 5s", what, n.describe())
		return 0
	}
	if d < time.Millisecond || d > most {
		r.refuse(n.place, "out_of_range", "%s: %s; expected 1ms..%s", what, quote(n.text), most)
		return 0
	}
	return int64(math.Round(float64(d) / float64(time.Millisecond)))
}

// each reads a list of at most so many items.
func (r *reader) each(n *node, what string, most int, read func(n *node, what string)) {
	if n.kind != list {
		r.refuse(n.place, "wrong_type", "%s: %s; expected a list", what, n.describe())
		return
	}
	if len(n.items) > most {
		r.refuse(n.items[most].place, "too_many", "%s: %d items; the limit is %d", what, len(n.items), most)
		return
	}
	for i, item := range n.items {
		read(item, fmt.Sprintf("%s[%d]", what, i))
	}
}

// words reads a list of texts.
func (r *reader) words(n *node, what string, most int) []string {
	out := []string{}
	r.each(n, what, most, func(n *node, what string) { out = append(out, r.text(n, what)) })
	return out
}

// pairs reads a mapping of names to texts.
func (r *reader) pairs(n *node, what string) map[string]string {
	if n.kind != mapping {
		r.refuse(n.place, "wrong_type", "%s: %s; expected NAME: value", what, n.describe())
		return nil
	}
	out := make(map[string]string, len(n.entries))
	size := 0
	for _, e := range n.entries {
		if e.name == "" || strings.ContainsAny(e.name, "=\x00") {
			r.refuse(e.place, "bad_env_name", "%s: %s; a name has no = and no NUL", what, quote(e.name))
		}
		out[e.name] = r.text(e.value, what+"."+e.name)
		size += len(e.name) + len(out[e.name]) + 2
	}
	if size > maxEnvironment {
		r.refuse(n.place, "too_large", "%s: %d bytes; the limit is 128 KiB", what, size)
	}
	if len(out) == 0 {
		return nil // as if it was not there
	}
	return out
}
