package native

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"stint"
	"stint/internal/shuffle"
)

// aggregate is Hadoop's reducer of that name: a key is the name of what is to be
// made of its values, as LongValueSum, a colon, and the key of the result.
func aggregate(ctx context.Context, _ *stint.Attempt, in io.Reader, out io.Writer) error {
	return aggregated(ctx, in, out, func(sink shuffle.Sink, key []byte, a aggregator) error {
		_, id, _ := bytes.Cut(key, []byte{':'})
		return sink.Emit(id, a.report([]byte{}))
	})
}

// aggregateCombine is the combiner that goes with [aggregate]: what it makes of a
// key's values are fewer values of that key.
func aggregateCombine(ctx context.Context, _ *stint.Attempt, in io.Reader, out io.Writer) error {
	return aggregated(ctx, in, out, func(sink shuffle.Sink, key []byte, a aggregator) error {
		for _, value := range a.combined() {
			if err := sink.Emit(key, value); err != nil {
				return err
			}
		}
		return nil
	})
}

func aggregated(ctx context.Context, in io.Reader, out io.Writer, emit func(shuffle.Sink, []byte, aggregator) error) error {
	return emitTo(out, func(sink shuffle.Sink) error {
		var text []byte
		return eachGroup(ctx, in, func(key []byte, values *shuffle.Groups) error {
			text = shuffle.AppendJavaText(text[:0], key)
			a, err := aggregateGroup(text, values)
			if err != nil {
				return err
			}
			return emit(sink, text, a)
		})
	})
}

// aggregateGroup adds all values of a key.
func aggregateGroup(key []byte, values *shuffle.Groups) (aggregator, error) {
	name, _, found := strings.Cut(string(key[:min(len(key), 80)]), ":")
	a := newAggregator(name)
	if !found || a == nil {
		return nil, stint.Errorf(stint.Failed, "aggregate: the key %.80q: expected one of %s, a colon and a key", key, strings.Join(aggregatorNames(), ", "))
	}
	var text []byte
	for {
		value, err := values.Value()
		if err == io.EOF { //nolint:errorlint // Groups returns io.EOF itself
			return a, nil
		}
		if err != nil {
			return nil, err
		}
		text = shuffle.AppendJavaText(text[:0], value)
		if !a.add(text) {
			return nil, stint.Errorf(stint.Failed, "aggregate: the value %s of key %.80q is no number that %s takes", describe(value), key, name)
		}
	}
}

// aggregator is what is made of the values of one key.
type aggregator interface {
	add(value []byte) bool    // false: not a value that it takes
	report(dst []byte) []byte // appends the result
	combined() [][]byte       // values that are together as good as those added
}

func aggregators() map[string]func() aggregator {
	return map[string]func() aggregator{
		"LongValueSum": func() aggregator { return &longValue{join: func(a, b int64) int64 { return a + b }} },
		"LongValueMax": func() aggregator {
			return &longValue{value: math.MinInt64, join: func(a, b int64) int64 { return max(a, b) }}
		},
		"LongValueMin": func() aggregator {
			return &longValue{value: math.MaxInt64, join: func(a, b int64) int64 { return min(a, b) }}
		},
		"DoubleValueSum": func() aggregator { return &doubleSum{} },
		"StringValueMax": func() aggregator { return &stringExtreme{sign: 1} },
		"StringValueMin": func() aggregator { return &stringExtreme{sign: -1} },
		"UniqValueCount": func() aggregator { return &uniqueCount{histogram: histogram{counts: make(map[string]int64)}} },
		"ValueHistogram": func() aggregator { return &histogram{counts: make(map[string]int64)} },
	}
}

func aggregatorNames() []string { return slices.Sorted(maps.Keys(aggregators())) }

// newAggregator returns the one of that name, in letters of any case; nil if there is none.
func newAggregator(name string) aggregator {
	known := aggregators()
	if make := known[name]; make != nil {
		return make()
	}
	for n, make := range known {
		if strings.EqualFold(n, name) {
			return make()
		}
	}
	return nil
}

// longValue is a sum, which wraps around at 64 bits, a maximum or a minimum.
type longValue struct {
	value int64
	join  func(a, b int64) int64
}

func (l *longValue) add(value []byte) bool {
	n, err := strconv.ParseInt(string(value), 10, 64)
	l.value = l.join(l.value, n)
	return err == nil
}

func (l *longValue) report(dst []byte) []byte { return strconv.AppendInt(dst, l.value, 10) }
func (l *longValue) combined() [][]byte       { return [][]byte{l.report(nil)} }

// doubleSum adds in the order in which the values come.
type doubleSum struct{ sum float64 }

func (d *doubleSum) add(value []byte) bool {
	x, ok := parseDouble(string(value))
	d.sum += x
	return ok
}

func (d *doubleSum) report(dst []byte) []byte { return appendDouble(dst, d.sum) }
func (d *doubleSum) combined() [][]byte       { return [][]byte{d.report(nil)} }

// stringExtreme is the last value in the order of Java's strings, or the first.
type stringExtreme struct {
	sign  int // 1: the last; -1: the first
	some  bool
	value []byte
}

func (s *stringExtreme) add(value []byte) bool {
	if !s.some || s.sign*shuffle.CompareJavaText(value, s.value) > 0 {
		s.some, s.value = true, append(s.value[:0], value...)
	}
	return true
}

func (s *stringExtreme) report(dst []byte) []byte { return append(dst, s.value...) }
func (s *stringExtreme) combined() [][]byte       { return [][]byte{s.report([]byte{})} }

// histogram counts how often each value came. A value may end in TAB and a count.
type histogram struct{ counts map[string]int64 }

func (h *histogram) add(value []byte) bool {
	text, n := string(value), int64(1)
	if i := bytes.LastIndexByte(value, '\t'); i >= 0 {
		var err error
		if n, err = strconv.ParseInt(text[i+1:], 10, 64); err != nil {
			return false
		}
		text = text[:i]
	}
	h.counts[text] += n
	return true
}

// report appends how many different values there were and, of how often they
// came, the minimum, median, maximum, mean and standard deviation.
func (h *histogram) report(dst []byte) []byte {
	counts := slices.Sorted(maps.Values(h.counts))
	var sum int64
	for _, c := range counts {
		sum += c
	}
	n := float64(len(counts))
	mean, deviation := float64(sum)/n, 0.0
	for _, c := range counts {
		d := float64(c) - mean
		deviation += d * d
	}
	dst = strconv.AppendInt(dst, int64(len(counts)), 10)
	for _, c := range [...]int64{counts[0], counts[len(counts)/2], counts[len(counts)-1]} {
		dst = strconv.AppendInt(append(dst, '\t'), c, 10)
	}
	dst = appendDouble(append(dst, '\t'), mean)
	return appendDouble(append(dst, '\t'), math.Sqrt(deviation/n))
}

func (h *histogram) values() []string {
	return slices.SortedFunc(maps.Keys(h.counts), func(a, b string) int { return shuffle.CompareJavaText([]byte(a), []byte(b)) })
}

func (h *histogram) combined() [][]byte {
	var out [][]byte
	for _, v := range h.values() {
		out = append(out, strconv.AppendInt(append([]byte(v), '\t'), h.counts[v], 10))
	}
	return out
}

// uniqueCount counts different values.
type uniqueCount struct{ histogram }

func (u *uniqueCount) add(value []byte) bool {
	u.counts[string(value)]++
	return true
}

func (u *uniqueCount) report(dst []byte) []byte {
	return strconv.AppendInt(dst, int64(len(u.counts)), 10)
}

func (u *uniqueCount) combined() [][]byte {
	var out [][]byte
	for _, v := range u.values() {
		out = append(out, []byte(v))
	}
	return out
}

// parseDouble reads a number as Java's Double.parseDouble does.
func parseDouble(s string) (float64, bool) {
	s = strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
	sign, rest := 1.0, s
	if rest != "" && (rest[0] == '-' || rest[0] == '+') {
		if rest[0] == '-' {
			sign = -1
		}
		rest = rest[1:]
	}
	switch rest {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(int(sign)), true
	}
	allowed := "0123456789.eE+-"
	if len(rest) > 1 && (rest[:2] == "0x" || rest[:2] == "0X") {
		allowed = "0123456789abcdefABCDEFxXpP.+-"
	}
	if rest != "" && strings.IndexByte("fFdD", rest[len(rest)-1]) >= 0 {
		rest = rest[:len(rest)-1]
	}
	if rest == "" || strings.IndexByte("+-", rest[0]) >= 0 || strings.Trim(rest, allowed) != "" {
		return 0, false
	}
	x, err := strconv.ParseFloat(rest, 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // infinity, as in Java
	}
	return sign * x, err == nil
}

// appendDouble appends a number as Java's Double.toString writes it: from 10⁻³ to
// below 10⁷ as 1.5, others as 1.5E10, with as few digits as tell it from others.
func appendDouble(dst []byte, x float64) []byte {
	switch abs := math.Abs(x); {
	case math.IsNaN(x):
		return append(dst, "NaN"...)
	case math.IsInf(x, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(x, -1):
		return append(dst, "-Infinity"...)
	case abs != 0 && (abs < 1e-3 || abs >= 1e7):
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(x, 'e', -1, 64), "e")
		dst = append(dst, mantissa...)
		if !strings.Contains(mantissa, ".") {
			dst = append(dst, ".0"...)
		}
		sign, digits := strings.TrimSuffix(exponent[:1], "+"), strings.TrimLeft(exponent[1:], "0")
		return append(append(append(dst, 'E'), sign...), digits...)
	}
	from := len(dst)
	dst = strconv.AppendFloat(dst, x, 'f', -1, 64)
	if bytes.IndexByte(dst[from:], '.') < 0 {
		dst = append(dst, ".0"...)
	}
	return dst
}
