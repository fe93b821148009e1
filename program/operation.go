package program

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"stint/internal/frame"
)

// operation is one operation while it is performed.
type operation struct {
	context *Context
	frames  *frame.Reader
	out     io.Writer
	buf     []byte

	records frame.Records // of the frame read last, those left
	read    int64         // records taken
	framed  int64         // records in the frames read
	ended   bool
	broken  error // of speaking with the worker

	batch    frame.Batch
	gather   *gatherer  // nil: what is emitted is sent as it is
	mark     frame.Mark // of the batch where the present record, or group, begins
	sent     int64      // records
	flushes  int        // times that the batch was sent or gathered
	counters map[[2]string]int64

	ahead              bool // a record is read ahead, by group
	nextKey, nextValue []byte
	nextEdge           int
}

// next returns the next record, or io.EOF. It is valid until the next call.
func (o *operation) next() (key, value []byte, err error) {
	for {
		key, value, edge, ok := o.records.Next()
		if ok {
			o.context.edge, o.context.index = edge, o.read
			o.read++
			return key, value, nil
		}
		if o.ended {
			return nil, nil, io.EOF
		}
		if o.broken = o.more(); o.broken != nil {
			return nil, nil, fatal{o.broken}
		}
	}
}

// more reads the next frame of input.
func (o *operation) more() error {
	t, payload, err := o.frames.Next()
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("truncated_stream: no end frame")
	case err != nil:
		return err
	case t == frame.RecordBatch:
		o.records, err = frame.ParseRecords(payload, o.framed)
		o.framed += int64(o.records.Len())
		return err
	case t == frame.EndOfInput:
		n, err := frame.ParseEnd(payload)
		if err == nil && n != o.framed {
			err = fmt.Errorf("protocol_error: the end of %d records; %d came", n, o.framed)
		}
		o.ended = true
		return err
	}
	return fmt.Errorf("protocol_error: type %d in the middle of an operation", t)
}

// group is the records of one key.
type group struct {
	op  *operation
	key []byte
	err error // why it ended early
	end bool
}

// group returns the next one, or io.EOF.
func (o *operation) group() (*group, error) {
	if !o.ahead {
		if err := o.peek(); err != nil {
			return nil, err
		}
	}
	o.context.index = o.read - 1
	return &group{op: o, key: bytes.Clone(o.nextKey)}, nil
}

func (o *operation) peek() (err error) {
	index := o.context.index
	o.nextKey, o.nextValue, err = o.next()
	o.ahead = err == nil
	o.nextEdge, o.context.index = o.context.edge, index
	return err
}

// next returns the next value of the group.
func (g *group) next() ([]byte, bool) {
	o := g.op
	if g.end || g.err != nil {
		return nil, false
	}
	if !o.ahead {
		if err := o.peek(); err != nil {
			g.end = true
			if !errors.Is(err, io.EOF) {
				g.err = err
			}
			return nil, false
		}
	}
	if !bytes.Equal(o.nextKey, g.key) {
		g.end = true
		return nil, false
	}
	o.ahead = false
	o.context.edge = o.nextEdge
	return o.nextValue, true
}

// skip goes to the end of the group.
func (g *group) skip() error {
	g.err = nil
	for {
		if _, ok := g.next(); !ok {
			return g.err
		}
	}
}

// emit takes a record of the output. What was emitted of a record, or group, of the
// input is sent apart from it only if it fills a frame by itself: until then it can
// be left out.
func (o *operation) emit(key, value []byte) error {
	if err := o.batch.Add(o.sent+int64(o.batch.Len()), key, value); err != nil {
		return err
	}
	if o.batch.FullSince(o.mark) {
		return o.flush()
	}
	return nil
}

// flush sends the records that were emitted, or has them gathered.
func (o *operation) flush() error {
	o.flushes++
	o.mark = frame.Mark{}
	if o.gather != nil && !o.gather.off {
		return o.gather.take(&o.batch)
	}
	return o.write(&o.batch)
}

// finish sends everything that was emitted.
func (o *operation) finish() error {
	if err := o.flush(); err != nil || o.gather == nil {
		return err
	}
	return o.gather.empty()
}

// write sends the records of a batch, and leaves it empty.
func (o *operation) write(b *frame.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	o.sent += int64(b.Len())
	o.buf = b.AppendFrame(o.buf[:0])
	return o.send(o.buf)
}

func (o *operation) send(b []byte) error {
	if _, err := o.out.Write(b); err != nil {
		o.broken = fmt.Errorf("write to the worker: %w", err)
		return fatal{o.broken}
	}
	return nil
}

func (o *operation) count(group, name string, n int64) {
	if o.counters == nil {
		o.counters = make(map[[2]string]int64)
	}
	o.counters[[2]string{group, name}] += n
}

func (o *operation) say(text string) {
	_ = o.send(frame.AppendFrame(nil, frame.StatusText, []byte(text))) // the next record finds that nobody listens
}

// try calls f for a record, or for the group of a key, to whose end rest then goes.
// If f fails, what it emitted is dropped and the record reported; the error is one
// that ends the operation.
func (o *operation) try(record []byte, f, rest func() error) error {
	if o.batch.Full() {
		if err := o.flush(); err != nil {
			return err
		}
	}
	o.mark = o.batch.Mark()
	flushes, number := o.flushes, o.context.index
	err := guarded(f)
	if rerr := rest(); rerr != nil {
		return rerr
	}
	var end fatal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &end), errors.Is(err, ErrStopped):
		return err
	case flushes != o.flushes:
		return fmt.Errorf("record %d: %w (it cannot be left out: it has emitted more than %d KiB)", number+1, err, frame.BatchSize>>10)
	}
	o.batch.Return(o.mark)
	count := o.read - number
	if o.ahead {
		count--
	}
	return o.send(frame.AppendBad(nil, frame.Bad{Number: number, Count: count, Reason: err.Error(), Record: record}))
}

// drain reads on to the end of the input of an operation that has failed.
func (o *operation) drain() error {
	for !o.ended {
		if err := o.more(); err != nil {
			return err
		}
	}
	return nil
}

// guarded turns a panic into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", v, debug.Stack())
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return f()
}
