package program

import (
	"errors"
	"fmt"
	"io"
	"iter"
)

// Stages are a program's functions by stage.
type Stages map[string]Stage

// Stage is the functions of one stage: Map for one that reads input, or the output of
// another stage as it is; Reduce for one behind a shuffle; and Combine for the
// output of either.
type Stage struct {
	Map     Mapper
	Combine Combiner
	Reduce  Reducer
}

// Mapper is a function made by [Map]. The zero value is none.
type Mapper struct{ run step }

// Combiner is a function made by [Combine]. The zero value is none.
type Combiner struct {
	run  step
	fold func() folder // for the values that an operation gathers
}

// Reducer is a function made by [Reduce]. The zero value is none.
type Reducer struct{ run step }

// step performs an operation to the end of its input.
type step func(o *operation) error

// ErrStopped is what a function returns that has saved itself since the operation
// was asked to end.
var ErrStopped = errors.New("stopped")

// fatal is an error that is not a record's.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// Fatal returns an error that fails the operation, whatever is done about bad
// records; nil for nil.
func Fatal(err error) error {
	if err == nil {
		return nil
	}
	return fatal{err}
}

// Map makes a mapper of a function that is called for each record: a line without
// its end, or a whole file.
func Map[In, K, V any](f func(ctx *Context, record In, emit func(K, V)) error) Mapper {
	in := codecOf[In]()
	return Mapper{run: func(o *operation) error {
		w := newEmitter[K, V](o)
		emit := w.emit
		var value []byte
		var record In
		perform := func() error {
			if err := in.parse(value, &record); err != nil {
				return err
			}
			return w.done(f(o.context, record, emit))
		}
		for {
			var err error
			o.context.key, value, err = o.next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := o.try(value, perform, nothing); err != nil {
				return err
			}
		}
	}}
}

func nothing() error { return nil }

// Combine makes a combiner of a function that makes one value of some values of a
// key. It may be called any number of times for a key, also with what it returned
// and with a single value, and not at all; so it is associative and commutative: what is made
// of all values is the same however they are put together. Values come in the order in which
// they were emitted, and are put together in a way that depends on nothing but the operation's
// input: a sum of fractions is the same, to the last digit, wherever the operation
// is performed. One that fails on some values of a key is given all of them again, and
// is then said to have met a bad group. Counters it adds to tell how often it was called.
func Combine[K, V any](f func(ctx *Context, key K, values iter.Seq[V]) (V, error)) Combiner {
	return Combiner{fold: folderOf(f), run: groups(func(ctx *Context, key K, values iter.Seq[V], emit func(K, V)) error {
		v, err := f(ctx, key, values)
		if err == nil {
			emit(key, v)
		}
		return err
	})}
}

// Reduce makes a reducer of a function that is called once for each key, with all
// its values.
func Reduce[K, V, OutK, OutV any](f func(ctx *Context, key K, values iter.Seq[V], emit func(OutK, OutV)) error) Reducer {
	return Reducer{run: groups(f)}
}

// groups calls f for each key.
func groups[K, V, OutK, OutV any](f func(ctx *Context, key K, values iter.Seq[V], emit func(OutK, OutV)) error) step {
	keys, values := codecOf[K](), codecOf[V]()
	return func(o *operation) error {
		w := newEmitter[OutK, OutV](o)
		for {
			g, err := o.group()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			err = o.try(g.key, func() error {
				var key K
				if err := keys.parse(g.key, &key); err != nil {
					return fmt.Errorf("key: %w", err)
				}
				err := f(o.context, key, each(g, &values), w.emit)
				if g.err != nil {
					err = g.err
				}
				return w.done(err)
			}, g.skip)
			if err != nil {
				return err
			}
		}
	}
}

// each yields the values of a group. What is wrong with one ends it, and is in g.
func each[V any](g *group, c *codec[V]) iter.Seq[V] {
	return func(yield func(V) bool) {
		var v V
		for {
			b, ok := g.next()
			if !ok {
				return
			}
			if err := c.parse(b, &v); err != nil {
				g.err = fmt.Errorf("value: %w", err)
				return
			}
			if !yield(v) {
				return
			}
		}
	}
}

// emitter encodes what a function emits.
type emitter[K, V any] struct {
	op         *operation
	keys       codec[K]
	values     codec[V]
	key, value []byte
	err        error
}

func newEmitter[K, V any](o *operation) *emitter[K, V] {
	return &emitter[K, V]{op: o, keys: codecOf[K](), values: codecOf[V](), value: []byte{}}
}

func (e *emitter[K, V]) emit(k K, v V) {
	if e.err != nil {
		return
	}
	if e.key, e.err = e.keys.append(e.key[:0], k); e.err != nil {
		return
	}
	value, err := e.values.value(e.value[:0], v)
	if err != nil {
		e.err = err
		return
	}
	if value != nil {
		e.value = value
	}
	e.err = e.op.emit(e.key, value)
}

// done returns the error of the function, or else of what it emitted.
func (e *emitter[K, V]) done(err error) error {
	if err == nil {
		err = e.err
	}
	e.err = nil
	return err
}
