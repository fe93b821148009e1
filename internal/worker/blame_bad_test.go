package worker

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"stint"
)

func TestWhatTheSystemRefusesIsTheNodesFault(t *testing.T) {
	t.Parallel()
	path := func(err error) error {
		return fmt.Errorf("read input: %w", &fs.PathError{Op: "read", Path: "/x", Err: err})
	}
	for _, c := range []struct {
		err  error
		want stint.Code
	}{
		{path(syscall.EIO), stint.Unavailable},
		{path(syscall.ENOSPC), stint.Unavailable},
		{path(syscall.EDQUOT), stint.Unavailable},
		{path(syscall.EROFS), stint.Unavailable},
		{path(syscall.ESTALE), stint.Unavailable},
		{fmt.Errorf("sync part: %w", os.NewSyscallError("fsync", syscall.EIO)), stint.Unavailable},
		{&stint.Error{Code: stint.Lost, Message: "sum", Err: syscall.EIO}, stint.Unavailable},
		{stint.Errorf(stint.Lost, "checksum"), stint.Lost},
		{&stint.ExitError{Exit: 3}, stint.Failed},
	} {
		if got := blame(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}
