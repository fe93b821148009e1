package native

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"math/big"
	"slices"
	"strconv"

	"stint"
	"stint/internal/shuffle"
)

// combining performs a combiner on the groups of in: one record for each key. A
// group that it cannot take is a bad one.
func combining(combiner func() shuffle.Combiner) operator {
	return func(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
		return emitTo(out, func(sink shuffle.Sink) error {
			combine := combiner()
			var value []byte
			return eachGroup(ctx, in, func(key []byte, values *shuffle.Groups) error {
				first := values.Taken()
				var err error
				if value, err = combine(value[:0], key, values); err == nil {
					return sink.Emit(key, value)
				}
				if stint.CodeOf(err) != stint.Failed {
					return err
				}
				if _, failed := countValues(values); failed != nil {
					return failed
				}
				return a.Bad(key, &stint.RecordError{Number: first, Count: values.Taken() - first, Err: err})
			})
		})
	}
}

// eachGroup calls each with every key of in and its values.
func eachGroup(ctx context.Context, in io.Reader, each func(key []byte, values *shuffle.Groups) error) error {
	groups := shuffle.NewGroups(sourceOf(in))
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
		if err := each(key, groups); err != nil {
			return err
		}
	}
}

// first is a [shuffle.Combiner]: the first value of a key, which may be absent. The
// first of what is left of parts is that of all, since a shuffle keeps their order.
func first(dst, _ []byte, values *shuffle.Groups) ([]byte, error) {
	value, err := values.Value()
	if err != nil || value == nil {
		return nil, err
	}
	if dst == nil {
		dst = []byte{} // empty is not absent
	}
	return append(dst, value...), nil
}

// count writes how many lines there are, or, of sorted records, how many each key has.
func count(ctx context.Context, _ *stint.Attempt, in io.Reader, out io.Writer) error {
	return emitTo(out, func(sink shuffle.Sink) error {
		if _, ok := in.(shuffle.Source); ok {
			return eachGroup(ctx, in, func(key []byte, values *shuffle.Groups) error {
				n, err := countValues(values)
				if err != nil {
					return err
				}
				return sink.Emit(key, strconv.AppendInt(nil, n, 10))
			})
		}
		var lines lineCount
		if err := eachLines(ctx, in, func(b []byte) error { _, err := lines.Write(b); return err }); err != nil {
			return err
		}
		return sink.Emit([]byte("count"), strconv.AppendInt(nil, int64(lines), 10))
	})
}

func countValues(values *shuffle.Groups) (n int64, err error) {
	for ; ; n++ {
		_, err := values.Value()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func topParams() []stint.Param {
	return []stint.Param{{Name: "n", Type: stint.IntegerParam, Default: "10", Description: "how many records"}}
}

const maxTop = 1_000_000

// top writes the n records with the greatest numbers, the greatest first, and of
// equal ones those with the least keys. It may also combine.
func top(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	s, err := settle("top", topParams(), a.Params)
	if err == nil {
		err = s.atLeast("n", 1)
	}
	if err != nil {
		return err
	}
	best := ranking{limit: int(min(s.integer("n"), maxTop))}
	number := int64(0)
	err = everyRecord(ctx, sourceOf(in), func(key, value []byte) error {
		number++
		if !isDecimal(value) {
			why := stint.Errorf(stint.Failed, "top: the value %s of key %.80q is not a decimal number", describe(value), key)
			return a.Bad(key, &stint.RecordError{Number: number - 1, Err: why})
		}
		best.offer(key, value)
		return nil
	})
	if err != nil {
		return err
	}
	return emitTo(out, func(sink shuffle.Sink) error {
		for _, r := range best.sorted() {
			if err := sink.Emit(r.key, r.value); err != nil {
				return err
			}
		}
		return nil
	})
}

// ranked is a record and what its value sorts by.
type ranked struct{ key, value, order []byte }

func compareRanked(a, b ranked) int {
	return cmp.Or(bytes.Compare(a.order, b.order), bytes.Compare(a.key, b.key))
}

// ranking keeps the first of the records offered to it, as a heap whose root is
// the last of them.
type ranking struct {
	limit int
	heap  []ranked
	order []byte
}

func (r *ranking) offer(key, value []byte) {
	r.order = appendNumberDown(r.order[:0], value)
	candidate := ranked{key: key, value: value, order: r.order}
	full := len(r.heap) == r.limit
	if full && compareRanked(candidate, r.heap[0]) >= 0 {
		return
	}
	candidate = ranked{key: bytes.Clone(key), value: bytes.Clone(value), order: bytes.Clone(r.order)}
	if full {
		r.heap[0] = candidate
		r.down(0)
		return
	}
	r.heap = append(r.heap, candidate)
	for i := len(r.heap) - 1; i > 0 && compareRanked(r.heap[i], r.heap[(i-1)/2]) > 0; i = (i - 1) / 2 {
		r.heap[i], r.heap[(i-1)/2] = r.heap[(i-1)/2], r.heap[i]
	}
}

func (r *ranking) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(r.heap) {
			return
		}
		if child+1 < len(r.heap) && compareRanked(r.heap[child+1], r.heap[child]) > 0 {
			child++
		}
		if compareRanked(r.heap[child], r.heap[i]) <= 0 {
			return
		}
		r.heap[i], r.heap[child] = r.heap[child], r.heap[i]
		i = child
	}
}

// sorted returns the records in order. Nothing can be offered after it.
func (r *ranking) sorted() []ranked {
	slices.SortFunc(r.heap, compareRanked)
	return r.heap
}

// columns adds values column by column: whole numbers of any size with one space
// between two. A missing column is 0.
type columns struct {
	sums []adder
}

// add is a [shuffle.Combiner].
func (c *columns) add(dst, key []byte, values *shuffle.Groups) ([]byte, error) {
	c.sums = c.sums[:0]
	for {
		value, err := values.Value()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return dst, err
		}
		if !c.plus(value) {
			return dst, stint.Errorf(stint.Failed, "sums: the value %s of key %.80q is not whole numbers with spaces between", describe(value), key)
		}
	}
	for i := range c.sums {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = c.sums[i].appendTo(dst)
	}
	return dst, nil
}

func (c *columns) plus(value []byte) bool {
	for i := 0; ; i++ {
		if i == len(c.sums) {
			c.sums = append(c.sums, adder{})
		}
		number, rest, more := bytes.Cut(value, []byte{' '})
		if !c.sums[i].plus(number) {
			return false
		}
		if !more {
			return true
		}
		value = rest
	}
}

// bigOf returns a column as a number.
func bigOf(text []byte) *big.Int {
	n, _ := new(big.Int).SetString(string(text), 10) // written by columns
	return n
}
