package fsck

import (
	"context"
	"runtime"

	"golang.org/x/sync/errgroup"

	"stint"
)

// each does something with every item, as many at once as there are cores, and
// returns when all is done.
func each[T any](ctx context.Context, items []T, do func(ctx context.Context, item T) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, item := range items {
		g.Go(func() error {
			if gctx.Err() != nil {
				return gctx.Err()
			}
			return do(gctx, item)
		})
	}
	return g.Wait()
}

// chunkOps is how many operations are verified in a row.
const chunkOps = 4096

// pieces cuts ranges into lists of at most so many operations.
func pieces(ops []stint.Range, most int) [][]stint.Range {
	var out [][]stint.Range
	var now []stint.Range
	room := most
	for _, r := range ops {
		for r.From < r.To {
			to := min(r.To, r.From+uint32(room))
			now = append(now, stint.Range{From: r.From, To: to})
			room -= int(to - r.From)
			if r.From = to; room == 0 {
				out, now, room = append(out, now), nil, most
			}
		}
	}
	if now != nil {
		out = append(out, now)
	}
	return out
}
