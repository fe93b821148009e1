package worker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/block"
	"stint/internal/failpoint"
	"stint/internal/shuffle"
)

// output is what an operation writes. It ends in commit or discard.
type output interface {
	io.Writer
	commit(ctx context.Context, d *DoneRecord) error // completes d
	discard() error
}

func (s *slot) openOutput(o *operation) (output, error) {
	switch {
	case o.stage.Sorted:
		return s.openSorted(o)
	case o.part != nil:
		return asLines(o, &byteOutput{to: s.partFile(o), lines: linesOf(o.stage)}), nil
	case o.stage.NoOutput:
		return &byteOutput{to: nowhere{}}, nil
	}
	return asLines(o, &byteOutput{to: &blockFile{blocks: s.blocks}, lines: linesOf(o.stage)}), nil
}

// linesOf reports whether the output of a stage is lines and nothing else.
func linesOf(stage *stint.StageSpec) bool {
	return len(stage.Action.Command) > 0 && stage.Input.Split != stint.SplitFiles
}

// byteOutput is output that is kept as it was written.
type byteOutput struct {
	to interface {
		io.Writer
		commit(ctx context.Context, records int64, d *DoneRecord) error
		discard() error
	}
	lines   bool
	length  int64
	records int64
	last    byte
}

// Wanted reports whether what is written is kept.
func (b *byteOutput) Wanted() bool { return b.to != nowhere{} }

// Write implements io.Writer.
func (b *byteOutput) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b.length += int64(len(p))
	b.records += int64(bytes.Count(p, []byte{'\n'}))
	b.last = p[len(p)-1]
	return b.to.Write(p)
}

func (b *byteOutput) commit(ctx context.Context, d *DoneRecord) error {
	if b.length > 0 && b.last != '\n' {
		if b.lines {
			if _, err := b.Write([]byte{'\n'}); err != nil {
				return err
			}
		} else {
			b.records++
		}
	}
	d.Op.RecordsOut, d.Op.BytesOut = b.records, b.length
	return b.to.commit(ctx, b.records, d)
}

func (b *byteOutput) discard() error { return b.to.discard() }

// nowhere is where the output of a stage without output goes.
type nowhere struct{}

// Write drops what it gets.
func (nowhere) Write(p []byte) (int, error)                            { return len(p), nil }
func (nowhere) commit(_ context.Context, _ int64, _ *DoneRecord) error { return nil }
func (nowhere) discard() error                                         { return nil }

// blockFile is a block with one partition; none if nothing is written.
type blockFile struct {
	blocks *block.Writer
	w      io.Writer
}

// Write begins the block when the first bytes come.
func (f *blockFile) Write(p []byte) (int, error) {
	if f.w == nil {
		if err := f.blocks.Begin(); err != nil {
			return 0, err
		}
		w, err := f.blocks.Partition(0)
		if err != nil {
			return 0, err
		}
		f.w = w
	}
	return f.w.Write(p)
}

func (f *blockFile) commit(_ context.Context, records int64, d *DoneRecord) error {
	if f.w == nil {
		return nil
	}
	f.blocks.AddRecords(records)
	index, err := f.blocks.Commit()
	d.Block = &index
	return err
}

func (f *blockFile) discard() error {
	if f.w == nil {
		return nil
	}
	return f.blocks.Discard()
}

// partFile is a staged file of the execution's output.
type partFile struct {
	file *os.File
	name string
	sum  *xxh3.Hasher
	size int64
	buf  []byte

	store func(ctx context.Context, part *stint.Part, file *os.File) error // brings it to where the output goes; nil: it is there
}

const partBuffer = 256 << 10

// Write collects small writes. A large one is not collected, and what was
// collected before goes before it.
func (f *partFile) Write(p []byte) (int, error) {
	large := len(p) >= partBuffer/2
	if large || len(f.buf)+len(p) > partBuffer {
		if err := f.flush(); err != nil {
			return 0, err
		}
	}
	if large {
		return len(p), f.put(p)
	}
	f.buf = append(f.buf, p...)
	return len(p), nil
}

func (f *partFile) flush() error {
	err := f.put(f.buf)
	f.buf = f.buf[:0]
	return err
}

func (f *partFile) put(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	f.sum.Write(p) //nolint:errcheck // a hash does not fail
	n, err := f.file.Write(p)
	f.size += int64(n)
	if err != nil {
		return fmt.Errorf("write part %s: %w", f.name, err)
	}
	return nil
}

func (f *partFile) commit(ctx context.Context, _ int64, d *DoneRecord) error {
	if err := f.flush(); err != nil {
		return err
	}
	d.Part = &stint.Part{Op: d.Op.Op, Name: f.name, Bytes: f.size, Sum: f.sum.Sum64()}
	if f.store != nil {
		return f.store(ctx, d.Part, f.file)
	}
	if err := cmp.Or(failpoint.Error("part.before-sync"), f.file.Sync()); err != nil {
		return fmt.Errorf("sync part %s: %w", f.name, err)
	}
	failpoint.Reach("part.after-sync-before-log")
	return nil
}

// discard gives the space back; the agent removes the file.
func (f *partFile) discard() error {
	if err := f.file.Truncate(0); err != nil {
		return fmt.Errorf("truncate part %s: %w", f.name, err)
	}
	return nil
}

// sortedOutput is records that are sorted into the partitions of a block.
type sortedOutput struct {
	*shuffle.Writer // takes records as such
	slot            *slot
	op              *operation
	text            textLines
	combine         bool // by a runner, over sorted partitions
}

func (s *slot) openSorted(o *operation) (output, error) {
	out := &sortedOutput{slot: s, op: o, text: textLines{form: o.form}}
	var combiner shuffle.Combiner
	if c := o.stage.Combine; c != nil {
		if make := s.worker.Combiners[c.Native]; make != nil {
			combiner = make()
		} else {
			out.combine = true
		}
	}
	if s.sorter.writer != nil && s.sorter.stage == o.item.job.Stage && s.sorter.ranges == rangesPath(o) {
		out.Writer = s.sorter.writer
		return out, out.Reset()
	}
	s.dropSorter()
	partition, err := partitionerOf(o)
	if err != nil {
		return nil, err
	}
	w, err := shuffle.NewWriter(shuffle.Config{
		Partitions: o.stage.Partitions, Budget: s.memory(o.stage) / 2, Dir: s.scratch(), Partition: partition, Combine: combiner,
	})
	if err != nil {
		return nil, err
	}
	s.sorter = sorter{stage: o.item.job.Stage, ranges: rangesPath(o), writer: w}
	out.Writer = w
	return out, nil
}

// Write takes records as lines.
func (s *sortedOutput) Write(p []byte) (int, error) {
	if s.text.form.plain {
		return len(p), s.writePlain(p)
	}
	if err := s.text.write(p, s.emitLine); err != nil {
		return 0, err
	}
	return len(p), nil
}

// writePlain takes lines of a plain form.
func (s *sortedOutput) writePlain(p []byte) error {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		var err error
		switch {
		case i < 0:
			return s.text.hold(p)
		case len(s.text.rest) > 0:
			err = s.text.end(p[:i], s.emitLine)
		default:
			s.text.count++
			err = s.Emit(shuffle.ParseLine(p[:i]))
		}
		if err != nil {
			return err
		}
		p = p[i+1:]
	}
	return nil
}

func (s *sortedOutput) emitLine(line []byte) error {
	return s.Emit(s.text.form.parse(line))
}

func (s *sortedOutput) commit(ctx context.Context, d *DoneRecord) error {
	if err := s.text.finish(s.emitLine); err != nil {
		return err
	}
	s.op.emitted = s.Records()
	if s.Records() == 0 {
		return nil
	}
	blocks := s.slot.blocks
	if err := blocks.Begin(); err != nil {
		return err
	}
	finish := func() error { return s.Finish(blocks) }
	if s.combine {
		finish = func() error { return s.combineAll(ctx, blocks) }
	}
	if err := finish(); err != nil {
		return err
	}
	index, err := blocks.Commit()
	if err != nil {
		return err
	}
	d.Block, d.Op.RecordsOut, d.Op.BytesOut = &index, index.Records(), index.Length
	return s.Reset()
}

// LeaveUncombined has the records stay as they are: no two have the same key.
func (s *sortedOutput) LeaveUncombined() { s.combine = false }

// combineAll lets the runner combine each partition's records once, and sorts
// what comes of it again into the same partition.
func (s *sortedOutput) combineAll(ctx context.Context, blocks *block.Writer) error {
	w, err := shuffle.NewWriter(shuffle.Config{Partitions: 1, Budget: s.slot.memory(s.op.stage) / 4, Dir: s.slot.scratch()})
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // spill files have no name
	attempt := *s.op.attempt
	attempt.Action, attempt.Combine, attempt.First, attempt.Combining = *s.op.stage.Combine, nil, false, true
	attempt.Bad = s.slot.judgeCombined(s.op)
	runner, err := s.slot.runner(&attempt.Action)
	if err != nil {
		return err
	}
	attempt.Streaming = s.slot.combinerStreaming(s.op.stage)
	form := formOf(attempt.Streaming)
	return s.Visit(func(p uint32, records shuffle.Source) error {
		if err := w.Reset(); err != nil {
			return err
		}
		if isProcess(&attempt.Action) {
			if err := s.slot.prepareDir(s.op); err != nil {
				return err
			}
		}
		attempt.Partition = p
		in := &recordReader{source: records, form: form}
		out := &sortedOutput{Writer: w, slot: s.slot, op: s.op, text: textLines{form: form}}
		if err := runner.Perform(ctx, &attempt, in, out); err != nil {
			return fmt.Errorf("combine partition %d: %w", p, err)
		}
		if err := out.text.finish(out.emitLine); err != nil {
			return err
		}
		s.op.combinedIn, s.op.combinedOut = s.op.combinedIn+in.count, s.op.combinedOut+w.Records()
		return w.Finish(onePartition{Writer: blocks, number: p})
	})
}

// onePartition puts the only partition of a writer into a block under a number.
type onePartition struct {
	*block.Writer
	number uint32
}

// Partition begins the partition.
func (o onePartition) Partition(uint32) (io.Writer, error) { return o.Writer.Partition(o.number) }

// discard frees the room of spilled records too: on a disk that is full, nothing
// else would begin and free it.
func (s *sortedOutput) discard() error { return errors.Join(s.slot.blocks.Discard(), s.Reset()) }
