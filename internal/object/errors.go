package object

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"stint"
)

// failure gives an error of the file system the code that says what can be done about it.
func failure(err error, format string, args ...any) error {
	return &stint.Error{Code: fileCode(err), Message: fmt.Sprintf(format, args...), Err: err}
}

func fileCode(err error) stint.Code {
	var known *stint.Error
	switch {
	case errors.As(err, &known):
		return known.Code
	case errors.Is(err, fs.ErrNotExist):
		return stint.NotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return stint.Denied
	case errors.Is(err, syscall.ENOTEMPTY): // somebody has put something there while it was removed; it is an ErrExist, too
		return stint.Unavailable
	case errors.Is(err, fs.ErrExist):
		return stint.Conflict
	case isAny(err, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.EXDEV, syscall.EINVAL):
		return stint.Invalid
	case isAny(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.ESTALE, syscall.EMFILE, syscall.ENFILE,
		syscall.ENOMEM, syscall.EBUSY, syscall.ETIMEDOUT):
		return stint.Unavailable
	}
	return stint.Internal
}

func isAny(err error, list ...syscall.Errno) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
