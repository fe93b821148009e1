package block

import (
	"context"
	"io"
	"os"

	"github.com/zeebo/xxh3"

	"stint"
)

// Verify returns the operations whose blocks are not whole: whose segment is
// missing or too short and, if deep, whose bytes cannot be read or do not have
// their checksums. The error is that of ctx. Nothing is removed.
func (s *Store) Verify(ctx context.Context, x stint.ExecutionID, deep bool) ([]stint.StageOps, error) {
	v := verifier{store: s, x: x, sizes: make(map[uint32]int64), deep: deep, sum: xxh3.New()}
	var bad []stint.StageOps
	for _, stage := range s.Stages(x) {
		var ops []uint32
		for _, r := range s.Completed(x, stage) {
			for op := r.From; op < r.To; op++ {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				if !v.whole(ctx, stage, op) {
					ops = append(ops, op)
				}
			}
		}
		if len(ops) > 0 {
			bad = append(bad, stint.StageOps{Stage: stage, Ops: toRanges(ops)})
		}
	}
	return bad, ctx.Err()
}

// verifier looks at blocks without holding the store's lock while it reads.
type verifier struct {
	store *Store
	x     stint.ExecutionID
	deep  bool
	sizes map[uint32]int64 // of segments, -1 for one that is missing
	sum   *xxh3.Hasher
	buf   []byte
}

func (v *verifier) whole(ctx context.Context, stage int, op uint32) bool {
	idx, err := v.store.Index(v.x, stage, op)
	if err != nil {
		return true // removed since
	}
	if idx.Segment == 0 {
		return true
	}
	if idx.Offset+idx.Length > v.size(idx.Segment) {
		return false
	}
	if !v.deep {
		return true
	}
	return v.sums(ctx, idx)
}

// sums reads a block and compares its checksums.
func (v *verifier) sums(ctx context.Context, idx Index) bool {
	f, err := v.store.openSegment(v.x, idx.Segment)
	if err != nil {
		return false
	}
	if v.buf == nil {
		v.buf = make([]byte, 1<<20)
	}
	for _, p := range idx.Parts {
		if ctx.Err() != nil {
			return true // the caller looks
		}
		v.sum.Reset()
		n, err := io.CopyBuffer(onlyWriter{v.sum}, io.NewSectionReader(f, idx.Offset+p.Offset, p.Length), v.buf)
		if err != nil || n != p.Length || v.sum.Sum64() != p.Sum {
			return false
		}
	}
	return true
}

// onlyWriter hides what else a writer can do, so that the buffer is used.
type onlyWriter struct{ io.Writer }

func (v *verifier) size(segment uint32) int64 {
	n, ok := v.sizes[segment]
	if !ok {
		n = -1
		if fi, err := os.Stat(v.store.path(v.x, segment, segmentSuffix)); err == nil {
			n = fi.Size()
		}
		v.sizes[segment] = n
	}
	return n
}

// Check is [Store.Verify] for some operations of a stage, so that several can
// be looked at at once. absent are those of the bad ones whose segment is not there;
// bytes is how much was read.
func (s *Store) Check(ctx context.Context, x stint.ExecutionID, stage int, ops []stint.Range) (bad, absent []stint.Range, bytes int64, err error) {
	v := verifier{store: s, x: x, sizes: make(map[uint32]int64), deep: true, sum: xxh3.New()}
	for _, r := range ops {
		for op := r.From; op < r.To; op++ {
			if err := ctx.Err(); err != nil {
				return nil, nil, bytes, err
			}
			idx, err := s.Index(x, stage, op)
			if err != nil {
				continue
			}
			bytes += idx.Length
			switch {
			case v.whole(ctx, stage, op):
			case v.size(idx.Segment) < 0:
				absent = stint.AddToRanges(absent, op)
				fallthrough
			default:
				bad = stint.AddToRanges(bad, op)
			}
		}
	}
	return bad, absent, bytes, ctx.Err()
}
