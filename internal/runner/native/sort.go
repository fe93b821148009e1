package native

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"stint"
	"stint/internal/shuffle"
)

// sampleStride is the distance in bytes of the records that sort takes as a
// sample: about a thousand for each of the partitions that are chosen.
const sampleStride = 64 << 10

// maxSplitter is how much of a key is kept in a sample: enough to tell keys apart.
const maxSplitter = 1 << 10

// sampler is an input that can give a sample of its records and read little more.
type sampler interface {
	Sample(stride int64, each func(record []byte) error) error
}

// sampleKeys writes the keys of a sample of its lines, one a line.
func sampleKeys(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	o, err := newOrdering(a.Params)
	if err != nil {
		return err
	}
	from, ok := in.(sampler)
	if !ok {
		return stint.Errorf(stint.Invalid, "native operator sample: stage %q does not read the input", a.Stage)
	}
	return emitTo(out, func(sink shuffle.Sink) error {
		var key []byte
		return from.Sample(sampleStride, func(record []byte) error {
			if err := stopped(ctx); err != nil {
				return err
			}
			key, _ = o.encode(key[:0], record)
			return sink.Emit(key[:min(len(key), maxSplitter)], nil)
		})
	})
}

// Bounds of the keys that splitters holds at once; of more every second is left out.
const (
	maxSampleKeys  = 1 << 20
	maxSampleBytes = 64 << 20
)

// keySample is keys in the order in which they came: all, or every step-th.
type keySample struct {
	arena []byte
	ends  []int // of the keys in the arena
	seen  int
	step  int
}

func (s *keySample) add(key []byte) {
	if s.seen%s.step == 0 {
		if len(s.ends) == maxSampleKeys || len(s.arena)+len(key) > maxSampleBytes {
			s.thin()
		}
		if s.seen%s.step == 0 {
			s.arena = append(s.arena, key...)
			s.ends = append(s.ends, len(s.arena))
		}
	}
	s.seen++
}

// thin leaves out every second key.
func (s *keySample) thin() {
	arena, ends := s.arena[:0], s.ends[:0] // what they overwrite has been looked at
	for i := 0; i < len(s.ends); i += 2 {
		arena = append(arena, s.key(i)...)
		ends = append(ends, len(arena))
	}
	s.arena, s.ends, s.step = arena, ends, 2*s.step
}

func (s *keySample) key(i int) []byte {
	from := 0
	if i > 0 {
		from = s.ends[i-1]
	}
	return s.arena[from:s.ends[i]]
}

// splitters reads keys, one a line, and writes the least key of each partition but
// the first of the stage that is partitioned by them, so that each has as many.
func splitters(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	sample := keySample{step: 1}
	err := eachLine(ctx, in, func(key []byte) error {
		sample.add(key)
		return nil
	})
	if err != nil {
		return err
	}
	keys := make([][]byte, len(sample.ends))
	for i := range keys {
		keys[i] = sample.key(i)
	}
	slices.SortFunc(keys, bytes.Compare)
	return emitTo(out, func(sink shuffle.Sink) error {
		for i := 1; i < int(a.Ranges) && len(keys) > 0; i++ {
			if err := sink.Emit(keys[i*len(keys)/int(a.Ranges)], nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// order makes a record of every line, whose key sorts as the line is to be sorted.
// Where the key does not tell the line it has a value: how many of its bytes are
// in front of the line, or the line.
func order(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	o, err := newOrdering(a.Params)
	if err != nil {
		return err
	}
	return emitTo(out, func(sink shuffle.Sink) error {
		if o.plain() {
			return eachLine(ctx, in, func(line []byte) error { return sink.Emit(line, nil) })
		}
		var key, value []byte
		return eachLine(ctx, in, func(line []byte) error {
			var front int
			key, front = o.encode(key[:0], line)
			switch {
			case len(o.keys) == 0:
				return sink.Emit(key, nil)
			case o.apart():
				return sink.Emit(key, line)
			}
			value = binary.AppendUvarint(value[:0], uint64(front))
			return sink.Emit(key, value)
		})
	})
}

// apart reports whether lines are values, because keys do not hold them.
func (o *ordering) apart() bool { return len(o.keys) > 0 && (o.stable || o.unique) }

// sorted writes the lines of records that order has made.
func sorted(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	o, err := newOrdering(a.Params)
	if err != nil {
		return err
	}
	src, ok := in.(shuffle.Source)
	if !ok {
		return stint.Errorf(stint.Invalid, "native operator sorted: stage %q does not read a shuffle", a.Stage)
	}
	w := &lineWriter{out: out}
	var last, text []byte
	for n := 0; ; n++ {
		if n%stride == 0 {
			if err := stopped(ctx); err != nil {
				return err
			}
		}
		key, value, err := src.Next()
		if errors.Is(err, io.EOF) {
			return w.flush()
		}
		if err != nil {
			return err
		}
		if o.unique {
			if n > 0 && bytes.Equal(key, last) {
				continue
			}
			last = append(last[:0], key...)
		}
		line := value
		if !o.apart() {
			front, _ := binary.Uvarint(value) // absent: 0
			line = o.line(text[:0], key[front:])
			if o.reverse {
				text = line
			}
		}
		if err := w.write(line); err != nil {
			return err
		}
	}
}

// lineWriter writes lines in large pieces.
type lineWriter struct {
	out io.Writer
	buf []byte
}

const lineBuffer = 256 << 10

func (w *lineWriter) write(line []byte) error {
	if len(w.buf)+len(line) >= lineBuffer {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, lineBuffer)
	}
	w.buf = append(append(w.buf, line...), '\n')
	return nil
}

func (w *lineWriter) flush() error {
	err := writeSome(w.out, w.buf)
	w.buf = w.buf[:0]
	return err
}

// eachLine calls each with every line of in, without its LF. It is valid during
// the call.
func eachLine(ctx context.Context, in io.Reader, each func(line []byte) error) error {
	return eachLines(ctx, in, func(lines []byte) error {
		for len(lines) > 0 {
			line := lines
			if i := bytes.IndexByte(lines, '\n'); i >= 0 {
				line, lines = lines[:i:i], lines[i+1:]
			} else {
				lines = nil
			}
			if err := each(line); err != nil {
				return err
			}
		}
		return nil
	})
}

func checkSort(params map[string]string) error {
	_, err := newOrdering(params)
	return err
}

// sortProgram sorts by ranges: a sample says where they begin.
func sortProgram(params map[string]string) stint.Program {
	p := stint.Program{
		Name: "sort", Type: stint.Sorting, Params: sortParams(),
		Description: "sorts lines as sort does in the locale C; the parts one after the other are in order",
		Stages: []stint.Stage{
			{Name: "sample", Action: stint.Action{Native: "sample"}, Input: stint.Edge{Kind: stint.FromInput}},
			{Name: "splitters", Action: stint.Action{Native: "splitters"}, Input: stint.Edge{Kind: stint.Gather, From: "sample"}},
			{
				Name: "order", Action: stint.Action{Native: "order"}, Input: stint.Edge{Kind: stint.FromInput},
				Beside: []stint.Edge{{Kind: stint.Broadcast, From: "splitters"}},
			},
			{Name: "sort", Action: stint.Action{Native: "sorted"}, Input: stint.Edge{
				Kind: stint.Shuffle, From: "order", Partitioner: &stint.Partitioner{Kind: stint.RangePartition, From: "splitters"},
			}},
		},
	}
	if o, err := newOrdering(params); err == nil && o.unique {
		p.Stages[2].Combine = &stint.Action{Native: "distinct"}
	}
	return p
}
