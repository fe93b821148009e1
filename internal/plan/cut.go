package plan

import (
	"hash/fnv"

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
// more than [PartBytes] that may be cut is several parts; others follow each
// other in one until it would grow too large, or until the hash of a name ends it.
func shares(objects []stint.Object, split stint.Split) []share {
	var out []share
	var open share
	var bytes int64
	end := func(next int) {
		if open.to > open.from {
			out = append(out, open)
		}
		open, bytes = share{from: next, to: next}, 0
	}
	for i, o := range objects {
		if o.Size > PartBytes && split != stint.SplitFiles {
			end(i)
			for off := int64(0); off < o.Size; off += PartBytes {
				out = append(out, share{from: i, to: i + 1, offset: off, length: min(PartBytes, o.Size-off)})
			}
			open = share{from: i + 1, to: i + 1}
			continue
		}
		if bytes+o.Size > PartBytes {
			end(i)
		}
		open.to = i + 1
		bytes += o.Size
		if bytes >= PartBytes/2 && nameHash(o.URL)%64 == 0 {
			end(i + 1)
		}
	}
	end(0)
	return out
}

// cutShare cuts one share into operations: objects over the subset size at its
// multiples, smaller ones packed. Without packing every object is by itself.
func (p *Plan) cutShare(s share, split stint.Split) {
	if s.length > 0 {
		p.cutObject(s.from, s.offset, s.offset+s.length)
		return
	}
	size, wholes := p.Choice.SubsetSize, split == stint.SplitFiles
	pack := packer{plan: p, alone: wholes || p.Choice.Exact}
	for i := s.from; i < s.to; i++ {
		o := p.Listing.Objects[i]
		switch {
		case o.Size == 0 && !wholes:
		case !wholes && (o.Size > size || p.Choice.Exact):
			pack.end()
			p.cutObject(i, 0, o.Size)
		default:
			pack.add(i, o)
		}
	}
	pack.end()
}

func (p *Plan) cutObject(object int, from, to int64) {
	for off := from; off < to; off += p.Choice.SubsetSize {
		p.cuts = append(p.cuts, cut{object: uint32(object), offset: off, length: min(p.Choice.SubsetSize, to-off)})
	}
}

// packer gathers objects that follow each other into one operation.
type packer struct {
	plan  *Plan
	alone bool
	from  int
	count int
	bytes int64
}

func (k *packer) add(i int, o stint.Object) {
	size := k.plan.Choice.SubsetSize
	if k.count > 0 && (k.alone || k.count == MaxPackedFiles || k.from+k.count != i || k.bytes+o.Size > size) {
		k.end()
	}
	if k.count == 0 {
		k.from = i
	}
	k.count++
	k.bytes += o.Size
	if k.bytes >= size/2 && nameHash(o.URL)%8 == 0 {
		k.end()
	}
}

func (k *packer) end() {
	if k.count > 0 {
		k.plan.cuts = append(k.plan.cuts, cut{object: uint32(k.from), count: uint32(k.count)})
	}
	k.count, k.bytes = 0, 0
}

func nameHash(s string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s)) // never fails
	return h.Sum32()
}
