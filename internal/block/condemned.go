package block

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/wire"
)

// condemnedName is the file, in the folder of an execution, that says which blocks
// were found not to be whole. The logs still speak of them.
const condemnedName = "condemned"

// condemned is a record in that file: the output of an operation that lies there
// is not to be believed. Its next output lies elsewhere.
type condemned struct {
	_struct struct{} `codec:",toarray"` //nolint:unused // tells the encoder to write an array
	Stage   int
	Op      uint32
	Segment uint32
	Offset  int64
}

// Condemned reports whether a block was condemned, as far as is known: what
// [Store.RemoveCondemned] has not read yet is not.
func (s *Store) Condemned(x stint.ExecutionID, stage int, op uint32, idx Index) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.executions[x]
	return e != nil && e.condemns(stage, op, idx)
}

func (e *execution) condemns(stage int, op uint32, idx Index) bool {
	return idx.Length > 0 && e.condemned[condemned{Stage: stage, Op: op, Segment: idx.Segment, Offset: idx.Offset}]
}

// Condemn forgets the blocks of operations for good: they were found not to be
// whole, and [Store.RemoveCondemned] forgets them again after a restart. It is
// durable when Condemn returns. Operations without a block are passed over.
func (s *Store) Condemn(x stint.ExecutionID, sets []stint.StageOps) error {
	var b []byte
	for _, c := range s.takeBad(x, sets) {
		var err error
		if b, err = wire.AppendFrame(b, c); err != nil {
			return err
		}
	}
	if len(b) == 0 {
		return nil
	}
	if err := appendSynced(s.condemnedPath(x), b); err != nil {
		return fmt.Errorf("condemn blocks of execution %s: %w", x, err)
	}
	failpoint.Reach("condemned.after-sync")
	return nil
}

func (s *Store) condemnedPath(x stint.ExecutionID) string {
	return filepath.Join(s.dir, string(x), condemnedName)
}

// takeBad forgets blocks and says where they lay.
func (s *Store) takeBad(x stint.ExecutionID, sets []stint.StageOps) []condemned {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.executions[x]
	if e == nil {
		return nil
	}
	var taken []condemned
	for _, set := range sets {
		b := e.stages[set.Stage]
		if b == nil {
			continue
		}
		for _, r := range set.Ops {
			for op := r.From; op < r.To; op++ {
				p, ok := b.get(op)
				if !ok {
					continue
				}
				if p.length() > 0 { // nothing cannot be damaged: it is looked at again
					c := condemned{Stage: set.Stage, Op: op, Segment: p.segment(), Offset: p.offset()}
					e.condemned[c] = true
					taken = append(taken, c)
				}
				b.remove(op)
			}
		}
	}
	return taken
}

// appendSynced appends to a file that may be missing: all, durably, or nothing.
func appendSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		if _, err = f.Write(b); err != nil {
			err = errors.Join(err, f.Truncate(info.Size()))
		}
	}
	if err == nil {
		err = cmp.Or(failpoint.Error("condemned.before-sync"), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// RemoveCondemned forgets those of an execution's blocks that were condemned, by
// this incarnation or an earlier one, and returns whose they were. What was
// written anew since then stays. The file counts as far as it can be read, and is
// cut there.
func (s *Store) RemoveCondemned(x stint.ExecutionID) ([]stint.StageOps, error) {
	gone, end, torn, err := s.readCondemned(x)
	if err == nil && torn {
		err = os.Truncate(s.condemnedPath(x), end)
	}
	return gone, err
}

// ForgetCondemned is [Store.RemoveCondemned] for who changes nothing on disk.
func (s *Store) ForgetCondemned(x stint.ExecutionID) error {
	_, _, _, err := s.readCondemned(x)
	return err
}

// readCondemned forgets what the file says, and returns up to where it can be read.
func (s *Store) readCondemned(x stint.ExecutionID) (gone []stint.StageOps, end int64, torn bool, err error) {
	f, err := openRegular(s.condemnedPath(x))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, false, nil
	}
	if err != nil {
		return nil, 0, false, fmt.Errorf("read condemned blocks: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	for {
		var c condemned
		n, err := wire.ReadFrame(f, &c)
		end += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			return gone, end, false, nil
		case errors.Is(err, wire.ErrTorn):
			return gone, end, true, nil
		case err != nil:
			return gone, end, false, fmt.Errorf("read condemned blocks of execution %s: %w", x, err)
		}
		if s.removeAt(x, c) {
			gone = addToStages(gone, c.Stage, c.Op)
		}
	}
}

// removeAt forgets a block if it lies where the condemned one did.
func (s *Store) removeAt(x stint.ExecutionID, c condemned) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.executions[x]; e != nil {
		e.condemned[c] = true
	}
	p, err := s.find(x, c.Stage, c.Op)
	if err != nil || p.length() == 0 || p.segment() != c.Segment || p.offset() != c.Offset {
		return false
	}
	s.executions[x].stages[c.Stage].remove(c.Op)
	return true
}

func addToStages(sets []stint.StageOps, stage int, op uint32) []stint.StageOps {
	for i := range sets {
		if sets[i].Stage == stage {
			sets[i].Ops = stint.UnionRange(sets[i].Ops, stint.Range{From: op, To: op + 1})
			return sets
		}
	}
	return append(sets, stint.StageOps{Stage: stage, Ops: []stint.Range{{From: op, To: op + 1}}})
}
