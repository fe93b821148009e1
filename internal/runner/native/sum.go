package native

import (
	"io"
	"math/big"
	"strconv"

	"stint"
	"stint/internal/shuffle"
)

// Combiners returns the operators that also combine inside a shuffle, by name.
// A combiner serves one shuffle at a time.
func Combiners() map[string]func() shuffle.Combiner {
	return map[string]func() shuffle.Combiner{
		"sum":      func() shuffle.Combiner { return new(adder).add },
		"sums":     func() shuffle.Combiner { return new(columns).add },
		"distinct": func() shuffle.Combiner { return first },
	}
}

// adder adds decimal integers: in 64 bits while they fit, exactly beyond.
type adder struct {
	small int64
	large *big.Int // nil while small holds the sum
}

// add is a [shuffle.Combiner]: it appends the sum of all values of the key.
func (t *adder) add(dst, key []byte, values *shuffle.Groups) ([]byte, error) {
	t.small, t.large = 0, nil
	for {
		value, err := values.Value()
		if err == io.EOF { //nolint:errorlint // Groups returns io.EOF itself
			break
		}
		if err != nil {
			return dst, err
		}
		if !t.plus(value) {
			return dst, stint.Errorf(stint.Failed, "sum: the value %s of key %.80q is not a decimal integer", describe(value), key)
		}
	}
	return t.appendTo(dst), nil
}

// appendTo appends the sum in decimal.
func (t *adder) appendTo(dst []byte) []byte {
	if t.large != nil {
		return t.large.Append(dst, 10)
	}
	return strconv.AppendInt(dst, t.small, 10)
}

func describe(value []byte) string {
	if value == nil {
		return "(none)"
	}
	return strconv.QuoteToASCII(string(value[:min(len(value), 40)]))
}

// plus adds one value and reports whether it is a decimal integer.
func (t *adder) plus(value []byte) bool {
	if n, ok := parseSmall(value); ok && t.large == nil {
		if s := t.small + n; (n >= 0) == (s >= t.small) {
			t.small = s
			return true
		}
	}
	if !isInteger(value) {
		return false
	}
	if t.large == nil {
		t.large = big.NewInt(t.small)
	}
	n, ok := new(big.Int).SetString(string(value), 10)
	if ok {
		t.large.Add(t.large, n)
	}
	return ok
}

// parseSmall reads an integer of at most 18 digits.
func parseSmall(b []byte) (int64, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative || len(b) > 0 && b[0] == '+' {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if negative {
		n = -n
	}
	return n, true
}

// isInteger reports whether b is an optional sign and decimal digits.
func isInteger(b []byte) bool {
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		b = b[1:]
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}
