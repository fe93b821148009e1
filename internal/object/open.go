package object

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"stint"
)

// Version returns what is compared to see whether a file has changed: its size
// in bytes and its modification time in nanoseconds since 1970, "SIZE-TIME".
// A file that was rewritten with the same size within one tick of the file
// system's clock, or with its time set back, has the same version.
func Version(info fs.FileInfo) string {
	b := strconv.AppendInt(make([]byte, 0, 32), info.Size(), 10)
	b = append(b, '-')
	return string(strconv.AppendInt(b, info.ModTime().UnixNano(), 10))
}

// Open opens a listed object for reading if it still is what was listed. The
// error is [stint.Invalid] if it is gone or changed: no repetition mends that.
func Open(ctx context.Context, o stint.Object) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, &stint.Error{Code: stint.Canceled, Message: "open " + o.URL, Err: err}
	}
	path, err := Path(o.URL)
	if err != nil {
		return nil, err
	}
	// Without O_NONBLOCK a named pipe that took the file's place would hold us for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, stint.Errorf(stint.Invalid, "input changed: %s was version %s, is gone; submit again", o.URL, o.Version)
	case err != nil:
		return nil, failure(err, "open input %s", o.URL)
	}
	if err := Check(f, o); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Check reports whether an open file still is the listed object; it is asked
// again when the file has been read. Errors as of [Open].
func Check(f *os.File, o stint.Object) error {
	info, err := f.Stat()
	if err != nil {
		return failure(err, "look at input %s", o.URL)
	}
	if !info.Mode().IsRegular() {
		return stint.Errorf(stint.Invalid, "input changed: %s was version %s, is not a file now; submit again", o.URL, o.Version)
	}
	if v := Version(info); v != o.Version {
		return stint.Errorf(stint.Invalid, "input changed: %s was version %s, is %s; submit again", o.URL, o.Version, v)
	}
	return nil
}
