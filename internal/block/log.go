package block

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"stint"
)

// logFormat is the number of the format of logs.
const logFormat = 1

// logTitle is the first line of a log: whose it is, and beside which segment. A
// log that was brought under another name is not believed.
func logTitle(x, segment string) string {
	return fmt.Sprintf("stint log %d of %s segment %s\n", logFormat, x, segment)
}

// Log is a log that is being read, from behind its first line.
type Log struct {
	*bufio.Reader
	file *os.File
}

// Close closes the log's file.
func (l *Log) Close() error { return l.file.Close() }

// OpenLog opens a log for reading. The error is [stint.Invalid] if its first line
// does not say that it is the log of this name in the folder of this execution. A
// log that ends within its first line has no records.
func OpenLog(path string) (*Log, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l := &Log{Reader: bufio.NewReaderSize(f, 1<<20), file: f}
	segment, _, _ := strings.Cut(filepath.Base(path), ".")
	want := logTitle(filepath.Base(filepath.Dir(path)), segment)
	got := make([]byte, len(want))
	n, err := io.ReadFull(l, got)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.Join(fmt.Errorf("read log: %w", err), f.Close())
	case string(got[:n]) != want[:n]:
		return nil, errors.Join(stint.Errorf(stint.Invalid, "log %s is not what its name says: it begins with %q, expected %q", path, got[:n], want), f.Close())
	}
	return l, nil
}

// openRegular opens a file for reading and refuses what is no file: a pipe would
// keep us waiting.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = stint.Errorf(stint.Invalid, "%s is not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
