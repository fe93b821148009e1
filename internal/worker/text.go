package worker

import (
	"bytes"
	"context"

	"stint"
	"stint/internal/shuffle"
)

// textForm is how the records of a stage are text: in the lines that it writes,
// in those that it reads, and in parts.
type textForm struct {
	hadoop    bool
	plain     bool   // all of it is as without any [stint.Streaming]; such lines take a shorter way
	tab       bool   // separator is one TAB, and the key one field
	separator []byte // ends the key in a line that is written
	fields    int    // of such a line that make the key
	input     []byte // between key and value in a line that is read
	output    []byte // between key and value in parts; nil: lines stay as they were written
}

func formOf(s *stint.Streaming) *textForm {
	if s == nil {
		s = &stint.Streaming{}
	}
	f := &textForm{
		hadoop:    s.Mode == stint.StreamHadoop,
		separator: []byte(orTab(s.Separator)),
		fields:    max(s.KeyFields, 1),
		input:     []byte(orTab(s.InputSeparator)),
	}
	f.tab = f.fields == 1 && string(f.separator) == "\t"
	if f.hadoop || s.OutputSeparator != "" {
		f.output = []byte(orTab(s.OutputSeparator))
	}
	f.plain = f.tab && !f.hadoop && string(f.input) == "\t"
	return f
}

func orTab(separator string) string {
	if separator == "" {
		return "\t"
	}
	return separator
}

// parse splits a line, given without what ends it. A line that has too few fields
// is a key; its value is absent, which with Hadoop is the same as empty. Key and
// value are parts of line.
func (f *textForm) parse(line []byte) (key, value []byte) {
	if f.tab {
		key, value = shuffle.ParseLine(line)
	} else {
		key, value = f.cut(line)
	}
	if value == nil && f.hadoop {
		value = line[len(line):]
		if value == nil {
			value = []byte{}
		}
	}
	return key, value
}

func (f *textForm) cut(line []byte) (key, value []byte) {
	for end, n := 0, 1; ; n++ {
		i := bytes.Index(line[end:], f.separator)
		if i < 0 {
			return line, nil
		}
		end += i
		if n == f.fields {
			return line[:end:end], line[end+len(f.separator):]
		}
		end += len(f.separator)
	}
}

// appendInput appends the line of a record as the stage reads it.
func (f *textForm) appendInput(dst, key, value []byte) []byte {
	dst = append(dst, key...)
	if value != nil || f.hadoop {
		dst = append(dst, f.input...)
		dst = append(dst, value...)
	}
	return append(dst, '\n')
}

// appendOutput appends the line of a record as it stands in parts.
func (f *textForm) appendOutput(dst, key, value []byte) []byte {
	dst = append(dst, key...)
	if value != nil {
		dst = append(dst, f.output...)
		dst = append(dst, value...)
	}
	return append(dst, '\n')
}

// maxLine is the length of the longest record as text, in bytes.
const maxLine = shuffle.MaxValue

// textLines cuts what comes in writes into lines: at LF, and with Hadoop also at
// CR and CR LF.
type textLines struct {
	form  *textForm
	rest  []byte // the beginning of a line
	cr    bool   // the write before ended in CR: an LF that follows belongs to it
	count int64  // of lines
}

// write calls each with the lines that end in p. A line is valid during the call.
func (t *textLines) write(p []byte, each func(line []byte) error) error {
	if t.cr && len(p) > 0 {
		t.cr = false
		if p[0] == '\n' {
			p = p[1:]
		}
	}
	lf, cr := -1, len(p)
	if t.form.hadoop {
		cr = -1
	}
	for at := 0; at < len(p); {
		if lf < at {
			lf = indexFrom(p, at, '\n')
		}
		if cr < at {
			cr = indexFrom(p, at, '\r')
		}
		end := min(lf, cr)
		if end == len(p) {
			return t.hold(p[at:])
		}
		if err := t.end(p[at:end], each); err != nil {
			return err
		}
		at = end + 1
		if end == cr {
			t.cr = at == len(p)
			if !t.cr && p[at] == '\n' {
				at++
			}
		}
	}
	return nil
}

// indexFrom returns the index of the first c in p from a byte on, and the length
// of p if there is none.
func indexFrom(p []byte, from int, c byte) int {
	if i := bytes.IndexByte(p[from:], c); i >= 0 {
		return from + i
	}
	return len(p)
}

// hold keeps a part of a line.
func (t *textLines) hold(part []byte) error {
	if len(t.rest)+len(part) > maxLine {
		return stint.Errorf(stint.Failed, "record_too_long: record %d of the output: limit %d MiB", t.count+1, maxLine>>20)
	}
	t.rest = append(t.rest, part...)
	return nil
}

// end ends the line with its last part.
func (t *textLines) end(part []byte, each func(line []byte) error) error {
	if len(t.rest) == 0 && len(part) <= maxLine {
		t.count++
		return each(part)
	}
	if err := t.hold(part); err != nil {
		return err
	}
	t.count++
	err := each(t.rest)
	t.rest = t.rest[:0]
	return err
}

// finish takes the end of the output for the end of its last line.
func (t *textLines) finish(each func(line []byte) error) error {
	if len(t.rest) == 0 {
		return nil
	}
	return t.end(nil, each)
}

// lineOutput is output whose records stand as lines of key, separator and value,
// whatever the separator was with which they were written. It is a [shuffle.Sink].
type lineOutput struct {
	*byteOutput
	text textLines
	buf  []byte // not yet written
}

const lineBuffer = 64 << 10

// Write takes records as lines.
func (l *lineOutput) Write(p []byte) (int, error) {
	if err := l.text.write(p, l.takeLine); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (l *lineOutput) takeLine(line []byte) error { return l.Emit(l.text.form.parse(line)) }

// Emit takes a record.
func (l *lineOutput) Emit(key, value []byte) error {
	l.buf = l.text.form.appendOutput(l.buf, key, value)
	if len(l.buf) < lineBuffer {
		return nil
	}
	return l.flush()
}

func (l *lineOutput) flush() error {
	_, err := l.byteOutput.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

func (l *lineOutput) commit(ctx context.Context, d *DoneRecord) error {
	if err := l.text.finish(l.takeLine); err != nil {
		return err
	}
	if err := l.flush(); err != nil {
		return err
	}
	return l.byteOutput.commit(ctx, d)
}

// asLines puts the form of the stage's lines before its output, unless they stay
// as they are.
func asLines(o *operation, out *byteOutput) output {
	if o.form.output == nil {
		return out
	}
	return &lineOutput{byteOutput: out, text: textLines{form: o.form}}
}

// combinerStreaming returns how a combiner of the stage reads and writes: as the
// stage does that reads its output. It is that stage's work done early.
func (s *slot) combinerStreaming(stage *stint.StageSpec) *stint.Streaming {
	for i := range s.setup.Spec.Stages {
		reader := &s.setup.Spec.Stages[i]
		for _, e := range reader.Edges() {
			if e.Kind == stint.Shuffle && e.From == stage.Name {
				return reader.Streaming
			}
		}
	}
	return nil
}

// taskCounters is Hadoop's group of the counters that it keeps of every task.
const taskCounters = "org.apache.hadoop.mapreduce.TaskCounter"

// countAsHadoop counts the operation's records under Hadoop's names.
func (o *operation) countAsHadoop(out int64) {
	add := func(name string, n int64) { o.counter.Add(taskCounters, name, n) }
	kind := "Map"
	if o.stage.Input.Kind == stint.Shuffle {
		kind = "Reduce"
		add("Reduce input groups", o.groups())
	}
	if o.stage.Sorted {
		out = o.emitted
		add("Combine input records", o.combinedIn)
		add("Combine output records", o.combinedOut)
	}
	add(kind+" input records", o.in.records())
	add(kind+" output records", out)
}
