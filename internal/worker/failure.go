package worker

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

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
