package native

import (
	"bytes"
	"strconv"
	"strings"

	"stint"
)

// ordering is an order of lines: that of POSIX sort in the locale C with the same
// options. It is given to the shuffle as bytes to sort by, see [ordering.encode].
type ordering struct {
	keys      []sortKey
	separator int  // between fields; -1: where blanks follow what is no blank
	reverse   bool // of the comparison of whole lines, which decides where keys do not
	stable    bool // lines with equal keys come as they were in the input
	unique    bool // and of those only the first remains
}

// sortKey is a range of a line, compared bytewise or as a number. Fields count from 0.
type sortKey struct {
	startField, startChar int
	endField, endChar     int // up to and without that field, or with endChar so many bytes of it; endField -1: the end of the line
	numeric, reverse      bool
	skipStart, skipEnd    bool // blanks before the first, and before the last byte are not counted
}

func sortParams() []stint.Param {
	return []stint.Param{
		{Name: "key", Type: stint.TextParam, Description: "fields to compare, as options of sort: -k2,2 or -k3,3nr -k1,1; empty: the whole line"},
		{Name: "separator", Type: stint.TextParam, Description: `one byte between fields, as \t; empty: where blanks follow what is no blank`},
		{Name: "numeric", Type: stint.FlagParam, Default: "false", Description: "compare as decimal numbers of any length"},
		{Name: "reverse", Type: stint.FlagParam, Default: "false", Description: "greatest first"},
		{Name: "unique", Type: stint.FlagParam, Default: "false", Description: "only the first of lines with equal keys"},
		{Name: "stable", Type: stint.FlagParam, Default: "false", Description: "lines with equal keys as they come in the input, not in order of their bytes"},
	}
}

// newOrdering reads the parameters of sort.
func newOrdering(params map[string]string) (*ordering, error) {
	s, err := settle("sort", sortParams(), params)
	if err != nil {
		return nil, err
	}
	o := &ordering{separator: -1, reverse: s.flag("reverse"), stable: s.flag("stable"), unique: s.flag("unique")}
	if s["separator"] != "" {
		c, err := s.separator("separator")
		if err != nil {
			return nil, err
		}
		o.separator = int(c)
	}
	general := sortKey{numeric: s.flag("numeric"), reverse: s.flag("reverse")}
	for _, text := range keyOptions(s["key"]) {
		key, err := parseSortKey(text, general)
		if err != nil {
			return nil, err
		}
		o.keys = append(o.keys, key)
	}
	if len(o.keys) == 0 && general.numeric {
		general.endField = -1
		o.keys = []sortKey{general}
	}
	return o, nil
}

// keyOptions separates "-k2,2 -k 1n" and "2,2 1n" alike.
func keyOptions(text string) []string {
	return strings.Fields(strings.ReplaceAll(" "+text, " -k", " "))
}

// parseSortKey reads F[.C][OPTS][,F[.C][OPTS]], with the options b, n and r. A
// key without options has those that are given for all.
func parseSortKey(text string, general sortKey) (sortKey, error) {
	bad := stint.Errorf(stint.Invalid, "parameter key: %.80q: expected FIELD[.BYTE][bnr][,FIELD[.BYTE][bnr]], counted from 1, as -k2,2 or -k3.1,3.4n", text)
	from, to, ranged := strings.Cut(text, ",")
	key := sortKey{endField: -1}
	field, char, options, ok := position(from)
	if !ok || field < 1 || char == 0 {
		return key, bad
	}
	key.startField, key.startChar, key.skipStart = field-1, max(char-1, 0), strings.Contains(options, "b")
	if ranged {
		field, char, more, ok := position(to)
		if !ok || field < 1 {
			return key, bad
		}
		key.endField, key.endChar, key.skipEnd = field, 0, strings.Contains(more, "b")
		if char > 0 {
			key.endField, key.endChar = field-1, char
		}
		options += more
	}
	key.numeric, key.reverse = strings.Contains(options, "n"), strings.Contains(options, "r")
	if options == "" {
		key.numeric, key.reverse = general.numeric, general.reverse
	}
	return key, nil
}

// position reads F[.C][OPTS]; char is -1 if it is not there.
func position(s string) (field, char int, options string, ok bool) {
	s, options = cutOptions(s)
	number, fraction, dotted := strings.Cut(s, ".")
	field, err := strconv.Atoi(number)
	if err != nil {
		return 0, 0, "", false
	}
	char = -1
	if dotted {
		char, err = strconv.Atoi(fraction)
	}
	return field, char, options, err == nil && (!dotted || char >= 0)
}

func cutOptions(s string) (rest, options string) {
	rest = strings.TrimRight(s, "bnr")
	return rest, s[len(rest):]
}

// plain reports whether lines are in the order of their bytes, as they are.
func (o *ordering) plain() bool { return len(o.keys) == 0 && !o.reverse }

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// part returns the bytes of a line that a key compares.
func (o *ordering) part(k *sortKey, line []byte) []byte {
	from := o.skipFields(line, k.startField)
	if k.skipStart {
		from = skipBlanks(line, from)
	}
	from = min(from+k.startChar, len(line))
	to := len(line)
	switch {
	case k.endField < 0:
	case k.endChar == 0:
		to = o.fieldEnd(line, k.endField)
	default:
		to = o.skipFields(line, k.endField)
		if k.skipEnd {
			to = skipBlanks(line, to)
		}
		to = min(to+k.endChar, len(line))
	}
	return line[from:max(from, to)]
}

// skipFields returns where the bytes behind n fields, and a separator, begin.
func (o *ordering) skipFields(line []byte, n int) int {
	at := 0
	for ; n > 0 && at < len(line); n-- {
		if at = o.endOf(line, at); o.separator >= 0 && at < len(line) {
			at++
		}
	}
	return at
}

// fieldEnd returns where the n-th field ends, counted from 1.
func (o *ordering) fieldEnd(line []byte, n int) int {
	return o.endOf(line, o.skipFields(line, n-1))
}

// endOf returns where the field ends that begins at a place.
func (o *ordering) endOf(line []byte, at int) int {
	if o.separator >= 0 {
		if i := bytes.IndexByte(line[at:], byte(o.separator)); i >= 0 {
			return at + i
		}
		return len(line)
	}
	at = skipBlanks(line, at)
	for at < len(line) && !isBlank(line[at]) {
		at++
	}
	return at
}

func skipBlanks(line []byte, at int) int {
	for at < len(line) && isBlank(line[at]) {
		at++
	}
	return at
}

// encode appends the bytes by which a line is sorted to dst, and returns them and
// how many of them are those of the keys, behind which the line itself follows:
// in [ordering.tail] form if the order is not stable, not at all if it is. No
// LF is among them if none is in the line, so that they can be lines themselves.
func (o *ordering) encode(dst, line []byte) (encoded []byte, keys int) {
	for i := range o.keys {
		k := &o.keys[i]
		part := o.part(k, line)
		switch {
		case k.numeric && k.reverse:
			dst = appendNumberDown(dst, part)
		case k.numeric:
			dst = appendNumber(dst, part)
		case k.reverse:
			dst = appendDown(dst, part)
		default:
			dst = appendUp(dst, part)
		}
	}
	if len(o.keys) > 0 && (o.stable || o.unique) {
		return dst, len(dst)
	}
	return o.tail(dst, line), len(dst)
}

// tail appends a line so that the greater comes first if the order is reversed.
func (o *ordering) tail(dst, line []byte) []byte {
	if o.reverse {
		return appendDown(dst, line)
	}
	return append(dst, line...)
}

// line returns the line of a tail; it may be a part of it or of dst.
func (o *ordering) line(dst, tail []byte) []byte {
	if o.reverse {
		return undown(dst, tail)
	}
	return tail
}

// appendUp appends bytes and an end that sorts before all of them, 0. What would
// be taken for it is written as two bytes: 0 as 1 1 and 1 as 1 2.
func appendUp(dst, b []byte) []byte {
	for _, c := range b {
		if c < 2 {
			dst = append(dst, 1, c+1)
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, 0)
}

// appendDown appends bytes so that the order is turned round, and an end that
// sorts after all of them, 255. A byte c becomes 255-c; those that would become
// 255, 254 or LF become two: 0 → 254 2, 1 → 254 1, 244 → 11 1, 245 → 11 0.
func appendDown(dst, b []byte) []byte {
	for _, c := range b {
		switch c {
		case 0, 1:
			dst = append(dst, 254, 2-c)
		case 244, 245:
			dst = append(dst, 11, 245-c)
		default:
			dst = append(dst, 255-c)
		}
	}
	return append(dst, 255)
}

// undown appends to dst what appendDown was given.
func undown(dst, b []byte) []byte {
	for i := 0; i < len(b)-1; i++ {
		switch c := b[i]; c {
		case 254:
			i++
			dst = append(dst, 2-b[i])
		case 11:
			i++
			dst = append(dst, 245-b[i])
		default:
			dst = append(dst, 255-c)
		}
	}
	return dst
}
