package worker

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"stint"
	"stint/internal/shuffle"
)

// search finds the records on which a command fails: it is tried on halves of the
// operation's input, on halves of those on which it fails, and so on. In a stage
// behind a shuffle what is halved are the groups of a key, which stay together.
//
// How many bad units are looked for, and how many trials are made, is bounded: the
// share of bad records that the user allows is judged over the whole stage, not
// here, so the bound is generous.
//
// In a trial the command has no checkpoint folder, its output and counters go
// nowhere, and its environment has STINT_TRIAL=1.
type search struct {
	slot   *slot
	op     *operation
	files  []*os.File
	failed error // why the operation is searched

	units   int64 // records, or groups, of the input
	records int64
	trials  int
}

// Bounds of a search.
const (
	mostTrials    = 20_000 // of one operation
	leastLookedAt = 64     // units that may be bad, whatever the share
	shareFactor   = 4      // times the share of the records may be bad in one operation
	suspicious    = 8      // spans of one level, if all of them fail: the program may be to blame
)

// span is the units [from, to).
type span struct{ from, to int64 }

// find returns the bad units and what the command said of each. The error says
// that there is nobody to blame, or that there are too many.
func (w *search) find(ctx context.Context) (map[int64]string, error) {
	if err := w.count(); err != nil {
		return nil, err
	}
	if w.units == 0 {
		return nil, w.failed
	}
	switch why, err := w.try(ctx, span{}); {
	case err != nil:
		return nil, err
	case why != "":
		return nil, w.failed // it fails on nothing
	}
	failing := []span{{0, w.units}}
	bad := make(map[int64]string)
	if w.units == 1 {
		bad[0] = w.failed.Error()
	}
	for slices.ContainsFunc(failing, func(r span) bool { return r.to-r.from > 1 }) {
		halves, err := w.halve(ctx, failing, bad)
		if err != nil {
			return nil, err
		}
		failing = halves
	}
	w.op.attempt.Status(fmt.Sprintf("found %d bad %s: %d trials", len(bad), w.unit(), w.trials))
	return bad, nil
}

// unit is what is looked for.
func (w *search) unit() string {
	if w.op.stage.Input.Kind == stint.FromInput {
		return "records"
	}
	return "keys"
}

// halve returns the halves of the spans on which the command fails. Once that are
// all of several, the program is tried on single units: it may be to blame itself.
func (w *search) halve(ctx context.Context, failing []span, bad map[int64]string) ([]span, error) {
	var next []span
	most, all := w.limit(), true
	for _, r := range failing {
		halves := []span{r}
		if r.to-r.from > 1 {
			var err error
			if halves, err = w.failingHalves(ctx, r, bad); err != nil {
				return nil, err
			}
		}
		all = all && len(halves) == 2
		if next = append(next, halves...); int64(len(next)) > most {
			return nil, stint.Errorf(stint.Failed, "bad_records: more than %d of the operation's %d %s: %w", most, w.units, w.unit(), w.failed)
		}
	}
	if all && len(failing) < suspicious && len(next) >= suspicious && w.units > leastLookedAt {
		return next, w.sample(ctx)
	}
	return next, nil
}

// failingHalves returns the halves of a span on which the command fails: at least
// one. What it says of a single unit is kept.
func (w *search) failingHalves(ctx context.Context, r span, bad map[int64]string) ([]span, error) {
	var failing []span
	middle := r.from + (r.to-r.from)/2
	for _, half := range [...]span{{r.from, middle}, {middle, r.to}} {
		if half.from == middle && r.to-middle > 1 && len(failing) == 0 {
			return []span{half}, nil // what it fails on is in there
		}
		why, err := w.try(ctx, half)
		if err != nil {
			return nil, err
		}
		if why == "" {
			continue
		}
		failing = append(failing, half)
		if half.to-half.from == 1 {
			bad[half.from] = why
		}
	}
	if len(failing) == 0 {
		return nil, w.failed // it takes several records to make it fail
	}
	return failing, nil
}

// sample tries the program on the first, the middle and the last unit, and on those
// beside them: units that are bad at regular distances are not all of these. The
// error is that it fails on each alone.
func (w *search) sample(ctx context.Context) error {
	for _, i := range [...]int64{0, w.units / 2, w.units - 1, 1, w.units/2 + 1, w.units - 2} {
		why, err := w.try(ctx, span{i, i + 1})
		if err != nil || why == "" {
			return err
		}
	}
	cause := w.failed
	if exit, ok := errors.AsType[*stint.ExitError](cause); ok {
		cause = exit
	}
	return stint.Errorf(stint.Failed, "program fails on every record that was tried alone: %w", cause)
}

// limit is how many bad units of an operation are looked for.
func (w *search) limit() int64 {
	most := math.Ceil(shareFactor * w.slot.setup.Spec.SkipBadRecords * float64(w.records))
	return min(w.units, max(leastLookedAt, int64(most)))
}

// try performs the command on a part of the input. It returns what the command said
// when it failed, empty if it did not; the error is that no trial could be made.
func (w *search) try(ctx context.Context, r span) (why string, err error) {
	if w.op.asked() {
		return "", stint.Errorf(stint.Canceled, "the operation was stopped while its bad records were looked for")
	}
	if most := cmp.Or(w.slot.worker.Trials, mostTrials); w.trials == most {
		return "", stint.Errorf(stint.Failed, "bad_records: not all were found in %d trials, the most for one operation (of %d %s); of smaller subsets each takes fewer: %w", most, w.units, w.unit(), w.failed)
	}
	w.trials++
	w.op.attempt.Status(fmt.Sprintf("looking for bad records: %d trials", w.trials))
	in, reader, err := w.open(func(i int64) bool { return i >= r.from && i < r.to }, nil)
	if err != nil {
		return "", err
	}
	defer in.close()
	if err := w.slot.prepareDir(w.op); err != nil {
		return "", err
	}
	var said tail
	a := *w.op.attempt
	a.Environ = append(slices.Clip(a.Environ), "STINT_TRIAL=1")
	a.Checkpoint, a.Stderr, a.Counters = "", &said, &stint.Counters{}
	a.Status = func(string) {}
	err = w.slot.worker.Command.Perform(ctx, &a, reader, io.Discard)
	if _, exited := errors.AsType[*stint.ExitError](err); !exited {
		return "", err
	}
	return reason(err, said.String()), nil
}

// reason is why a command failed: how it ended, and the last line that it said.
func reason(err error, stderr string) string {
	stderr = strings.TrimRight(stderr, "\r\n")
	if line := stderr[strings.LastIndexByte(stderr, '\n')+1:]; line != "" {
		return err.Error() + ": " + line
	}
	return err.Error()
}

// asked reports whether the operation was asked to end.
func (o *operation) asked() bool { return !o.attempt.OnStop(func() {})() }

// count reads how many units and records there are.
func (w *search) count() error {
	return w.walk(func(unit, _ int64, _ []byte) { w.units, w.records = unit+1, w.records+1 })
}

// describe keeps the bad units.
func (w *search) describe(bad map[int64]string) error {
	type found struct {
		number, count int64
		record        []byte
	}
	all := make(map[int64]*found, len(bad))
	err := w.walk(func(unit, number int64, record []byte) {
		if _, is := bad[unit]; !is {
			return
		}
		if all[unit] == nil {
			all[unit] = &found{number: number, record: bytes.Clone(record[:min(len(record), maxBadText)])}
		}
		all[unit].count++
	})
	for i := range w.units {
		if f := all[i]; f != nil {
			w.op.bad.add(f.number, f.count, f.record, bad[i])
		}
	}
	return err
}

// walk calls each with every record of the input: its unit, its number, and its
// line, or its key in a stage behind a shuffle.
func (w *search) walk(each func(unit, number int64, record []byte)) error {
	in, reader, err := w.open(func(int64) bool { return false }, each)
	if err != nil {
		return err
	}
	defer in.close()
	_, err = io.Copy(io.Discard, reader)
	return err
}

// open opens the input again and returns those of its units that are to be kept.
func (w *search) open(keep func(unit int64) bool, each func(unit, number int64, record []byte)) (*input, io.Reader, error) {
	in, err := w.slot.openInput(w.op, w.files)
	if err != nil {
		return nil, nil, err
	}
	if each == nil {
		each = func(int64, int64, []byte) {}
	}
	if sorted, ok := in.reader.(*recordReader); ok {
		groups := &someGroups{source: sorted, keep: keep, each: each, unit: -1}
		return in, &recordReader{source: groups, form: sorted.form}, nil
	}
	return in, &someLines{lines: bufio.NewReaderSize(in.reader, 4*textSize), keep: keep, each: each}, nil
}

// someLines is some of the lines of a text.
type someLines struct {
	lines  *bufio.Reader
	keep   func(unit int64) bool
	each   func(unit, number int64, record []byte)
	unit   int64
	inside bool // of a line of which a part was read
	kept   bool // that line is
	text   []byte
	rest   []byte // of text, not yet read
}

// Read returns the kept lines.
func (l *someLines) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		if err := l.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (l *someLines) fill() error {
	l.text = l.text[:0]
	for len(l.text) < textSize {
		part, err := l.lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(part) == 0 && len(l.text) > 0:
			l.rest = l.text
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull) && (!errors.Is(err, io.EOF) || len(part) == 0):
			return err
		}
		if !l.inside {
			l.kept = l.keep(l.unit)
			l.each(l.unit, l.unit, bytes.TrimSuffix(part, []byte{'\n'}))
			l.unit++
		}
		l.inside = err != nil
		if l.kept {
			l.text = append(l.text, part...)
		}
	}
	l.rest = l.text
	return nil
}

// someGroups is some of the groups of sorted records.
type someGroups struct {
	source *recordReader
	keep   func(unit int64) bool
	each   func(unit, number int64, record []byte)
	unit   int64 // -1 before the first
	number int64
	key    []byte
	kept   bool
}

var _ shuffle.Source = &someGroups{}

// Next returns the next record of a kept group.
func (g *someGroups) Next() (key, value []byte, err error) {
	for {
		key, value, err = g.source.Next()
		if err != nil {
			return nil, nil, err
		}
		if g.unit < 0 || !bytes.Equal(key, g.key) {
			g.unit++
			g.key = append(g.key[:0], key...)
			g.kept = g.keep(g.unit)
		}
		g.each(g.unit, g.number, key)
		g.number++
		if g.kept {
			return key, value, nil
		}
	}
}

// Edge returns over which edge the record came that was returned last.
func (g *someGroups) Edge() int { return g.source.Edge() }
