package object

import (
	"os"
	"syscall"
	"testing"

	"stint"
)

func TestAnErrorOfTheFileSystemSaysWhatCanBeDone(t *testing.T) {
	t.Parallel()
	for errno, want := range map[syscall.Errno]stint.Code{
		syscall.EIO: stint.Unavailable, syscall.ENOSPC: stint.Unavailable, syscall.EDQUOT: stint.Unavailable, syscall.ESTALE: stint.Unavailable,
		syscall.ETIMEDOUT: stint.Unavailable, syscall.EBUSY: stint.Unavailable, syscall.EMFILE: stint.Unavailable,
		syscall.EACCES: stint.Denied, syscall.EPERM: stint.Denied, syscall.EROFS: stint.Denied,
		syscall.ENOENT: stint.NotFound, syscall.EEXIST: stint.Conflict, syscall.EXDEV: stint.Invalid, syscall.ENOTDIR: stint.Invalid, syscall.ELOOP: stint.Invalid,
	} {
		err := failure(&os.PathError{Op: "write", Path: "/x", Err: errno}, "put %s", "k")
		if got := stint.CodeOf(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
