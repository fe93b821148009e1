package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"stint"
)

// Of the records that an operation leaves out so many are kept, so many bytes of
// each and of the reason, and so many bytes of all: the operation's Done goes to the
// agent in one message with those of others.
const (
	maxBadKept  = 100
	maxBadText  = 4 << 10
	maxBadBytes = 64 << 10
)

// badRecords are the records that an operation leaves out.
type badRecords struct {
	list  []stint.BadRecord // the first
	bytes int               // of their texts
	count int64

	combined int64 // of count, those that a combiner was given: they are not of the operation's input
}

// add takes one bad record, or that of so many which stand for it.
func (b *badRecords) add(number, count int64, record []byte, why string) {
	b.count += count
	if len(b.list) == maxBadKept {
		return
	}
	r := stint.BadRecord{Number: number, Text: beginning(string(record)), Error: beginning(why)}
	if b.bytes += len(r.Text) + len(r.Error); b.bytes <= maxBadBytes {
		b.list = append(b.list, r)
	}
}

// beginning returns the first bytes of a text as text.
func beginning(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxBadText)], "\uFFFD")
}

// judge is [stint.Attempt.Bad]: where bad records are to be left out it keeps the
// record and goes on, and otherwise the operation fails.
func (s *slot) judge(o *operation) func([]byte, error) error {
	return func(record []byte, why error) error {
		if s.setup.Spec.SkipBadRecords == 0 {
			if stint.CodeOf(why) != stint.Internal {
				return why
			}
			return stint.Errorf(stint.Failed, "%w", why)
		}
		number, count, reason := int64(-1), int64(1), why.Error()
		if r, ok := errors.AsType[*stint.RecordError](why); ok {
			number, count, reason = r.Number, max(r.Count, 1), r.Err.Error()
		}
		o.bad.add(number, count, record, reason)
		return nil
	}
}

// judgeCombined is the same for the records that a combiner is given, whose numbers
// say nothing.
func (s *slot) judgeCombined(o *operation) func([]byte, error) error {
	judge := s.judge(o)
	return func(record []byte, why error) error {
		before := o.bad.count
		r, ok := errors.AsType[*stint.RecordError](why)
		if ok && s.setup.Spec.SkipBadRecords != 0 {
			why = &stint.RecordError{Number: -1, Count: r.Count, Err: fmt.Errorf("combine: %w", r.Err)}
		}
		err := judge(record, why)
		o.bad.combined += o.bad.count - before
		return err
	}
}

// mayHaveBad reports whether a command's failure may be that of single records that
// are to be left out: it ended badly, over records that can be given to it apart.
func (s *slot) mayHaveBad(o *operation, failed error) bool {
	if s.setup.Spec.SkipBadRecords == 0 || len(o.attempt.Action.Command) == 0 {
		return false
	}
	_, exited := errors.AsType[*stint.ExitError](failed)
	in := &o.stage.Input
	end, err := stint.Unescape(in.Delimiter)
	return exited && err == nil && in.Split != stint.SplitFiles && (end == "" || end == "\n")
}

// leaveOutBad finds the records on which the command fails, which failed it with
// the given error, and performs the operation once over all others. Where no single
// record is to blame it returns the error.
func (s *slot) leaveOutBad(ctx context.Context, o *operation, failed error) error {
	w := &search{slot: s, op: o, files: o.inputFiles(), failed: failed}
	bad, err := w.find(ctx)
	if err != nil {
		return err
	}
	o.bad = badRecords{}
	if err := w.describe(bad); err != nil {
		return err
	}
	if err := s.beginAgain(o); err != nil {
		return err
	}
	in, reader, err := w.open(func(i int64) bool { _, out := bad[i]; return !out }, nil)
	if err != nil {
		return err
	}
	o.in = in
	return s.worker.Command.Perform(ctx, o.attempt, reader, o.out)
}

// inputFiles returns the descriptors that the operation reads.
func (o *operation) inputFiles() []*os.File {
	files := o.item.files
	if o.part != nil {
		files = files[:len(files)-1]
	}
	return files
}

// beginAgain drops what the operation has read, written, counted and said.
func (s *slot) beginAgain(o *operation) error {
	o.in.close()
	out := o.out
	o.in, o.out = nil, nil
	if err := out.discard(); err != nil {
		return err
	}
	if o.part != nil {
		if _, err := o.part.Seek(0, 0); err != nil {
			return err
		}
	}
	s.stderr.reset()
	o.counter.Reset()
	if err := errors.Join(removeCheckpoint(o.attempt.Checkpoint), s.prepareDir(o), s.beginCheckpoint(o.attempt.Checkpoint)); err != nil {
		return err
	}
	var err error
	o.out, err = s.openOutput(o)
	return err
}
