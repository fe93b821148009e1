package object

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"

	"stint"
)

const (
	countedAtOnce = 8       // objects that are read
	countBuffer   = 1 << 20 // bytes
)

// cuts reads the objects that are separated by so many lines and returns, for each
// object of the listing, where its operations but the first begin.
func (a *Access) cuts(ctx context.Context, objects []stint.Object, in Inputs) ([][]int64, error) {
	out := make([][]int64, len(objects))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(countedAtOnce)
	for i, o := range objects {
		lines := in.Lines[o.Input]
		if lines <= 0 {
			continue
		}
		if c := stint.CodecOf(o.URL, in.Compression); c != stint.Plain {
			err := stint.Errorf(stint.Invalid, "not_splittable: input %s is compressed (%s): its lines cannot be reached from its middle; separate it by files", o.URL, c)
			return nil, errors.Join(err, g.Wait())
		}
		g.Go(func() (err error) {
			out[i], err = a.cutsOf(ctx, o, lines, in.Delimiters[o.Input])
			return err
		})
	}
	return out, g.Wait()
}

// cutsOf returns the positions behind every so many lines of an object, which end
// with a delimiter, by default LF. Of delimiters that overlap the first counts.
func (a *Access) cutsOf(ctx context.Context, o stint.Object, lines int64, delimiter string) (cuts []int64, err error) {
	if delimiter, err = stint.Unescape(delimiter); err != nil {
		return nil, err
	}
	r, err := a.OpenRange(ctx, o, 0, o.Size)
	if stint.CodeOf(err) == stint.Denied { // as in a listing
		return nil, stint.Errorf(stint.Invalid, "%w", err)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // only read
	cuts = []int64{}
	end := []byte(cmp.Or(delimiter, "\n"))
	buffer := make([]byte, min(countBuffer, o.Size+1)+int64(len(end)))
	at, left := int64(0), lines // at is where in the object the buffer begins
	held := 0                   // bytes of it that may begin a delimiter
	for {
		n, err := r.Read(buffer[held:])
		rest := buffer[:held+n]
		for {
			_, behind, found := bytes.Cut(rest, end)
			if !found {
				break
			}
			at += int64(len(rest) - len(behind))
			rest = behind
			if left--; left == 0 {
				left = lines
				if cuts = append(cuts, at); len(cuts) > MaxCuts {
					return nil, stint.Errorf(stint.Invalid, "input %s: %d lines at a time separate it into more than %d operations", o.URL, lines, MaxCuts)
				}
			}
		}
		keep := min(len(rest), len(end)-1)
		at += int64(len(rest) - keep)
		held = copy(buffer, rest[len(rest)-keep:])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if n := len(cuts); n > 0 && cuts[n-1] == o.Size {
		cuts = cuts[:n-1]
	}
	return cuts, nil
}
