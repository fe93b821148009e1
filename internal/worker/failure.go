package worker

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"stint"
)

// failure says why an operation failed, and whose fault it is.
func (s *slot) failure(ctx context.Context, it *item, err error) *stint.Failure {
	f := &stint.Failure{
		Job: it.job.Job, Stage: it.job.Stage, Op: it.order.Op, Attempt: it.job.Attempt,
		Error: &stint.Error{Code: blame(err), Message: err.Error()}, Stderr: s.stderr.String(),
	}
	if ctx.Err() != nil {
		f.Error = &stint.Error{Code: stint.Canceled, Message: "stopped: " + context.Cause(ctx).Error()}
		return f
	}
	if exit, ok := errors.AsType[*stint.ExitError](err); ok {
		f.Exit, f.Signal = exit.Exit, exit.Signal
	}
	return f
}

// hogShare is the part of a slot's share of the disk that an operation may have
// taken when the disk is full without being blamed for that: 1/hogShare.
const hogShare = 4

// giveUp discards the output of an operation that failed with err, and says in
// the end why it failed. A full disk is this node's fault, unless it was this
// operation's output that filled it: on another node it would be no different,
// and it would be tried for ever.
func (s *slot) giveUp(o *operation, err error) error {
	file := o.part
	if file == nil {
		file = s.segment
	}
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if !full || file == nil {
		return errors.Join(err, o.out.discard())
	}
	before, _ := roomBeside(file)
	if discarded := o.out.discard(); discarded != nil {
		return errors.Join(err, discarded)
	}
	after, total := roomBeside(file)
	took := max(after-before, lengthOf(o.out))
	if total > 0 && took > total/int64(hogShare*max(s.setup.Slots, 1)) {
		return stint.Errorf(stint.Failed, "output_too_large: the operation has written %d MiB when the disk of %d MiB was full: %v", took>>20, total>>20, err)
	}
	return err
}

// lengthOf returns how many bytes an operation has written, if that is counted.
func lengthOf(out output) int64 {
	switch b := out.(type) {
	case *byteOutput:
		return b.length
	case *lineOutput:
		return b.length
	}
	return 0
}

// roomBeside returns how many bytes are free on the disk of a file, and how many
// it has in all; 0 if that is not known.
func roomBeside(f *os.File) (free, total int64) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, 0
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize
}

// blame returns the code of a failure. What the operating system refuses us is
// this node's fault, whatever was being done.
func blame(err error) stint.Code {
	if _, ok := errors.AsType[*stint.ExitError](err); ok {
		return stint.Failed
	}
	for _, e := range [...]syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return stint.Unavailable
		}
	}
	code := stint.CodeOf(err)
	_, path := errors.AsType[*fs.PathError](err)
	_, call := errors.AsType[*os.SyscallError](err)
	if code == stint.Internal && (path || call) {
		return stint.Unavailable
	}
	return code
}
