package shuffle

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zeebo/xxh3"
)

// scratch is a file for spilled records. It has no name in its folder, so that
// it is gone with the process however that ends.
type scratch struct {
	dir  string
	file interface { // nil until something is written
		io.Writer
		io.ReaderAt
		io.Closer
	}
	size int64
	sum  *xxh3.Hasher // of the run being written
}

// add appends the records of src as one run.
func (s *scratch) add(enc *encoder, src Source) (Run, error) {
	if err := s.open(); err != nil {
		return Run{}, err
	}
	s.sum.Reset()
	start := s.size
	if _, err := enc.writeFrom(src, s); err != nil {
		return Run{}, err
	}
	return Run{R: s, Offset: start, Length: s.size - start, Sum: s.sum.Sum64()}, nil
}

// Write appends b to the file.
func (s *scratch) Write(b []byte) (int, error) {
	n, err := s.file.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return n, fmt.Errorf("write spill file in %s: %w", s.dir, err)
	}
	s.size += int64(n)
	_, err = s.sum.Write(b) // never fails
	return n, err
}

// ReadAt reads what was written.
func (s *scratch) ReadAt(b []byte, offset int64) (int, error) { return s.file.ReadAt(b, offset) }

func (s *scratch) open() error {
	if s.sum == nil {
		s.sum = xxh3.New()
	}
	if s.file != nil {
		return nil
	}
	f, err := os.CreateTemp(s.dir, "spill-*")
	if err != nil {
		return fmt.Errorf("create spill file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("unlink spill file: %w", errors.Join(err, f.Close()))
	}
	s.file = f
	return nil
}

func (s *scratch) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file, s.size = nil, 0
	if err != nil {
		return fmt.Errorf("close spill file: %w", err)
	}
	return nil
}
