package shuffle

import "io"

// rawSource is a source that has its records encoded already.
type rawSource interface {
	// nextRaw is Next for the encoded record.
	nextRaw() ([]byte, error)
}

// encoder writes encoded records in large pieces.
type encoder struct {
	out     io.Writer
	buf     []byte
	records int64
}

const encodeBuffer = 64 << 10

func (e *encoder) raw(record []byte) error {
	e.records++
	if len(e.buf)+len(record) > cap(e.buf) {
		if err := e.flush(); err != nil {
			return err
		}
		if len(record) > cap(e.buf) {
			return writeAll(e.out, record)
		}
	}
	e.buf = append(e.buf, record...)
	return nil
}

func (e *encoder) record(key, value []byte) error {
	e.buf = AppendRecord(e.buf, key, value)
	e.records++
	if len(e.buf) < encodeBuffer {
		return nil
	}
	return e.flush()
}

func (e *encoder) flush() error {
	err := writeAll(e.out, e.buf)
	if e.buf = e.buf[:0]; cap(e.buf) > 4*encodeBuffer {
		e.buf = nil
	}
	return err
}

// writeFrom writes all records of src to out and returns how many there were.
func (e *encoder) writeFrom(src Source, out io.Writer) (int64, error) {
	if e.buf == nil {
		e.buf = make([]byte, 0, encodeBuffer)
	}
	e.out, e.buf, e.records = out, e.buf[:0], 0
	var err error
	if raw, ok := src.(rawSource); ok {
		err = e.copyRaw(raw)
	} else {
		err = e.copyRecords(src)
	}
	if err != nil {
		return 0, err
	}
	return e.records, e.flush()
}

func (e *encoder) copyRaw(src rawSource) error {
	for {
		record, err := src.nextRaw()
		if err == io.EOF { //nolint:errorlint // sources return io.EOF itself
			return nil
		}
		if err != nil {
			return err
		}
		if err := e.raw(record); err != nil {
			return err
		}
	}
}

func (e *encoder) copyRecords(src Source) error {
	for {
		key, value, err := src.Next()
		if err == io.EOF { //nolint:errorlint // sources return io.EOF itself
			return nil
		}
		if err != nil {
			return err
		}
		if err := e.record(key, value); err != nil {
			return err
		}
	}
}

func writeAll(w io.Writer, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := w.Write(b)
	if err == nil && n < len(b) {
		return io.ErrShortWrite
	}
	return err
}
