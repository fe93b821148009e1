package object

import (
	"context"
	"errors"
	"io"
	"time"

	"stint"
)

const (
	bodyTries = 6 // to go on where an answer broke off, without a byte
	slowBytes = 60 << 10
	slowLimit = 60 * time.Second
)

// errSlow ends an answer that drips.
var errSlow = stint.Errorf(stint.Unavailable, "input_too_slow: below 1 KiB/s for 60 s")

// stream reads a range of an object, in as many answers as it takes: when one
// breaks off it asks for the rest.
type stream struct {
	ask    func(offset, length int64) (io.ReadCloser, error) // of the object; errors are final
	pause  func(time.Duration) error
	cancel context.CancelCauseFunc // ends every answer
	cause  func() error            // why they ended
	body   io.ReadCloser
	at     int64 // offset in the object
	left   int64
	broken int // answers that broke off since the last byte
	name   string
	pace   pace
}

// newStream reads length bytes of an object from an offset. ask makes one request
// in the context that it is given.
func newStream(ctx context.Context, name string, offset, length int64, slow time.Duration, ask func(ctx context.Context, offset, length int64) (io.ReadCloser, error)) (*stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stream{
		ask:    func(offset, length int64) (io.ReadCloser, error) { return ask(ctx, offset, length) },
		pause:  func(d time.Duration) error { return pause(ctx, d) },
		cause:  func() error { return context.Cause(ctx) },
		cancel: cancel, at: offset, left: length, name: name, pace: pace{limit: slow},
	}
	if length == 0 {
		return s, nil
	}
	var err error
	if s.body, err = s.ask(offset, length); err != nil {
		err = s.reason(err)
		cancel(nil)
		return nil, err
	}
	return s, nil
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// backoff is how long to wait after so many failures, at least one.
func backoff(failures int) time.Duration {
	return min(50*time.Millisecond<<min(failures, 10), 3*time.Second)
}

// Read returns what has come.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for s.left > 0 {
		n, err := s.readBody(p[:min(int64(len(p)), s.left)])
		if n > 0 {
			s.at += int64(n)
			s.left -= int64(n)
			s.broken = 0
			return n, s.ended()
		}
		if err := s.again(err); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// readBody waits for bytes no longer than they may take.
func (s *stream) readBody(p []byte) (int, error) {
	began := time.Now()
	timer := time.AfterFunc(s.pace.left(), func() { s.cancel(errSlow) })
	n, err := s.body.Read(p)
	timer.Stop()
	s.pace.count(n, time.Since(began))
	return n, err
}

// ended looks behind the last byte: more than was asked for is a server that
// cannot be relied on.
func (s *stream) ended() error {
	if s.left > 0 {
		return nil
	}
	var more [1]byte
	if n, _ := s.readBody(more[:]); n > 0 {
		return stint.Errorf(stint.Invalid, "too_much_data: %s: the answer is longer than what was asked for", s.name)
	}
	return nil
}

// again asks for the rest after an answer that broke off.
func (s *stream) again(err error) error {
	if cause := s.cause(); cause != nil {
		return s.reason(err)
	}
	if known, ok := errors.AsType[*stint.Error](err); ok {
		return known
	}
	if s.broken++; s.broken > bodyTries {
		return &stint.Error{Code: stint.Unavailable, Message: "read " + s.name + ": the answer breaks off again and again", Err: err}
	}
	s.body.Close() //nolint:errcheck,gosec // only read
	if err := s.pause(backoff(s.broken)); err != nil {
		return s.reason(err)
	}
	body, err := s.ask(s.at, s.left)
	if err != nil {
		return s.reason(err)
	}
	s.body = body
	return nil
}

// reason is what an error comes from: the answer's end, if we have ended it.
func (s *stream) reason(err error) error {
	cause := s.cause()
	if known, ok := errors.AsType[*stint.Error](cause); ok {
		return &stint.Error{Code: known.Code, Message: known.Message + ": " + s.name}
	}
	if cause != nil {
		return &stint.Error{Code: stint.Canceled, Message: "read " + s.name, Err: cause}
	}
	return err
}

// Close ends the answer.
func (s *stream) Close() error {
	s.cancel(nil)
	if s.body == nil {
		return nil
	}
	return s.body.Close()
}

// pace is how long bytes have been waited for: [slowBytes] may take as long as the
// limit.
type pace struct {
	limit  time.Duration
	bytes  int
	waited time.Duration
}

func (p *pace) left() time.Duration { return max(p.limit-p.waited, 0) }

func (p *pace) count(n int, took time.Duration) {
	p.bytes += n
	p.waited += took
	if p.bytes >= slowBytes {
		p.bytes, p.waited = 0, 0
	}
}
