package worker

import (
	"errors"
	"io"
	"os"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/shuffle"
	"stint/internal/split"
)

// input is what an operation reads, and how much it has read.
type input struct {
	reader  io.Reader
	records func() int64
	bytes   func() int64
	sum     func() uint64 // of the subset's pieces; 0: not known
	close   func()
}

func (s *slot) openInput(o *operation, files []*os.File) (*input, error) {
	switch o.stage.Input.Kind {
	case stint.FromInput:
		return openSubset(o, files)
	case stint.Shuffle:
		return s.openMerge(o, files)
	case stint.Gather:
		return openGather(o, files)
	}
	return nil, stint.Errorf(stint.Internal, "input kind %.80q", o.stage.Input.Kind)
}

// subsetReader is the readers of package split.
type subsetReader interface {
	io.Reader
	Records() int64
	Bytes() int64
}

func openSubset(o *operation, files []*os.File) (*input, error) {
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
		sum := &pieceSum{hash: xxh3.New()}
		inputs := make([]split.Input, len(files))
		for i, f := range files {
			inputs[i] = split.Input{Piece: subset.Pieces[i], File: sum.over(f, subset.Pieces[i])}
		}
		r = split.NewReader(inputs, o.stage.Input.Split, 0)
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

// openMerge merges the runs of a partition by key.
func (s *slot) openMerge(o *operation, files []*os.File) (*input, error) {
	runs := make([]shuffle.Run, len(o.item.order.Runs))
	var length int64
	for i, r := range o.item.order.Runs {
		if r.File < 0 || r.File >= len(files) {
			return nil, stint.Errorf(stint.Internal, "run of operation %d: file %d of %d", r.Op, r.File, len(files))
		}
		runs[i] = shuffle.Run{R: files[r.File], Offset: r.Offset, Length: r.Length, Order: r.Op, Sum: r.Sum}
		length += r.Length
	}
	m, err := shuffle.NewMerge(runs, shuffle.MergeConfig{Budget: s.setup.Memory / 2, Dir: s.scratch()})
	if err != nil {
		return nil, err
	}
	r := &recordReader{source: m}
	return &input{
		reader:  r,
		records: func() int64 { return r.count },
		bytes:   func() int64 { return length },
		sum:     unknown,
		close:   func() { _ = m.Close() }, // spill files have no name
	}, nil
}

// recordReader is sorted records, as such or as text.
type recordReader struct {
	source shuffle.Source
	count  int64
	text   []byte
	rest   []byte // of text, not yet read
}

// Next returns the next record.
func (r *recordReader) Next() (key, value []byte, err error) {
	key, value, err = r.source.Next()
	if err == nil {
		r.count++
	}
	return key, value, err
}

const textSize = 64 << 10

// Read returns the records as lines.
func (r *recordReader) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		r.text = r.text[:0]
		for len(r.text) < textSize {
			key, value, err := r.Next()
			if errors.Is(err, io.EOF) && len(r.text) > 0 {
				break
			}
			if err != nil {
				return 0, err
			}
			r.text = shuffle.AppendText(r.text, key, value)
		}
		r.rest = r.text
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// openGather reads the output of operations one after the other.
func openGather(o *operation, files []*os.File) (*input, error) {
	g := &gatherReader{runs: o.item.order.Runs, files: files, sum: xxh3.New()}
	var records, length int64
	for _, r := range g.runs {
		if r.File < 0 || r.File >= len(files) {
			return nil, stint.Errorf(stint.Internal, "run of operation %d: file %d of %d", r.Op, r.File, len(files))
		}
		records, length = records+r.Records, length+r.Length
	}
	return &input{
		reader:  g,
		records: func() int64 { return records },
		bytes:   func() int64 { return length },
		sum:     unknown,
		close:   func() {},
	}, nil
}

type gatherReader struct {
	runs  []Run // not yet read to the end
	files []*os.File
	at    int64 // in the first run
	sum   *xxh3.Hasher
}

// Read reads on in the present run, and verifies it at its end.
func (g *gatherReader) Read(b []byte) (int, error) {
	for len(g.runs) > 0 {
		r := &g.runs[0]
		if g.at == r.Length {
			if r.Sum != 0 && g.sum.Sum64() != r.Sum {
				return 0, stint.Errorf(stint.Lost, "output of operation %d is damaged: its checksum is not %016x", r.Op, r.Sum)
			}
			g.sum.Reset()
			g.runs, g.at = g.runs[1:], 0
			continue
		}
		b = b[:min(int64(len(b)), r.Length-g.at)]
		n, err := g.files[r.File].ReadAt(b, r.Offset+g.at)
		g.at += int64(n)
		if r.Sum != 0 {
			g.sum.Write(b[:n]) //nolint:errcheck // a hash does not fail
		}
		if errors.Is(err, io.EOF) {
			err = nil
			if n == 0 {
				err = stint.Errorf(stint.Lost, "output of operation %d is cut short at byte %d of %d", r.Op, g.at, r.Length)
			}
		}
		return n, err
	}
	return 0, io.EOF
}
