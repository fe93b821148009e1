package worker

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/shuffle"
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
		return s.openSubset(o, files)
	case stint.Shuffle:
		return s.openMerge(o, files)
	case stint.Gather, stint.OneToOne:
		return openGather(o, files)
	case stint.Broadcast: // only beside another edge
	}
	return nil, stint.Errorf(stint.Internal, "input kind %.80q", o.stage.Input.Kind)
}

// openMerge merges the runs of a partition by key.
func (s *slot) openMerge(o *operation, files []*os.File) (*input, error) {
	runs := make([]shuffle.Run, len(o.item.order.Runs))
	var length int64
	for i, r := range o.item.order.Runs {
		if r.File < 0 || r.File >= len(files) {
			return nil, stint.Errorf(stint.Internal, "run of operation %d: file %d of %d", r.Op, r.File, len(files))
		}
		runs[i] = shuffle.Run{R: files[r.File], Offset: r.Offset, Length: r.Length, Edge: r.Edge, Order: r.Op, Sum: r.Sum}
		length += r.Length
	}
	m, err := shuffle.NewMerge(runs, shuffle.MergeConfig{Budget: s.memory(o.stage) / 2, Dir: s.scratch()})
	if err != nil {
		return nil, err
	}
	r := &recordReader{source: m, form: o.form, grouped: o.form.hadoop}
	o.groups = func() int64 { return r.groups }
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
	source  shuffle.Source
	form    *textForm
	count   int64
	text    []byte
	rest    []byte // of text, not yet read
	grouped bool   // keys are counted
	groups  int64  // different keys
	last    []byte // key
}

// Next returns the next record.
func (r *recordReader) Next() (key, value []byte, err error) {
	key, value, err = r.source.Next()
	if err == nil {
		r.count++
		if r.grouped {
			r.group(key)
		}
	}
	return key, value, err
}

// Edge returns over which of the stage's edges the record came that was returned
// last.
func (r *recordReader) Edge() int {
	if e, ok := r.source.(interface{ Edge() int }); ok {
		return e.Edge()
	}
	return 0
}

func (r *recordReader) group(key []byte) {
	if r.groups == 0 || !bytes.Equal(r.last, key) {
		r.groups++
		r.last = append(r.last[:0], key...)
	}
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
			if r.form.plain {
				r.text = shuffle.AppendText(r.text, key, value)
			} else {
				r.text = r.form.appendInput(r.text, key, value)
			}
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
