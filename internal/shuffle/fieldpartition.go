package shuffle

import (
	"bytes"
	"strconv"
	"strings"

	"stint"
)

// FieldPartitioner returns the [Partitioner] that Hadoop's
// KeyFieldBasedPartitioner is with the given options, as "-k1,2 -k3.2nr,3.5",
// and separator between the fields of a key (empty: TAB), quirks included. A key
// is hashed as the bytes of its text: what is no UTF-8 in it counts as U+FFFD.
//
// Without options it is the hash of the key as a Java string. Options of which
// none is -k hash the whole key. Errors have code [stint.Invalid].
func FieldPartitioner(options, separator string) (Partitioner, error) {
	if options == "" {
		return stringPartition, nil
	}
	if separator == "" {
		separator = "\t"
	}
	ranges, err := parseFields(options)
	if err != nil {
		return nil, err
	}
	f := fieldPartition{separator: []byte(separator), ranges: ranges}
	if len(ranges) == 0 {
		f.ranges, f.whole = []fieldRange{{begin: 1, beginChar: 1}}, true
	}
	return f.partition, nil
}

// fieldRange is a range of bytes of a key: from a byte of a field up to and with
// a byte of a field, both counted from 1.
type fieldRange struct {
	begin, beginChar int
	end, endChar     int // end 0: to the end of the key; endChar 0: the field's last
}

type fieldPartition struct {
	separator []byte
	ranges    []fieldRange
	whole     bool // a key is one field
}

// partition hashes the ranges one after the other, as [HashPartition] does but
// from 0. A range whose field is not there does not count.
func (f *fieldPartition) partition(key []byte, n uint32) uint32 {
	if n == 1 || len(key) == 0 {
		return 0
	}
	key = appendJavaText(nil, key)
	fields := f.lengths(key)
	var hash int32
	for _, r := range f.ranges {
		from, ok := f.start(fields, len(key), r)
		if !ok {
			continue
		}
		to := f.end(fields, len(key), r)
		for i := from; i <= to; i++ {
			hash = 31*hash + int32(int8(key[i]))
		}
	}
	return (uint32(hash) & 0x7fffffff) % n
}

// lengths returns the lengths of the key's fields. As in Hadoop, a field begins
// one byte behind the beginning of the separator before it, however long that is,
// and one behind a separator that ends the key has length 0.
func (f *fieldPartition) lengths(key []byte) []int {
	if f.whole {
		return []int{0}
	}
	var fields []int
	for {
		i := bytes.Index(key, f.separator)
		if i < 0 {
			return append(fields, len(key))
		}
		fields = append(fields, i)
		key = key[i+1:]
	}
}

// start returns the index of a range's first byte.
func (f *fieldPartition) start(fields []int, length int, r fieldRange) (int, bool) {
	if len(fields) < r.begin {
		return 0, false
	}
	at := r.beginChar
	for i := 1; i < r.begin; i++ {
		at += fields[i-1] + len(f.separator)
	}
	return at - 1, at >= 1 && at <= length
}

// end returns the index of a range's last byte.
func (f *fieldPartition) end(fields []int, length int, r fieldRange) int {
	if r.end == 0 || len(fields) < r.end {
		return length - 1
	}
	at := r.endChar
	for i := 1; i < r.end; i++ {
		at += fields[i-1] + len(f.separator)
	}
	if r.endChar == 0 {
		at += fields[max(r.end, 1)-1]
	}
	return min(at, length) - 1
}

// parseFields reads the -k options. Others are of a sort, and say nothing here.
func parseFields(options string) ([]fieldRange, error) {
	var ranges []fieldRange
	words := strings.FieldsFunc(options, func(c rune) bool { return strings.ContainsRune(" \t\n\r\f", c) })
	for i := 0; i < len(words); i++ {
		spec, ok := strings.CutPrefix(words[i], "-k")
		if !ok {
			continue
		}
		if spec == "" && i+1 < len(words) {
			i++
			spec = words[i]
		}
		if spec == "" {
			continue
		}
		r, ok := parseRange(spec)
		if !ok {
			return nil, stint.Errorf(stint.Invalid, "key fields %.80q: -k%.40s: expected -k F[.C][nr][,F[.C][nr]] with numbers F of a field and C of a byte, from 1", options, spec)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// parseRange reads f[.c][nr][,f[.c][nr]].
func parseRange(spec string) (r fieldRange, ok bool) {
	r.beginChar = 1
	tokens := tokensOf(spec)
	if tokens, ok = parsePosition(tokens, &r.begin, &r.beginChar); !ok || len(tokens) == 0 {
		return r, ok
	}
	if tokens[0] != "," {
		return r, false
	}
	tokens, ok = parsePosition(tokens[1:], &r.end, &r.endChar)
	return r, ok && len(tokens) == 0
}

// parsePosition reads f[.c][nr] and returns what is behind it.
func parsePosition(tokens []string, field, char *int) (rest []string, ok bool) {
	if tokens, ok = parseNumber(tokens, field); !ok {
		return nil, false
	}
	if len(tokens) > 0 && tokens[0] == "." {
		if tokens, ok = parseNumber(tokens[1:], char); !ok {
			return nil, false
		}
	}
	for len(tokens) > 0 && (tokens[0] == "n" || tokens[0] == "r") {
		tokens = tokens[1:]
	}
	return tokens, true
}

func parseNumber(tokens []string, n *int) (rest []string, ok bool) {
	if len(tokens) == 0 {
		return nil, false
	}
	v, err := strconv.ParseInt(tokens[0], 10, 32)
	*n = int(v)
	return tokens[1:], err == nil
}

// tokensOf separates at n, r, comma and full stop, each of which is a token.
func tokensOf(spec string) []string {
	var tokens []string
	for spec != "" {
		i := strings.IndexAny(spec, "nr.,")
		switch {
		case i < 0:
			i = len(spec)
		case i == 0:
			i = 1
		}
		tokens, spec = append(tokens, spec[:i]), spec[i:]
	}
	return tokens
}

// stringPartition is the hash of the key as a Java string: of its UTF-16 code units.
func stringPartition(key []byte, n uint32) uint32 {
	if n == 1 {
		return 0
	}
	return (uint32(javaStringHash(appendJavaText(nil, key))) & 0x7fffffff) % n
}
