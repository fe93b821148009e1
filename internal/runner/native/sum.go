package native

import (
	"context"
	"errors"
	"io"
	"math/big"
	"strconv"

	"stint"
	"stint/internal/shuffle"
)

// sum is the reducing operator: one record for each key.
func sum(ctx context.Context, _ *stint.Attempt, in io.Reader, out io.Writer) error {
	return emitTo(out, func(sink shuffle.Sink) error {
		groups := shuffle.NewGroups(sourceOf(in))
		var total adder
		var value []byte
		for n := 0; ; n++ {
			if n%stride == 0 {
				if err := stopped(ctx); err != nil {
					return err
				}
			}
			key, err := groups.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if value, err = total.add(value[:0], key, groups); err != nil {
				return err
			}
			if err := sink.Emit(key, value); err != nil {
				return err
			}
		}
	})
}

// Combiners returns the operators that also combine inside a shuffle, by name.
// A combiner serves one shuffle at a time.
func Combiners() map[string]func() shuffle.Combiner {
	return map[string]func() shuffle.Combiner{
		"sum": func() shuffle.Combiner { return new(adder).add },
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
	if t.large != nil {
		return t.large.Append(dst, 10), nil
	}
	return strconv.AppendInt(dst, t.small, 10), nil
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
