package native

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"stint"
	"stint/internal/shuffle"
)

func joinParams() []stint.Param {
	return []stint.Param{
		{Name: "kind", Values: []string{"inner", "left", "right", "outer", "semi", "anti"}, Default: "inner", Description: "which lines are written: pairs alone, or also the left, the right, or all without a partner; semi and anti: the left ones with and without a partner"},
		{Name: "left_key", Type: stint.IntegerParam, Default: "1", Description: "field of the left input, from 1"},
		{Name: "right_key", Type: stint.IntegerParam, Default: "1", Description: "field of the right input, from 1"},
		{Name: "separator", Type: stint.TextParam, Default: `\t`, Description: `one byte between fields, as , or \t`},
		{Name: "empty", Type: stint.TextParam, Description: "stands for the fields of a missing partner"},
	}
}

// joinLeft and joinRight make a record of every line: its key field, and the
// others. The value is absent if there are none.
func joinLeft(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	return joinKeys(ctx, a, "left_key", in, out)
}

func joinRight(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	return joinKeys(ctx, a, "right_key", in, out)
}

func joinKeys(ctx context.Context, a *stint.Attempt, param string, in io.Reader, out io.Writer) error {
	s, separator, err := settleJoin(a.Params)
	if err != nil {
		return err
	}
	field := s.integer(param)
	return emitTo(out, func(sink shuffle.Sink) error {
		var rest []byte
		return eachLine(ctx, in, func(line []byte) error {
			from, to, ok := fieldOf(line, separator, field)
			if !ok {
				return a.Bad(line, stint.Errorf(stint.Failed, "line %.200q: there is no field %d, which is its key", line, field))
			}
			var value []byte
			switch {
			case from == 0 && to == len(line): // the only field
			case from == 0:
				value = line[to+1:]
			case to == len(line):
				value = line[:from-1]
			default:
				rest = append(append(rest[:0], line[:from]...), line[to+1:]...)
				value = rest
			}
			return sink.Emit(line[from:to], value)
		})
	})
}

// fieldOf returns where a field of a line is.
func fieldOf(line []byte, separator byte, number int64) (from, to int, ok bool) {
	for ; number > 1; number-- {
		i := bytes.IndexByte(line[from:], separator)
		if i < 0 {
			return 0, 0, false
		}
		from += i + 1
	}
	if i := bytes.IndexByte(line[from:], separator); i >= 0 {
		return from, from + i, true
	}
	return from, len(line), true
}

// edged is an input of records of several edges.
type edged interface {
	shuffle.Source
	Edge() int // of the record returned last
}

// join writes for every key what its records of edge 0, the left, and of edge 1,
// the right, make together: key, left, right. Every right one is paired with all
// left ones, in the order in which they come.
func join(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	s, separator, err := settleJoin(a.Params)
	if err != nil {
		return err
	}
	src, ok := in.(edged)
	if !ok {
		return stint.Errorf(stint.Invalid, "native operator join: stage %q does not read two shuffles", a.Stage)
	}
	j := &joiner{
		kind: s["kind"], separator: separator, empty: []byte(s["empty"]),
		left: rowBuffer{dir: a.Scratch, budget: joinMemory}, lines: lineWriter{out: out},
	}
	defer j.left.close()
	err = everyRecord(ctx, src, func(key, value []byte) error { return j.take(key, value, src.Edge()) })
	if err != nil {
		return err
	}
	if err := j.endKey(); err != nil {
		return err
	}
	return j.lines.flush()
}

// joinMemory is how many bytes of the left records of one key are kept in memory.
const joinMemory = 32 << 20

// joiner joins the records of one key after another.
type joiner struct {
	kind      string
	separator byte
	empty     []byte
	key       []byte
	begun     bool // there is a key
	right     bool // it has a right record
	left      rowBuffer
	line      []byte
	lines     lineWriter
}

func (j *joiner) take(key, value []byte, edge int) error {
	if !j.begun || !bytes.Equal(key, j.key) {
		if err := j.endKey(); err != nil {
			return err
		}
		j.begun, j.right = true, false
		j.key = append(j.key[:0], key...)
	}
	if edge == 0 {
		return j.left.add(value)
	}
	first := !j.right
	j.right = true
	switch {
	case j.kind == "anti":
		return nil
	case j.kind == "semi":
		if !first {
			return nil
		}
		return j.left.each(func(left []byte) error { return j.write(left) })
	case j.left.rows > 0:
		return j.left.each(func(left []byte) error { return j.write(left, value) })
	case j.kind == "right" || j.kind == "outer":
		return j.write(j.empty, value)
	}
	return nil
}

// endKey writes what is known only when a key has no more records.
func (j *joiner) endKey() error {
	var err error
	if j.begun && !j.right {
		switch j.kind {
		case "anti":
			err = j.left.each(func(left []byte) error { return j.write(left) })
		case "left", "outer":
			err = j.left.each(func(left []byte) error { return j.write(left, j.empty) })
		}
	}
	if err != nil {
		return err
	}
	return j.left.reset()
}

// write writes a line of the key and what follows it. A value that is absent is no
// field; the fields of a missing partner are.
func (j *joiner) write(values ...[]byte) error {
	j.line = append(j.line[:0], j.key...)
	for _, v := range values {
		if v != nil {
			j.line = append(append(j.line, j.separator), v...)
		}
	}
	return j.lines.write(j.line)
}

// rowBuffer keeps values in memory, and what is beyond its budget in a file
// without a name.
type rowBuffer struct {
	dir     string
	budget  int
	rows    int64
	memory  []byte // encoded records without keys
	spilled bool   // the file has records
	file    *os.File
	w       *bufio.Writer
	buf     []byte // that the file is read with
}

func (b *rowBuffer) add(value []byte) error {
	b.rows++
	if !b.spilled && len(b.memory)+len(value) <= b.budget {
		b.memory = shuffle.AppendRecord(b.memory, nil, value)
		return nil
	}
	if b.file == nil {
		if err := b.open(); err != nil {
			return err
		}
	}
	b.spilled = true
	b.buf = shuffle.AppendRecord(b.buf[:0], nil, value)
	_, err := b.w.Write(b.buf)
	return err
}

func (b *rowBuffer) open() error {
	f, err := os.CreateTemp(b.dir, "join-")
	if err != nil {
		return fmt.Errorf("make a file for records of one key: %w", err)
	}
	b.file, b.w = f, bufio.NewWriterSize(f, 256<<10)
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("take the name of a file for records of one key: %w", err)
	}
	return nil
}

// each calls each with all values in order. Nothing may be added after it before reset.
func (b *rowBuffer) each(each func(value []byte) error) error {
	if _, err := eachRecord(b.memory, each); err != nil || !b.spilled {
		return err
	}
	if err := b.w.Flush(); err != nil {
		return fmt.Errorf("write records of one key: %w", err)
	}
	if cap(b.buf) < rowBytes {
		b.buf = make([]byte, rowBytes)
	}
	buf, filled := b.buf[:cap(b.buf)], 0
	for at := int64(0); ; {
		n, err := b.file.ReadAt(buf[filled:], at)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return fmt.Errorf("read records of one key: %w", err)
		}
		at += int64(n)
		rest, err := eachRecord(buf[:filled+n], each)
		if err != nil || last {
			return err
		}
		if filled = copy(buf, rest); filled > len(buf)/2 {
			buf = doubled(buf)
			b.buf = buf
		}
	}
}

// rowBytes is how much is read of a file at once.
const rowBytes = 256 << 10

// eachRecord calls each with the values of the whole records of b and returns the
// beginning of one that is left.
func eachRecord(b []byte, each func(value []byte) error) (rest []byte, err error) {
	for len(b) > 0 {
		_, value, n, err := shuffle.ReadRecord(b)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return b, nil
		}
		if err == nil {
			err = each(value)
		}
		if err != nil {
			return nil, err
		}
		b = b[n:]
	}
	return nil, nil
}

func (b *rowBuffer) reset() error {
	b.rows, b.memory = 0, b.memory[:0]
	if !b.spilled {
		return nil
	}
	b.spilled = false
	b.w.Reset(b.file)
	if err := b.file.Truncate(0); err != nil {
		return fmt.Errorf("clear records of one key: %w", err)
	}
	_, err := b.file.Seek(0, io.SeekStart)
	return err
}

func (b *rowBuffer) close() {
	if b.file != nil {
		_ = b.file.Close() // it has no name
	}
}

func settleJoin(params map[string]string) (settings, byte, error) {
	s, err := settle("join", joinParams(), params)
	if err != nil {
		return nil, 0, err
	}
	separator, err := s.separator("separator")
	if err == nil {
		err = s.atLeast("left_key", 1)
	}
	if err == nil {
		err = s.atLeast("right_key", 1)
	}
	return s, separator, err
}

func checkJoin(params map[string]string) error {
	_, _, err := settleJoin(params)
	return err
}

func joinProgram(map[string]string) stint.Program {
	return stint.Program{
		Name: "join", Type: stint.Conversion, Params: joinParams(), Inputs: []string{"left", "right"},
		Description: "pairs the lines of two inputs that have the same key: key, other fields of the left, other fields of the right",
		Stages: []stint.Stage{
			{Name: "left", Action: stint.Action{Native: "join-left"}, Input: stint.Edge{Kind: stint.FromInput, From: "left"}},
			{Name: "right", Action: stint.Action{Native: "join-right"}, Input: stint.Edge{Kind: stint.FromInput, From: "right"}},
			{
				Name: "join", Action: stint.Action{Native: "join"}, Input: stint.Edge{Kind: stint.Shuffle, From: "left"},
				Beside: []stint.Edge{{Kind: stint.Shuffle, From: "right"}},
			},
		},
	}
}
