package agent

import (
	"context"
	"errors"
	"io"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/object"
)

const (
	comparedAtOnce = 4       // subsets that are read
	compareBuffer  = 1 << 20 // bytes
)

// compare reads subsets of the input and says which of them have the bytes that
// their sums say. What has changed or is gone since it was listed is not equal.
func compare(ctx context.Context, access *object.Access, e stint.Errand, result *stint.ErrandResult) error {
	if len(e.Subsets) != len(e.Sums) {
		return stint.Errorf(stint.Invalid, "compare input of %s: %d subsets and %d sums", e.Execution, len(e.Subsets), len(e.Sums))
	}
	equal := make([]bool, len(e.Subsets))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(comparedAtOnce)
	for i, subset := range e.Subsets {
		g.Go(func() error {
			sum, err := sumOf(ctx, access, subset)
			if code := stint.CodeOf(err); err != nil && (code == stint.Invalid || code == stint.NotFound) {
				return nil
			}
			equal[i] = sum == e.Sums[i]
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range equal {
		if equal[i] {
			result.Ops = stint.AddToRanges(result.Ops, uint32(i))
		}
	}
	return nil
}

// sumOf returns the sum of the bytes of a subset, as [stint.OpDone] has it.
func sumOf(ctx context.Context, access *object.Access, subset stint.Subset) (uint64, error) {
	hash, buffer := xxh3.New(), make([]byte, max(min(subset.Bytes(), compareBuffer), 1))
	for _, p := range subset.Pieces {
		if err := addPiece(ctx, access, hash, p, buffer); err != nil {
			return 0, err
		}
	}
	return hash.Sum64(), nil
}

func addPiece(ctx context.Context, access *object.Access, hash io.Writer, p stint.Piece, buffer []byte) error {
	r, err := access.OpenRange(ctx, p.Object, p.Offset, p.Length)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	var n int64
	for err == nil && ctx.Err() == nil {
		var read int
		read, err = r.Read(buffer)
		n += int64(read)
		_, _ = hash.Write(buffer[:read]) // a hash does not fail
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.Is(err, io.EOF):
		return nodeFault(err, p.Object.URL)
	case n < p.Length:
		return stint.Errorf(stint.Invalid, "input changed: %s ends at byte %d", p.Object.URL, p.Offset+n)
	}
	return nil
}
