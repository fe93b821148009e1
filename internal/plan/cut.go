package plan

import (
	"github.com/zeebo/xxh3"

	"stint"
)

// share is a run of the listing that is cut by itself: one part of the output,
// or everything where parts do not matter. It is objects from … to-1, or, where
// length is not 0, bytes of object from.
type share struct {
	from, to       int
	offset, length int64
}

// cutAll makes the plan's cuts where parts do not matter.
func (p *Plan) cutAll(split stint.Split) {
	p.cutShare(share{to: len(p.Listing.Objects)}, split)
}

// cutParts makes the plan's cuts part by part, and returns the first operation
// of each part and the number of all operations.
func (p *Plan) cutParts(split stint.Split) []uint32 {
	var parts []uint32
	for _, s := range shares(p.Listing.Objects, split) {
		before := len(p.cuts)
		p.cutShare(s, split)
		if len(p.cuts) > before {
			parts = append(parts, uint32(before))
		}
	}
	return append(parts, uint32(len(p.cuts)))
}

// shares separates a listing into parts, by size and names alone. An object of
// more than [PartBytes] that may be cut is several parts; runs of others are
// separated into parts of at most so much.
func shares(objects []stint.Object, split stint.Split) []share {
	var out []share
	from := 0
	end := func(to int) {
		for _, n := range separate(objects[from:to], PartBytes, func(o stint.Object) int64 { return o.Size }) {
			out = append(out, share{from: from, to: from + n})
			from += n
		}
	}
	for i, o := range objects {
		if o.Size <= PartBytes || split == stint.SplitFiles {
			continue
		}
		end(i)
		for off := int64(0); off < o.Size; off += PartBytes {
			out = append(out, share{from: i, to: i + 1, offset: off, length: min(PartBytes, o.Size-off)})
		}
		from = i + 1
	}
	end(len(objects))
	return out
}

// cutShare cuts one share into operations: objects over the subset size at its
// multiples, runs of smaller ones packed. Without packing every object is by itself.
func (p *Plan) cutShare(s share, split stint.Split) {
	if s.length > 0 {
		p.cutObject(s.from, s.offset, s.offset+s.length)
		return
	}
	size, wholes := p.Choice.SubsetSize, split == stint.SplitFiles
	from := s.from // of the run of objects to be packed that ends before i
	for i := s.from; i < s.to; i++ {
		o := p.Listing.Objects[i]
		if wholes {
			p.cuts = append(p.cuts, cut{object: uint32(i), count: 1})
			from = i + 1
			continue
		}
		if o.Size > 0 && o.Size <= size && !p.Choice.Exact {
			continue
		}
		p.pack(from, i)
		p.cutObject(i, 0, o.Size)
		from = i + 1
	}
	p.pack(from, s.to)
}

func (p *Plan) cutObject(object int, from, to int64) {
	for off := from; off < to; off += p.Choice.SubsetSize {
		p.cuts = append(p.cuts, cut{object: uint32(object), offset: off, length: min(p.Choice.SubsetSize, to-off)})
	}
}

// pack makes operations of objects from … to-1, none of which is larger than a subset.
func (p *Plan) pack(from, to int) {
	size := p.Choice.SubsetSize
	least := ceil(size, MaxPackedFiles) // what an object takes at least, so that an operation has not too many
	for _, n := range separate(p.Listing.Objects[from:to], size, func(o stint.Object) int64 { return max(o.Size, least) }) {
		p.cuts = append(p.cuts, cut{object: uint32(from), count: uint32(n)})
		from += n
	}
}

// separate cuts a run of objects into groups that weigh at most limit, an object
// that alone weighs more being its own group, and returns how many objects are in each.
//
// A group begins at every object whose name's hash is the least for half of
// limit before it and half of limit after it. Where that is depends on nothing
// farther away, so that an object that comes, goes or changes its size changes
// its own group and at most those beside it. What lies between two such borders
// and is still too heavy is filled up from its beginning; then the change goes on
// to the next border, seldom more than a group away.
func separate(objects []stint.Object, limit int64, weigh func(stint.Object) int64) []int {
	border := borders(objects, limit/2, weigh)
	var out []int
	count, weight := 0, int64(0)
	for i, o := range objects {
		w := weigh(o)
		if count > 0 && (border[i] || weight+w > limit) {
			out = append(out, count)
			count, weight = 0, 0
		}
		count++
		weight += w
	}
	if count > 0 {
		out = append(out, count)
	}
	return out
}

// borders marks the objects whose name's hash is less than that of every object
// within reach before them and after them. The ends of the run count as less
// than anything: no group there is small.
func borders(objects []stint.Object, reach int64, weigh func(stint.Object) int64) []bool {
	type low struct { // an object with none less since it began
		object int
		hash   uint64
		start  int64
	}
	marks := make([]bool, len(objects))
	var lows []low // by hash
	var at int64
	end := func() { // of the last low: a lesser one begins at at
		l := lows[len(lows)-1]
		lows = lows[:len(lows)-1]
		before := int64(0)
		if len(lows) > 0 {
			before = lows[len(lows)-1].start
		}
		marks[l.object] = l.start-before > reach && at-l.start > reach
	}
	for i, o := range objects {
		hash := xxh3.HashString(o.URL)
		for len(lows) > 0 && lows[len(lows)-1].hash > hash {
			end()
		}
		lows = append(lows, low{object: i, hash: hash, start: at})
		at += weigh(o)
	}
	for len(lows) > 0 {
		end()
	}
	return marks
}
