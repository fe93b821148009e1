package object

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"stint"
)

// maxInMemory is how much of what goes to a bucket is kept in memory.
const maxInMemory = 4 << 20

// spool keeps bytes of unknown number until they can be sent: a request says first
// how many it has, and repeats them when it must.
type spool struct {
	io.ReaderAt
	size int64
	file *os.File // nil: all are in memory
}

// newSpool reads r to its end. The file it may take has no name any more.
func (a *Access) newSpool(ctx context.Context, r io.Reader) (*spool, error) {
	var memory bytes.Buffer
	r = &stoppingReader{ctx.Err, r}
	n, err := io.Copy(&memory, io.LimitReader(r, maxInMemory))
	if err != nil {
		return nil, err
	}
	if n < maxInMemory {
		return &spool{ReaderAt: bytes.NewReader(memory.Bytes()), size: n}, nil
	}
	f, err := os.CreateTemp(a.Scratch, "stint-upload-")
	if err != nil {
		return nil, failure(err, "create temporary file")
	}
	err = os.Remove(f.Name())
	if err == nil {
		n, err = io.CopyBuffer(onlyWriter{f}, io.MultiReader(&memory, r), make([]byte, copyBuffered))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &spool{ReaderAt: f, size: n, file: f}, nil
}

// bytes returns all, which must not be many.
func (s *spool) bytes() ([]byte, error) {
	if s.size > maxControl {
		return nil, stint.Errorf(stint.Invalid, "%d bytes: what is created at most once is at most %d long", s.size, maxControl)
	}
	b := make([]byte, s.size)
	_, err := io.ReadFull(io.NewSectionReader(s, 0, s.size), b)
	return b, err
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close() //nolint:errcheck,gosec // nobody needs it any more
	}
}
