package program

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"math"

	"stint/internal/frame"
)

// folder makes one value of some values of a key that were packed into list; nil
// is an absent one. The result is valid until the next call.
type folder func(ctx *Context, key, list []byte) ([]byte, error)

// gatherer combines what an operation emits, as far as its budget goes, before
// it is sent. It keeps the values of a key together, in the order in which they came, and makes
// one of them as soon as they are many. What it sends is the same for the same records:
// keys in the order in which they came first.
type gatherer struct {
	op      *operation
	context *Context // for the combiner
	fold    folder
	budget  int64
	off     bool // most keys came once: it only costs

	seed    maphash.Seed
	places  []place // by hash
	entries []entry // in the order in which their keys came
	room    []byte  // where entries begin
	size    int64   // bytes of keys and values, and what an entry takes
	records int     // that were taken since it was empty
	emptied int     // times
	single  bool    // every key was sent once, the last time
	out     frame.Batch
}

// place is where an entry is found; the zero value is a free one.
type place struct{ hash, number uint32 } // the number is the entry's index plus one

// entry is a key with its values.
type entry struct {
	data  []byte // the key, and the values, packed
	key   int    // length
	count int    // of values
	limit int    // length of data at which they are combined
}

func (e *entry) is(key []byte) bool { return string(e.data[:e.key]) == string(key) }

func (e *entry) values() []byte { return e.data[e.key:] }

const (
	entrySize  = 96      // about, of what an entry takes beside its key and values
	firstRoom  = 16      // for the values of an entry, at first
	slabSize   = 1 << 16 // of the room for many entries
	foldLength = 256     // of packed values that are combined
	trial      = 1 << 16 // records after which it is seen whether keys recur
)

func newGatherer(o *operation, fold folder, budget int64) *gatherer {
	return &gatherer{
		op: o, fold: fold, budget: budget, seed: maphash.MakeSeed(), places: make([]place, 1<<10),
		context: &Context{Context: o.context.Context, begin: o.context.begin, op: o},
	}
}

// take takes the records of a batch, and leaves it empty.
func (g *gatherer) take(b *frame.Batch) error {
	defer b.Reset()
	records := b.Records()
	for key, value, _, ok := records.Next(); ok; key, value, _, ok = records.Next() {
		if err := g.add(key, value); err != nil {
			return err
		}
	}
	if g.records >= trial && len(g.entries) > g.records/4*3 {
		g.off = true
		return g.empty()
	}
	return nil
}

// add adds a record to its entry.
func (g *gatherer) add(key, value []byte) error {
	e := g.entry(key)
	before := len(e.data)
	e.data = pack(e.data, value)
	e.count++
	if len(e.data) >= e.limit && e.count > 1 {
		if err := g.combine(e); err != nil {
			return err
		}
	}
	g.size += int64(len(e.data) - before)
	g.records++
	if g.size > g.budget {
		return g.shrink()
	}
	return nil
}

// entry returns that of a key, which it makes if there is none. It is valid until
// the next call.
func (g *gatherer) entry(key []byte) *entry {
	hash := uint32(maphash.Bytes(g.seed, key))
	mask := uint32(len(g.places) - 1)
	at := hash & mask
	for ; g.places[at].number != 0; at = (at + 1) & mask {
		if p := g.places[at]; p.hash == hash && g.entries[p.number-1].is(key) {
			return &g.entries[p.number-1]
		}
	}
	g.entries = append(g.entries, entry{data: append(g.allot(len(key)), key...), key: len(key), limit: len(key) + foldLength})
	g.places[at] = place{hash: hash, number: uint32(len(g.entries))}
	g.size += int64(len(key)) + entrySize
	if 2*len(g.entries) > len(g.places) {
		g.grow()
	}
	return &g.entries[len(g.entries)-1]
}

// allot returns room for a key of n bytes and its first values.
func (g *gatherer) allot(n int) []byte {
	n += firstRoom
	if n > slabSize/8 {
		return make([]byte, 0, n)
	}
	if len(g.room) < n {
		g.room = make([]byte, slabSize)
	}
	room := g.room[:0:n]
	g.room = g.room[n:]
	return room
}

// grow doubles the places.
func (g *gatherer) grow() {
	before := g.places
	g.places = make([]place, 2*len(before))
	mask := uint32(len(g.places) - 1)
	for _, p := range before {
		if p.number == 0 {
			continue
		}
		at := p.hash & mask
		for g.places[at].number != 0 {
			at = (at + 1) & mask
		}
		g.places[at] = p
	}
}

// combine makes one value of an entry's values. Where the program fails on them
// they stay: what is done about a bad group is seen when all values of the key are combined.
func (g *gatherer) combine(e *entry) error {
	value, err := folded(g.fold, g.context, e.data[:e.key:e.key], e.values())
	if err == nil && len(value) > frame.MaxValue {
		err = errors.New("record_too_long")
	}
	end, ends := errors.AsType[fatal](err)
	switch {
	case ends:
		return end
	case errors.Is(err, ErrStopped):
		return fatal{err}
	case err != nil:
		e.limit = math.MaxInt
		return nil //nolint:nilerr // it is told of the group later
	}
	e.data, e.count = pack(e.data[:e.key], value), 1
	e.limit = e.key + max(foldLength, 2*len(e.values())) // so that one of many bytes is not copied for each that is added
	return nil
}

// folded calls a combiner, whose panics are errors.
func folded(fold folder, ctx *Context, key, list []byte) (value []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return fold(ctx, key, list)
}

// shrink combines the values of every key, and sends them all unless that made
// much room.
func (g *gatherer) shrink() error {
	for i := range g.entries {
		before := len(g.entries[i].data)
		if err := g.settle(&g.entries[i]); err != nil {
			return err
		}
		g.size += int64(len(g.entries[i].data) - before)
	}
	if g.size > g.budget/2 {
		return g.empty()
	}
	return nil
}

// settle combines an entry's values, unless the program failed on them.
func (g *gatherer) settle(e *entry) error {
	if e.count < 2 || e.limit == math.MaxInt {
		return nil
	}
	return g.combine(e)
}

// empty combines the values of every key and sends them.
func (g *gatherer) empty() error {
	g.single = true
	for i := range g.entries {
		e := &g.entries[i]
		if err := g.settle(e); err != nil {
			return err
		}
		g.single = g.single && e.count == 1
		for list := e.values(); len(list) > 0; {
			var value []byte
			value, list = unpack(list)
			if err := g.send(e.data[:e.key], value); err != nil {
				return err
			}
		}
	}
	clear(g.places)
	clear(g.entries)
	g.entries, g.room, g.size, g.records = g.entries[:0], nil, 0, 0
	g.emptied++
	return g.op.write(&g.out)
}

// once reports whether no key was sent twice.
func (g *gatherer) once() bool { return g.emptied == 1 && !g.off && g.single }

func (g *gatherer) send(key, value []byte) error {
	if err := g.out.Add(g.op.sent+int64(g.out.Len()), key, value); err != nil {
		return err
	}
	if g.out.Full() {
		return g.op.write(&g.out)
	}
	return nil
}

// pack appends a value to a list: its length plus one, 0 for an absent one, and its bytes.
func pack(list, value []byte) []byte {
	if value == nil {
		return append(list, 0)
	}
	return append(binary.AppendUvarint(list, uint64(len(value))+1), value...)
}

// unpack returns the first value of a list and what is behind it.
func unpack(list []byte) (value, rest []byte) {
	code, n := binary.Uvarint(list)
	if code == 0 {
		return nil, list[n:]
	}
	end := n + int(code) - 1
	return list[n:end:end], list[end:]
}

// folderOf makes a folder of a combiner's function.
func folderOf[K, V any](f func(ctx *Context, key K, values iter.Seq[V]) (V, error)) func() folder {
	keys, values := codecOf[K](), codecOf[V]()
	return func() folder {
		var list, result []byte
		var wrong error
		all := func(yield func(V) bool) {
			var v V
			for len(list) > 0 && wrong == nil {
				var b []byte
				b, list = unpack(list)
				if wrong = values.parse(b, &v); wrong != nil || !yield(v) {
					return
				}
			}
		}
		return func(ctx *Context, key, packed []byte) ([]byte, error) {
			var k K
			if err := keys.parse(key, &k); err != nil {
				return nil, err
			}
			list, wrong = packed, nil
			v, err := f(ctx, k, all)
			if err = errors.Join(wrong, err); err != nil {
				return nil, err
			}
			value, err := values.value(result[:0], v)
			if value != nil {
				result = value
			}
			return value, err
		}
	}
}
