package worker

import (
	"io"
	"os"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/split"
)

// subsetReader is the readers of package split.
type subsetReader interface {
	io.Reader
	Records() int64
	Bytes() int64
}

func (s *slot) openSubset(o *operation, files []*os.File) (*input, error) {
	subset := &o.item.order.Subset
	var r subsetReader
	switch {
	case subset.Values != nil:
		r = split.NewValues(*subset.Values)
	case o.stage.Values != nil:
		r = split.NewValues(o.stage.ValuesOf(o.item.order.Op))
	case len(files) != len(subset.Pieces):
		return nil, stint.Errorf(stint.Internal, "operation %d has %d pieces and %d files", o.item.order.Op, len(subset.Pieces), len(files))
	default:
		format, err := split.FormatOf(&o.stage.Stage, s.setup.Spec.Compression)
		if err != nil {
			return nil, err
		}
		sum := &pieceSum{hash: xxh3.New()}
		inputs := make([]split.Input, len(files))
		for i, f := range files {
			inputs[i] = split.Input{Piece: subset.Pieces[i], File: sum.over(f, subset.Pieces[i])}
		}
		r = split.NewReader(inputs, format, &s.decoders)
		return &input{reader: r, records: r.Records, bytes: r.Bytes, sum: sum.sum, close: func() {}}, nil
	}
	return &input{reader: r, records: r.Records, bytes: r.Bytes, sum: unknown, close: func() {}}, nil
}

// unknown is the sum of an input that has none.
func unknown() uint64 { return 0 }

// pieceSum is the sum of the bytes of pieces that are read one after the other,
// each from its beginning: not of what is read before and behind them.
type pieceSum struct {
	hash *xxh3.Hasher
	left int64 // bytes of pieces that were not read
}

// over returns a file with which the piece is read.
func (s *pieceSum) over(f io.ReaderAt, p stint.Piece) io.ReaderAt {
	s.left += p.Length
	return &summedPiece{file: f, sum: s, at: p.Offset, end: p.Offset + p.Length}
}

// sum returns the sum of all bytes, 0 if not all were read.
func (s *pieceSum) sum() uint64 {
	if s.left > 0 {
		return 0
	}
	return s.hash.Sum64()
}

type summedPiece struct {
	file    io.ReaderAt
	sum     *pieceSum
	at, end int64 // of the piece, what was not read
}

// ReadAt reads from the file.
func (p *summedPiece) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.file.ReadAt(b, off)
	if to := min(off+int64(n), p.end); off <= p.at && to > p.at {
		p.sum.hash.Write(b[p.at-off : to-off]) //nolint:errcheck // a hash does not fail
		p.sum.left -= to - p.at
		p.at = to
	}
	return n, err
}
