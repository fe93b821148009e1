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
// their checksums. The error is that of ctx, or that this node has no descriptors
// or no memory left to look, which says nothing of any block: its code is
// [stint.Unavailable]. Nothing is removed.
func (s *Store) Verify(ctx context.Context, x stint.ExecutionID, deep bool) ([]stint.StageOps, error) {
	v := s.verifier(x, deep)
	defer v.close()
	var bad []stint.StageOps
	for _, stage := range s.Stages(x) {
		var ops []uint32
		for _, r := range s.Completed(x, stage) {
			for op := r.From; op < r.To; op++ {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				whole, err := v.whole(ctx, stage, op)
				if err != nil {
					return nil, err
				}
				if !whole {
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

// verifier looks at blocks without holding the store's lock while it reads. It has
// one segment open at a time, by itself: those that the store opens stay open, and
// there may be more of them than descriptors.
type verifier struct {
	store   *Store
	x       stint.ExecutionID
	deep    bool
	sizes   map[uint32]int64 // of segments, -1 for one that is missing
	segment uint32           // that is open
	file    *os.File         // nil: none is
	sum     *xxh3.Hasher
	buf     []byte
}

func (s *Store) verifier(x stint.ExecutionID, deep bool) *verifier {
	return &verifier{store: s, x: x, sizes: make(map[uint32]int64), deep: deep, sum: xxh3.New()}
}

// whole reports whether the block of an operation is whole. The error is
// ctx's or a shortage.
func (v *verifier) whole(ctx context.Context, stage int, op uint32) (bool, error) {
	idx, err := v.store.Index(v.x, stage, op)
	if err != nil {
		return true, nil //nolint:nilerr // removed since
	}
	if idx.Segment == 0 {
		return true, nil
	}
	size, err := v.size(idx.Segment)
	if err != nil || idx.Offset+idx.Length > size {
		return false, err
	}
	if !v.deep {
		return true, nil
	}
	return v.sums(ctx, idx)
}

// sums reads a block and compares its checksums.
func (v *verifier) sums(ctx context.Context, idx Index) (bool, error) {
	if err := v.open(idx.Segment); err != nil {
		return false, shortageOnly(err)
	}
	if v.buf == nil {
		v.buf = make([]byte, 1<<20)
	}
	for _, p := range idx.Parts {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		v.sum.Reset()
		n, err := io.CopyBuffer(onlyWriter{v.sum}, io.NewSectionReader(v.file, idx.Offset+p.Offset, p.Length), v.buf)
		if err != nil || n != p.Length || v.sum.Sum64() != p.Sum {
			return false, shortageOnly(err)
		}
	}
	return true, nil
}

// shortageOnly passes over errors that say that a block cannot be read.
func shortageOnly(err error) error {
	if isShortage(err) {
		return stint.Errorf(stint.Unavailable, "read segment: %w", err)
	}
	return nil
}

// onlyWriter hides what else a writer can do, so that the buffer is used.
type onlyWriter struct{ io.Writer }

// open opens a segment in place of the one before.
func (v *verifier) open(segment uint32) error {
	if v.file != nil && v.segment == segment {
		return nil
	}
	v.close()
	f, err := openRegular(v.store.path(v.x, segment, segmentSuffix))
	if err == nil {
		v.segment, v.file = segment, f
	}
	return err
}

func (v *verifier) close() {
	if v.file != nil {
		_ = v.file.Close() // only read
		v.file = nil
	}
}

func (v *verifier) size(segment uint32) (int64, error) {
	n, ok := v.sizes[segment]
	if !ok {
		n = -1
		fi, err := os.Stat(v.store.path(v.x, segment, segmentSuffix))
		if isShortage(err) {
			return 0, shortageOnly(err)
		}
		if err == nil {
			n = fi.Size()
		}
		v.sizes[segment] = n
	}
	return n, nil
}

// Check is [Store.Verify] for some operations of a stage, so that several can
// be looked at at once. absent are those of the bad ones whose segment is not there;
// bytes is how much was read.
func (s *Store) Check(ctx context.Context, x stint.ExecutionID, stage int, ops []stint.Range) (bad, absent []stint.Range, bytes int64, err error) {
	v := s.verifier(x, true)
	defer v.close()
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
			whole, err := v.whole(ctx, stage, op)
			if err != nil {
				return nil, nil, bytes, err
			}
			if whole {
				continue
			}
			bad = stint.AddToRanges(bad, op)
			if v.sizes[idx.Segment] < 0 {
				absent = stint.AddToRanges(absent, op)
			}
		}
	}
	return bad, absent, bytes, ctx.Err()
}
