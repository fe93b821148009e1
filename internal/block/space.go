package block

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"stint"
)

// BytesOn returns how many bytes the files of an execution take.
func (s *Store) BytesOn(x stint.ExecutionID) (int64, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, string(x)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("read segment folder: %w", err)
	}
	var n int64
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			n += info.Size()
		}
	}
	return n, nil
}

// BytesOf returns the sum of the lengths of the blocks of operations that are here.
func (s *Store) BytesOf(x stint.ExecutionID, sets []stint.StageOps) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int64
	for _, set := range sets {
		for _, r := range set.Ops {
			for op := r.From; op < r.To; op++ {
				if b, err := s.find(x, set.Stage, op); err == nil {
					n += b.length()
				}
			}
		}
	}
	return n
}

// RemoveSegments removes the segments that are full, that nobody writes to any
// more, and that hold no blocks but those of unneeded operations. It returns which
// operations these were. The logs stay.
func (s *Store) RemoveSegments(x stint.ExecutionID, unneeded []stint.StageOps) ([]stint.StageOps, error) {
	dead := s.takeDead(x, unneeded)
	var removed []stint.StageOps
	var errs []error
	for segment, sets := range dead {
		if err := os.Remove(s.path(x, segment, segmentSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove segment: %w", err))
		}
		removed = append(removed, sets...)
	}
	return removed, errors.Join(errs...)
}

// takeDead forgets the blocks of full segments all of whose blocks are unneeded,
// and returns them by segment. A full one that is still written to stays: what its
// writer had in hand goes on in it.
func (s *Store) takeDead(x stint.ExecutionID, unneeded []stint.StageOps) map[uint32][]stint.StageOps {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.executions[x]
	if e == nil {
		return nil
	}
	dead, end, live := make(map[uint32][]stint.StageOps), make(map[uint32]int64), make(map[uint32]bool)
	for stage, b := range e.stages {
		ops := opsOf(unneeded, stage)
		unneededIn := make(map[uint32][]stint.Range)
		for _, op := range b.ops() {
			p, _ := b.get(op)
			segment := p.segment()
			end[segment] = max(end[segment], p.offset()+p.length())
			if stint.RangesContain(ops, op) {
				unneededIn[segment] = stint.AddToRanges(unneededIn[segment], op)
			} else {
				live[segment] = true
			}
		}
		for segment, ops := range unneededIn {
			dead[segment] = append(dead[segment], stint.StageOps{Stage: stage, Ops: ops})
		}
	}
	for segment, sets := range dead {
		if live[segment] || e.writing[segment] || end[segment] < s.full {
			delete(dead, segment)
			continue
		}
		e.removeSegment(segment, sets)
	}
	return dead
}

func opsOf(sets []stint.StageOps, stage int) []stint.Range {
	for _, s := range sets {
		if s.Stage == stage {
			return s.Ops
		}
	}
	return nil
}

// removeSegment forgets the blocks of a segment, which are those of sets, and
// closes it. Who reads it already has it open by another descriptor or fails.
func (e *execution) removeSegment(segment uint32, sets []stint.StageOps) {
	for _, set := range sets {
		for _, r := range set.Ops {
			for op := r.From; op < r.To; op++ {
				e.stages[set.Stage].remove(op)
			}
		}
	}
	if f := e.files[segment]; f != nil {
		_ = f.Close() // only read
		delete(e.files, segment)
	}
}
