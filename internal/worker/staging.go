package worker

import (
	"context"
	"os"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/failpoint"
)

// partFile returns where an operation writes its part.
func (s *slot) partFile(o *operation) *partFile {
	f := &partFile{file: o.part, name: o.item.order.Part, sum: xxh3.New()}
	if o.item.order.Upload {
		f.store = s.store
	}
	return f
}

// store has the agent bring a part to where the output goes, and waits for that.
func (s *slot) store(ctx context.Context, part *stint.Part, file *os.File) error {
	stored := s.queue.await(part.Name)
	if err := s.journal.conn.Send(Message{Events: &Events{Staged: part}}, []*os.File{file}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case answer := <-stored:
		if answer.Error != nil {
			return answer.Error
		}
		failpoint.Reach("part.after-staging-before-log")
		return nil
	}
}

// await returns where it will be said that a part is stored. Of earlier ones
// nothing is said any more.
func (q *queue) await(part string) <-chan *Stored {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.awaited, q.stored = part, make(chan *Stored, 1)
	return q.stored
}

// deliver says that a part is stored, if that is waited for.
func (q *queue) deliver(s *Stored) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.awaited == s.Part {
		q.awaited = ""
		q.stored <- s // has room for one
	}
}
