package sdk

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"stint"
	"stint/internal/frame"
	"stint/internal/shuffle"
)

// Uncombined is output that may be spared its combining.
type Uncombined interface {
	// LeaveUncombined is called when no two records have the same key.
	LeaveUncombined()
}

// listener obeys what a program says in an operation.
type listener struct {
	a        *stint.Attempt
	number   uint32
	gathered bool // the program was told to gather
	decoder  frame.Decoder
	sink     shuffle.Sink // nil: the output is text
	out      io.Writer
	text     []byte
	count    int64        // records
	given    func() int64 // how many records the program was given
	judged   int64        // records up to the end of the bad ones that it reported last
	over     bool
	failed   error // what the program says
	own      error // not of the stream: of the output, or of a bad record
}

const textSize = 256 << 10

func newListener(a *stint.Attempt, begin *frame.Begin, out io.Writer) *listener {
	l := &listener{a: a, number: begin.Number, gathered: begin.Gather > 0, out: out}
	l.sink, _ = out.(shuffle.Sink)
	l.decoder.Each = l.obey
	return l
}

// Write takes what the program writes. Its error is what the attempt ends with.
func (l *listener) Write(p []byte) (int, error) {
	n, err := l.decoder.Write(p)
	switch {
	case err == nil:
		return n, nil
	case l.own != nil:
		return 0, l.own
	}
	return 0, l.blame(err)
}

// blame says that the program is to blame for an error.
func (l *listener) blame(err error) error {
	return stint.Errorf(stint.Failed, "program %.80q: %w", l.a.Action.SDK[0], err)
}

func (l *listener) obey(t frame.Type, payload []byte) error {
	if l.over {
		return fmt.Errorf("protocol_error: a frame of type %d after the operation was done or failed", t)
	}
	switch t {
	case frame.RecordBatch:
		return l.records(payload)
	case frame.CounterUpdate:
		c, err := frame.ParseCounter(payload)
		if err == nil {
			l.a.Counters.Add(c.Group, c.Name, c.Add)
		}
		return err
	case frame.StatusText:
		l.a.Status(strings.ToValidUTF8(string(payload[:min(len(payload), maxStatus)]), "\uFFFD"))
		return nil
	case frame.BadRecord:
		return l.badRecord(payload)
	case frame.Done:
		return l.done(payload)
	case frame.Failed:
		return l.fail(payload)
	case frame.BeginOperation, frame.EndOfInput:
	}
	return fmt.Errorf("protocol_error: type %d is for the worker alone", t)
}

// badRecord takes the report of a bad record, or group: each once, in their order,
// so that no more are left out than there are.
func (l *listener) badRecord(payload []byte) error {
	b, err := frame.ParseBad(payload)
	if err != nil {
		return err
	}
	if given := l.given(); b.Number < l.judged || b.Number > given || b.Count > given-b.Number {
		return fmt.Errorf("protocol_error: bad records %d to %d of the %d that were given, behind %d", b.Number+1, b.Number+b.Count, given, l.judged)
	}
	l.judged = b.Number + b.Count
	l.own = l.a.Bad(b.Record, &stint.RecordError{Number: b.Number, Count: b.Count, Err: errors.New(b.Reason)})
	return l.own
}

// maxStatus is how many bytes of a status text are passed on.
const maxStatus = 256

func (l *listener) records(payload []byte) error {
	records, err := frame.ParseRecords(payload, l.count)
	if err != nil {
		return err
	}
	l.count += int64(records.Len())
	for {
		key, value, _, ok := records.Next()
		if !ok {
			return nil
		}
		if l.sink != nil {
			l.own = l.sink.Emit(key, value)
		} else if l.text = shuffle.AppendText(l.text, key, value); len(l.text) >= textSize {
			l.own = l.flush()
		}
		if l.own != nil {
			return l.own
		}
	}
}

// flush writes the text that was collected.
func (l *listener) flush() error {
	if len(l.text) == 0 {
		return nil
	}
	_, err := l.out.Write(l.text)
	l.text = l.text[:0]
	return err
}

func (l *listener) done(payload []byte) error {
	c, err := frame.ParseDone(payload)
	switch {
	case err != nil:
		return err
	case c.Number != l.number:
		return fmt.Errorf("protocol_error: done with operation %d in operation %d", c.Number, l.number)
	case c.Records != l.count:
		return fmt.Errorf("protocol_error: done with %d records; %d came", c.Records, l.count)
	}
	if u, ok := l.out.(Uncombined); ok && c.Once && l.gathered {
		u.LeaveUncombined()
	}
	l.over = true
	return nil
}

func (l *listener) fail(payload []byte) error {
	number, reason, err := frame.ParseFailed(payload)
	switch {
	case err != nil:
		return err
	case number != l.number:
		return fmt.Errorf("protocol_error: failed in operation %d in operation %d", number, l.number)
	}
	l.over = true
	l.failed = stint.Errorf(stint.Failed, "%s", strings.ToValidUTF8(reason, "\uFFFD"))
	return nil
}
