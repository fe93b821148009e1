package stint

import (
	"path"
	"strings"
)

// Object is one object of a listing: what it is called, how long it is, and
// which version of it was listed.
type Object struct {
	URL     string `json:"url"`             // file:///…, s3://…, http(s)://…
	Size    int64  `json:"size"`            // bytes
	Version string `json:"version"`         // ETag, or size and modification time; compared for equality only
	Input   string `json:"input,omitempty"` // name of the program's input that it belongs to, if those have names
}

// Codec is how an object is compressed.
type Codec string

// The codecs, by the suffix of an object's name.
const (
	Plain Codec = ""
	Gzip  Codec = "gz"
	Zstd  Codec = "zst"
	Bzip2 Codec = "bz2"
)

// CodecOf returns how the object of a URL is compressed: by the suffix of its name
// alone, which ends where the query of a URL of the web begins. With compression
// "none", see [Request], nothing is.
func CodecOf(url, compression string) Codec {
	if compression == "none" {
		return Plain
	}
	name, _, _ := strings.Cut(url, "?") // in other URLs it is written %3F
	switch c := Codec(strings.TrimPrefix(path.Ext(name), ".")); c {
	case Gzip, Zstd, Bzip2:
		return c
	case Plain:
	}
	return Plain
}

// Listing is the frozen list of the objects of an execution's input, sorted by
// name of the input and by URL, both in byte order, without repetition.
type Listing struct {
	Objects []Object  `json:"objects,omitempty"`
	Skipped int64     `json:"skipped,omitempty"` // objects left out because of their names
	Range   *Values   `json:"range,omitempty"`   // a generated range instead of objects
	Cuts    [][]int64 `json:"cuts,omitempty"`    // for SplitCount: by object, where each operation but its first begins; nil: none is separated so
}

// Values is a run of the whole numbers First … First+Count-1.
type Values struct {
	First int64 `json:"first"`
	Count int64 `json:"count"`
}

// Piece is a byte range of an object. The records of a piece are those that
// begin in it.
type Piece struct {
	Object Object `json:"object"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
}

// Subset is the input of one operation of a first stage: pieces in the order of
// the listing, or values. Both empty: no input at all.
type Subset struct {
	Pieces []Piece `json:"pieces,omitempty"`
	Values *Values `json:"values,omitempty"`
}

// Bytes returns the sum of the lengths of the subset's pieces.
func (s Subset) Bytes() int64 {
	var n int64
	for _, p := range s.Pieces {
		n += p.Length
	}
	return n
}

// Range is the half-open run of operation numbers From … To-1.
type Range struct {
	_struct struct{} `codec:",toarray"` //nolint:unused // tells the encoder to write an array
	From    uint32
	To      uint32
}

// Len returns the number of operations in the range.
func (r Range) Len() int { return int(r.To) - int(r.From) }

// AddToRanges adds operation op to a sorted list of ranges that neither overlap
// nor touch, and returns the list, which is so again. Adding a number that is
// already there changes nothing.
func AddToRanges(list []Range, op uint32) []Range {
	if n := len(list); n > 0 && list[n-1].To == op { // by far the most common
		list[n-1].To++
		return list
	}
	return UnionRange(list, Range{From: op, To: op + 1})
}

// UnionRange adds a range to a list as [AddToRanges] adds one operation.
func UnionRange(list []Range, r Range) []Range {
	if r.From >= r.To {
		return list
	}
	i := 0
	for i < len(list) && list[i].To < r.From {
		i++
	}
	j := i
	for j < len(list) && list[j].From <= r.To {
		r.From = min(r.From, list[j].From)
		r.To = max(r.To, list[j].To)
		j++
	}
	out := make([]Range, 0, len(list)-(j-i)+1)
	out = append(out, list[:i]...)
	out = append(out, r)
	return append(out, list[j:]...)
}

// SubtractRange removes a range from a sorted list of ranges.
func SubtractRange(list []Range, r Range) []Range {
	if r.From >= r.To {
		return list
	}
	out := make([]Range, 0, len(list)+1)
	for _, l := range list {
		if l.To <= r.From || r.To <= l.From {
			out = append(out, l)
			continue
		}
		if l.From < r.From {
			out = append(out, Range{From: l.From, To: r.From})
		}
		if r.To < l.To {
			out = append(out, Range{From: r.To, To: l.To})
		}
	}
	return out
}

// ClipRanges returns what a sorted list of ranges and a range have in common.
func ClipRanges(list []Range, r Range) []Range {
	var out []Range
	for _, l := range list {
		l.From, l.To = max(l.From, r.From), min(l.To, r.To)
		if l.From < l.To {
			out = append(out, l)
		}
	}
	return out
}

// CountRanges returns the number of operations in a list of ranges.
func CountRanges(list []Range) int {
	n := 0
	for _, r := range list {
		n += r.Len()
	}
	return n
}

// RangesContain reports whether operation op is in a sorted list of ranges.
func RangesContain(list []Range, op uint32) bool {
	lo, hi := 0, len(list)
	for lo < hi {
		mid := (lo + hi) / 2
		switch {
		case op < list[mid].From:
			hi = mid
		case op >= list[mid].To:
			lo = mid + 1
		default:
			return true
		}
	}
	return false
}
