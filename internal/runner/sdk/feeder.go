package sdk

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"

	"stint"
	"stint/internal/frame"
	"stint/internal/shuffle"
)

// feeder is the frames of an operation's input. It reads no more input than a
// frame holds before it is asked for the next.
type feeder struct {
	next  func() (key, value []byte, err error)
	edge  func() int // of the record that next returned; nil: none
	stop  func()
	batch frame.Batch
	count int64
	frame []byte // the present one
	rest  []byte // of frame, not yet read
	ended bool
}

func roleOf(a *stint.Attempt, in io.Reader) frame.Role {
	_, records := in.(shuffle.Source)
	switch {
	case a.Combining:
		return frame.Combine
	case records && !a.First:
		return frame.Reduce
	}
	return frame.Map
}

// newFeeder returns the frames of an operation that begins so.
func newFeeder(b *frame.Begin, in io.Reader, s stint.Split) (*feeder, error) {
	f := &feeder{stop: func() {}}
	files, whole := in.(objects)
	source, records := in.(shuffle.Source)
	switch {
	case records:
		f.next = source.Next
		if e, ok := in.(interface{ Edge() int }); ok && b.Role == frame.Reduce {
			f.edge = e.Edge
		}
	case whole && s == stint.SplitFiles:
		f.next, f.stop = eachFile(files)
	default:
		f.next = (&lines{r: bufio.NewReaderSize(in, frame.BatchSize)}).next
	}
	var err error
	f.frame, err = frame.AppendBegin(nil, b)
	f.rest = f.frame
	return f, err
}

func (f *feeder) close() { f.stop() }

// Read returns the next bytes of the frames, which end with an end frame.
func (f *feeder) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		if f.ended {
			return 0, io.EOF
		}
		if err := f.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// fill makes the next frames.
func (f *feeder) fill() error {
	f.frame = f.frame[:0]
	for !f.batch.Full() {
		key, value, err := f.next()
		if errors.Is(err, io.EOF) {
			f.ended = true
			break
		}
		if err == nil {
			err = f.add(key, value)
		}
		if err != nil {
			return err
		}
	}
	if f.batch.Len() > 0 {
		f.frame = f.batch.AppendFrame(f.frame)
	}
	if f.ended {
		f.frame = frame.AppendEnd(f.frame, f.count)
	}
	f.rest = f.frame
	return nil
}

func (f *feeder) add(key, value []byte) error {
	var err error
	if f.edge != nil {
		err = f.batch.AddOf(f.edge(), f.count, key, value)
	} else {
		err = f.batch.Add(f.count, key, value)
	}
	if err != nil {
		return stint.Errorf(stint.Failed, "input: %w", err)
	}
	f.count++
	return nil
}

// lines are records that are lines without their ends.
type lines struct {
	r    *bufio.Reader
	long []byte // beginning of a line that is longer than the buffer
}

func (l *lines) next() (key, value []byte, err error) {
	l.long = l.long[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		switch {
		case err == nil && len(l.long) == 0:
			return nil, part[:len(part)-1], nil
		case errors.Is(err, io.EOF) && len(l.long)+len(part) == 0:
			return nil, nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull):
			return nil, nil, err
		}
		l.long = append(l.long, part...)
		if len(l.long) > frame.MaxValue+1 {
			return nil, nil, stint.Errorf(stint.Failed, "record_too_long: a line of the input, which begins %.40q: limit %d MiB", l.long[:40], frame.MaxValue>>20)
		}
		if err == nil || errors.Is(err, io.EOF) {
			return nil, bytes.TrimSuffix(l.long, []byte{'\n'}), nil
		}
	}
}

// objects is a reader of whole files that knows where one ends.
type objects interface {
	Objects(each func(o stint.Object, content io.Reader) error) error
}

var errEnough = errors.New("no further file is wanted")

// eachFile returns what yields one file after the other: its address and content.
func eachFile(in objects) (next func() (key, value []byte, err error), stop func()) {
	var failed error
	files := func(yield func(string, []byte) bool) {
		failed = in.Objects(func(o stint.Object, content io.Reader) error {
			b, err := io.ReadAll(io.LimitReader(content, frame.MaxValue+1))
			if err == nil && len(b) > frame.MaxValue {
				err = stint.Errorf(stint.Failed, "record_too_long: file %s: limit %d MiB", o.URL, frame.MaxValue>>20)
			}
			if err != nil {
				return err
			}
			if !yield(o.URL, b) {
				return errEnough
			}
			return nil
		})
	}
	pull, stop := iter.Pull2(files)
	return func() (key, value []byte, err error) {
		url, content, ok := pull()
		if !ok {
			if failed != nil {
				return nil, nil, failed
			}
			return nil, nil, io.EOF
		}
		return []byte(url), content, nil
	}, stop
}
