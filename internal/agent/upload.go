package agent

import (
	"context"
	"os"
	"time"

	"stint"
	"stint/internal/worker"
)

const (
	uploadTries = 5
	uploadPause = time.Second / 2 // before the second, doubled for each further one
)

// putPart brings a part that a worker has written to where the output goes.
type putPart func(ctx context.Context, part *stint.Part, file *os.File) error

// upload stores a part and tells the worker, which waits for that. The error is
// that of telling.
func (p *process) upload(ctx context.Context, conn *worker.Conn, part *stint.Part, file *os.File) error {
	err := p.putRepeatedly(ctx, part, file)
	_ = file.Close() // what was written is read
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return conn.Send(worker.Message{Stored: &worker.Stored{Part: part.Name, Error: stint.AsError(err)}}, nil)
}

// putRepeatedly tries several times what may succeed later.
func (p *process) putRepeatedly(ctx context.Context, part *stint.Part, file *os.File) error {
	for try, pause := 1, uploadPause; ; try, pause = try+1, 2*pause {
		err := p.put(ctx, part, file)
		if err == nil || try == uploadTries || !mayPass(err) {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

// putPart returns what stores parts of an execution.
func (s *site) putPart(spec *stint.Spec) putPart {
	location, x, access := spec.Output, spec.Execution, s.agent.Access
	return func(ctx context.Context, part *stint.Part, file *os.File) error {
		return access.StagePart(ctx, location, x, part.Name, file)
	}
}
