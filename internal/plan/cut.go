package plan

import (
	"sort"

	"github.com/zeebo/xxh3"

	"stint"
)

// cutter makes the cuts of one stage that reads the input.
type cutter struct {
	plan  *Plan
	split stint.Split
	cuts  []cut
}

// share is a run of the listing that is cut by itself: one part of the output,
// or everything where parts do not matter. It is objects from … to-1, or, where
// length is not 0, bytes of object from.
type share struct {
	from, to       int
	offset, length int64
}

// cutParts makes the cuts of objects from … to-1 part by part, and returns the
// first operation of each part and the number of all operations.
func (c *cutter) cutParts(from, to int) []uint32 {
	var parts []uint32
	for _, s := range c.shares(from, to) {
		before := len(c.cuts)
		c.cutShare(s)
		if len(c.cuts) > before {
			parts = append(parts, uint32(before))
		}
	}
	return append(parts, uint32(len(c.cuts)))
}

func (c *cutter) object(i int) *stint.Object { return &c.plan.Listing.Objects[i] }

// whole reports whether an object is never cut: all of it is one record, or it
// must be read from its beginning.
func (c *cutter) whole(i int) bool {
	return c.split == stint.SplitFiles || stint.CodecOf(c.object(i).URL, c.plan.Spec.Compression) != stint.Plain
}

// shares separates objects from … to-1 into parts, by size and names alone. An
// object of more than [PartBytes] that may be cut is several parts; runs of others
// are separated into parts of at most so much.
func (c *cutter) shares(from, to int) []share {
	var out []share
	end := func(to int) {
		for _, n := range separate(c.plan.Listing.Objects[from:to], PartBytes, func(o stint.Object) int64 { return o.Size }) {
			out = append(out, share{from: from, to: from + n})
			from += n
		}
	}
	for i := from; i < to; i++ {
		o := c.object(i)
		if o.Size <= PartBytes || c.whole(i) {
			continue
		}
		end(i)
		for off := int64(0); off < o.Size; off += PartBytes {
			out = append(out, share{from: i, to: i + 1, offset: off, length: min(PartBytes, o.Size-off)})
		}
		from = i + 1
	}
	end(to)
	return out
}

// cutShare cuts one share into operations: objects over the subset size at its
// multiples, runs of smaller ones packed. Without packing every object is by itself.
func (c *cutter) cutShare(s share) {
	switch {
	case c.split == stint.SplitCount:
		c.cutLines(s)
		return
	case s.length > 0:
		c.cutObject(s.from, s.offset, s.offset+s.length)
		return
	}
	size := c.plan.Choice.SubsetSize
	from := s.from // of the run of objects to be packed that ends before i
	for i := s.from; i < s.to; i++ {
		o := c.object(i)
		if c.split != stint.SplitFiles && o.Size > 0 && o.Size <= size && !c.plan.Choice.Exact {
			continue
		}
		c.pack(from, i)
		if c.split == stint.SplitFiles || o.Size > 0 && c.whole(i) {
			c.cuts = append(c.cuts, cut{object: uint32(i), count: 1})
		} else {
			c.cutObject(i, 0, o.Size)
		}
		from = i + 1
	}
	c.pack(from, s.to)
}

// cutObject cuts a part of an object at multiples of the subset size. With too
// many operations it stops: then there is no plan.
func (c *cutter) cutObject(object int, from, to int64) {
	size := c.plan.Choice.SubsetSize
	for off := from; off < to && len(c.cuts) <= MaxOperations; off += size {
		c.cuts = append(c.cuts, cut{object: uint32(object), offset: off, length: min(size, to-off)})
	}
}

// cutLines cuts the objects of a share where the listing says that so many lines
// end, and nothing is packed.
func (c *cutter) cutLines(s share) {
	for i := s.from; i < s.to; i++ {
		size, at := c.object(i).Size, c.plan.cutsOf(i)
		from, to := s.offset, s.offset+s.length
		if s.length == 0 {
			to = size
		}
		n := sort.Search(len(at), func(n int) bool { return at[n] >= max(from, 1) })
		if from == 0 && to > 0 { // the first begins where the object does
			c.cuts = append(c.cuts, cut{object: uint32(i), length: endOf(at, n, size)})
		}
		for ; n < len(at) && at[n] < to; n++ {
			c.cuts = append(c.cuts, cut{object: uint32(i), offset: at[n], length: endOf(at, n+1, size) - at[n]})
		}
	}
}

func endOf(at []int64, n int, size int64) int64 {
	if n < len(at) {
		return at[n]
	}
	return size
}

// cutsOf returns where operations begin in an object that is separated by lines,
// without the first.
func (p *Plan) cutsOf(object int) []int64 {
	if p.Listing.Cuts == nil {
		return nil
	}
	return p.Listing.Cuts[object]
}

// checkCuts refuses what cannot be separated by lines, and a listing that says
// what cannot be.
func (p *Plan) checkCuts(stage string, from, to int) error {
	if p.Listing.Cuts != nil && len(p.Listing.Cuts) != len(p.Listing.Objects) {
		return stint.Errorf(stint.Internal, "listing of %d objects: it says for %d where operations begin", len(p.Listing.Objects), len(p.Listing.Cuts))
	}
	for i := from; i < to; i++ {
		o := &p.Listing.Objects[i]
		if codec := stint.CodecOf(o.URL, p.Spec.Compression); codec != stint.Plain {
			return stint.Errorf(stint.Invalid, "not_splittable: %s is compressed (%s), and stage %q splits by count: decompress it, or split by files", o.URL, codec, stage)
		}
		before := int64(0)
		for _, at := range p.cutsOf(i) {
			if at <= before || at >= o.Size {
				return stint.Errorf(stint.Internal, "listing: %s of %d bytes: an operation begins at %d, behind one at %d", o.URL, o.Size, at, before)
			}
			before = at
		}
	}
	return nil
}

// pack makes operations of objects from … to-1, none of which is larger than a subset.
func (c *cutter) pack(from, to int) {
	size := c.plan.Choice.SubsetSize
	least := ceil(size, MaxPackedFiles) // what an object takes at least, so that an operation has not too many
	for _, n := range separate(c.plan.Listing.Objects[from:to], size, func(o stint.Object) int64 { return max(o.Size, least) }) {
		c.cuts = append(c.cuts, cut{object: uint32(from), count: uint32(n)})
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
