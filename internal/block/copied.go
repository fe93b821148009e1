package block

import (
	"errors"
	"fmt"
	"io"
	"os"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/wire"
)

// Copied is a record in the log of a segment of copies: the output of an
// operation that was performed elsewhere is kept in that segment too.
type Copied struct {
	_struct struct{} `codec:",toarray"` //nolint:unused // tells the encoder to write an array
	Stage   int
	Op      uint32
	Block   Index
}

// Copies is a segment of blocks that were copied from elsewhere, and its log.
// Not for concurrent use.
type Copies struct {
	store *Store
	x     stint.ExecutionID
	id    uint32
	data  *os.File
	log   *os.File
	w     *Writer
	torn  bool // the log may end within a record
}

// CreateCopies makes a new segment for copies.
func (s *Store) CreateCopies(x stint.ExecutionID) (*Copies, error) {
	id, data, log, err := s.create(x, copiesSuffix)
	if err != nil {
		return nil, err
	}
	return &Copies{store: s, x: x, id: id, data: data, log: log, w: NewWriter(data, id, 0)}, nil
}

// Execution returns whose blocks these are.
func (c *Copies) Execution() stint.ExecutionID { return c.x }

// Full reports whether the segment takes no further block: also since its log
// could not be written, and nobody would read what stands behind a torn record.
func (c *Copies) Full() bool { return c.torn || c.w.Size() >= SegmentSize }

// Add copies one block from r, as [Writer.Copy] does, and adds it to the store.
// When Add returns it is logged: safe from the death of this process.
func (c *Copies) Add(stage int, op uint32, parts []PartIndex, r io.Reader) error {
	idx, err := c.w.Copy(parts, r)
	if err != nil {
		return fmt.Errorf("copy block of operation %d of stage %d: %w", op, stage, err)
	}
	b, err := wire.AppendFrame(nil, Copied{Stage: stage, Op: op, Block: idx})
	if err != nil {
		return err
	}
	failpoint.Reach("copy.after-block-before-log")
	if _, err := c.log.Write(b); err != nil {
		c.torn = true
		return fmt.Errorf("log copy of operation %d of stage %d: %w", op, stage, err)
	}
	failpoint.Reach("copy.after-log")
	return c.store.Add(c.x, stage, op, idx)
}

// Close closes the segment's files, and gives it up.
func (c *Copies) Close() error {
	c.store.GiveUp(c.x, c.id)
	return errors.Join(c.data.Close(), c.log.Close())
}

// ReadCopies calls each with every record in the logs of an execution's copies.
// A log ends where a record is cut short or altered; one that cannot be read on
// does not keep it from the others.
func (s *Store) ReadCopies(x stint.ExecutionID, each func(Copied) error) error {
	logs, err := s.logs(x, copiesSuffix)
	if err != nil {
		return err
	}
	for _, log := range logs {
		err = errors.Join(err, readCopies(log.Path, each))
	}
	return err
}

func readCopies(path string, each func(Copied) error) error {
	log, err := OpenLog(path)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // only read
	for {
		var c Copied
		_, err := wire.ReadFrame(log, &c)
		if errors.Is(err, io.EOF) || errors.Is(err, wire.ErrTorn) {
			return nil
		}
		if err == nil {
			err = each(c)
		}
		if err != nil {
			return fmt.Errorf("read log %s: %w", path, err)
		}
	}
}
