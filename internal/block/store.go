package block

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"stint"
	"stint/internal/failpoint"
)

// Store is the blocks on one node, by execution, stage and operation. Safe for
// concurrent use.
type Store struct {
	dir        string
	full       int64 // length from which a segment takes no further block
	mu         sync.RWMutex
	executions map[stint.ExecutionID]*execution
}

// execution is what the store knows of one execution.
type execution struct {
	stages   map[int]*blocks
	files    map[uint32]*os.File // segments opened for reading
	segments uint32              // the highest id there is
	writing  map[uint32]bool     // segments that were made and not given up

	condemned map[condemned]bool // blocks that are not to be believed, as far as is known
}

// LogFile is the log beside a segment.
type LogFile struct {
	Segment uint32
	Path    string
}

const (
	segmentSuffix = ".seg"
	logSuffix     = ".log"
	copiesSuffix  = ".copies"
	removedSuffix = ".removed" // of a folder that is being removed: it is no execution's any more
)

// Open returns the store in folder dir, which is made if it is missing. It knows
// the executions and segments that are there but none of their blocks: the
// caller reads the logs and calls Add. Other files are left alone.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make block folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read block folder: %w", err)
	}
	s := &Store{dir: dir, full: SegmentSize, executions: make(map[stint.ExecutionID]*execution)}
	for _, entry := range entries {
		x, err := stint.ParseExecutionID(entry.Name())
		if err != nil || !entry.IsDir() {
			continue // not ours
		}
		ids, err := s.segmentIDs(x, "")
		if err != nil {
			return nil, err
		}
		s.executions[x] = newExecution()
		if len(ids) > 0 {
			s.executions[x].segments = ids[len(ids)-1]
		}
	}
	return s, nil
}

func newExecution() *execution {
	return &execution{stages: make(map[int]*blocks), files: make(map[uint32]*os.File), writing: make(map[uint32]bool), condemned: make(map[condemned]bool)}
}

// Close closes the files of the store; blocks can no longer be read.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, e := range s.executions {
		errs = append(errs, e.close())
	}
	clear(s.executions)
	return errors.Join(errs...)
}

func (e *execution) close() error {
	var errs []error
	for _, f := range e.files {
		errs = append(errs, f.Close())
	}
	clear(e.files)
	return errors.Join(errs...)
}

// CreateSegment makes a new segment and its log. Ids count from 1 and are not
// used again. The caller closes the files, and says with [Store.GiveUp] that nobody
// writes to them any more.
func (s *Store) CreateSegment(x stint.ExecutionID) (id uint32, data, log *os.File, err error) {
	return s.create(x, logSuffix)
}

func (s *Store) create(x stint.ExecutionID, suffix string) (id uint32, data, log *os.File, err error) {
	if _, err := stint.ParseExecutionID(string(x)); err != nil {
		return 0, nil, nil, err
	}
	s.mu.Lock()
	e := s.executions[x]
	if e == nil {
		e = newExecution()
		s.executions[x] = e
	}
	e.segments++
	id = e.segments
	e.writing[id] = true
	s.mu.Unlock()
	if data, log, err = s.createFiles(x, id, suffix); err != nil {
		s.GiveUp(x, id)
	}
	return id, data, log, err
}

// GiveUp says that nobody writes to segments of an execution any more, and that all
// blocks in them were added: [Store.RemoveSegments] may remove them.
func (s *Store) GiveUp(x stint.ExecutionID, segments ...uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.executions[x]; e != nil {
		for _, id := range segments {
			delete(e.writing, id)
		}
	}
}

func (s *Store) createFiles(x stint.ExecutionID, id uint32, suffix string) (data, log *os.File, err error) {
	if err := os.MkdirAll(filepath.Join(s.dir, string(x)), 0o700); err != nil {
		return nil, nil, fmt.Errorf("make segment folder: %w", err)
	}
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	log, err = os.OpenFile(s.path(x, id, suffix), flags|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("create log: %w", err)
	}
	failpoint.Reach("segment.after-log-before-title")
	if _, err = log.WriteString(logTitle(string(x), strconv.FormatUint(uint64(id), 10))); err == nil {
		data, err = os.OpenFile(s.path(x, id, segmentSuffix), flags, 0o600)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("create segment: %w", errors.Join(err, log.Close(), os.Remove(log.Name())))
	}
	failpoint.Reach("segment.after-making")
	return data, log, nil
}

func (s *Store) path(x stint.ExecutionID, id uint32, suffix string) string {
	return filepath.Join(s.dir, string(x), strconv.FormatUint(uint64(id), 10)+suffix)
}

// Logs returns the logs of an execution, by segment; none if it is not there.
func (s *Store) Logs(x stint.ExecutionID) ([]LogFile, error) { return s.logs(x, logSuffix) }

func (s *Store) logs(x stint.ExecutionID, suffix string) ([]LogFile, error) {
	if _, err := stint.ParseExecutionID(string(x)); err != nil {
		return nil, err
	}
	ids, err := s.segmentIDs(x, suffix)
	if err != nil {
		return nil, err
	}
	logs := make([]LogFile, len(ids))
	for i, id := range ids {
		logs[i] = LogFile{Segment: id, Path: s.path(x, id, suffix)}
	}
	return logs, nil
}

// segmentIDs returns the ids of the files with a suffix, or of all if it is "", sorted.
func (s *Store) segmentIDs(x stint.ExecutionID, suffix string) ([]uint32, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, string(x)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read segment folder: %w", err)
	}
	var ids []uint32
	for _, entry := range entries {
		ending := filepath.Ext(entry.Name())
		if suffix != "" && ending != suffix || ending != segmentSuffix && ending != logSuffix && ending != copiesSuffix {
			continue
		}
		id, err := strconv.ParseUint(strings.TrimSuffix(entry.Name(), ending), 10, 32)
		if err == nil && id > 0 {
			ids = append(ids, uint32(id))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// Add records that the output of an operation is the block that idx says; it
// replaces an earlier one. A block that is [Store.Condemned] is passed over: the
// one before it, of another attempt or another node, may be whole. A block without
// bytes is kept as one of no segment: it is whole whatever becomes of the files. Errors
// have code Invalid if the index contradicts itself, and NotFound if the execution is
// not here, or the segment never was.
func (s *Store) Add(x stint.ExecutionID, stage int, op uint32, idx Index) error {
	if err := idx.check(); err != nil {
		return fmt.Errorf("add block of operation %d of stage %d: %w", op, stage, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.executions[x]
	if idx.Length == 0 {
		idx.Segment, idx.Offset = 0, 0
	}
	if e == nil || idx.Segment > e.segments || idx.Segment < 1 && idx.Length > 0 {
		return stint.Errorf(stint.NotFound, "execution %.80q has no segment %d here", x, idx.Segment)
	}
	if e.condemns(stage, op, idx) {
		return nil
	}
	b := e.stages[stage]
	if b == nil {
		b = &blocks{at: make(map[uint32]place)}
		e.stages[stage] = b
	}
	b.add(op, idx)
	return nil
}

// Open returns the bytes of one partition of the output of an operation, the
// number of records in them and their XXH3-64. A block without bytes in that
// partition gives an empty reader; no block is an error with code NotFound. If it has
// bytes at all, the reader's Outer is the segment's *os.File: it belongs to the store,
// may be passed to another process, must not be closed, and reads fail once the
// execution is removed. An error with code Unavailable says nothing of the block: this
// node has no descriptors or no memory left to open it.
func (s *Store) Open(x stint.ExecutionID, stage int, op, partition uint32) (r *io.SectionReader, records int64, sum uint64, err error) {
	s.mu.RLock()
	b, err := s.find(x, stage, op)
	if err != nil {
		s.mu.RUnlock()
		return nil, 0, 0, err
	}
	segment, offset := b.segment(), b.offset()
	part, ok := b.find(partition)
	file := s.executions[x].files[segment]
	s.mu.RUnlock()
	if !ok {
		part.Records, part.Length, part.Offset, part.Sum = 0, 0, 0, sumOfNothing
	}
	if segment == 0 {
		return nothing(), part.Records, part.Sum, nil
	}
	if file == nil {
		if file, err = s.openSegment(x, segment); err != nil {
			return nil, 0, 0, err
		}
	}
	return io.NewSectionReader(file, offset+part.Offset, part.Length), part.Records, part.Sum, nil
}

// OpenWhole returns the bytes of the whole block of an operation and its index.
// The reader and its errors are as of [Store.Open].
func (s *Store) OpenWhole(x stint.ExecutionID, stage int, op uint32) (*io.SectionReader, Index, error) {
	idx, err := s.Index(x, stage, op)
	if err != nil {
		return nil, Index{}, err
	}
	if idx.Segment == 0 {
		return nothing(), idx, nil
	}
	file, err := s.openSegment(x, idx.Segment)
	if err != nil {
		return nil, Index{}, err
	}
	return io.NewSectionReader(file, idx.Offset, idx.Length), idx, nil
}

// nothing reads a block without bytes.
func nothing() *io.SectionReader { return io.NewSectionReader(strings.NewReader(""), 0, 0) }

const sumOfNothing = 0x2d06800538d394c2 // XXH3-64 of no bytes

// find returns an operation's block; s.mu is held.
func (s *Store) find(x stint.ExecutionID, stage int, op uint32) (packed, error) {
	if e := s.executions[x]; e != nil && e.stages[stage] != nil {
		if b, ok := e.stages[stage].get(op); ok {
			return b, nil
		}
	}
	return nil, stint.Errorf(stint.NotFound, "operation %d of stage %d of execution %.80q has no block here", op, stage, x)
}

// openSegment returns the segment's file, opening it if nobody has.
func (s *Store) openSegment(x stint.ExecutionID, id uint32) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.executions[x]
	if e == nil {
		return nil, stint.Errorf(stint.NotFound, "execution %.80q has no blocks here", x)
	}
	if f := e.files[id]; f != nil {
		return f, nil
	}
	f, err := openRegular(s.path(x, id, segmentSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stint.Errorf(stint.NotFound, "open segment: %w", err)
	}
	if isShortage(err) {
		return nil, stint.Errorf(stint.Unavailable, "open segment: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	e.files[id] = f
	return f, nil
}

// Index returns the index of an operation's block; no block is an error with
// code NotFound.
func (s *Store) Index(x stint.ExecutionID, stage int, op uint32) (Index, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.find(x, stage, op)
	if err != nil {
		return Index{}, err
	}
	return b.index(), nil
}

// Completed returns the operations of a stage that have a block, as sorted ranges.
func (s *Store) Completed(x stint.ExecutionID, stage int) []stint.Range {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.executions[x]; e != nil && e.stages[stage] != nil {
		return toRanges(e.stages[stage].ops())
	}
	return nil
}

// Stages returns the stages of an execution that had blocks, in order.
func (s *Store) Stages(x stint.ExecutionID) []int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.executions[x]; e != nil {
		return slices.Sorted(maps.Keys(e.stages))
	}
	return nil
}

// Remove removes everything of an execution from memory and disk: all at once, since
// what is left of one could be taken for the next one's of that name, as blocks that
// are condemned. What this process does not come to remove [Store.RemoveLeftovers]
// does. Where the disk is so full that it can get no other name it is removed file by
// file. An execution that is not there is no error.
func (s *Store) Remove(x stint.ExecutionID) error {
	if _, err := stint.ParseExecutionID(string(x)); err != nil {
		return err
	}
	s.mu.Lock()
	e := s.executions[x]
	delete(s.executions, x)
	s.mu.Unlock()
	var closed error
	if e != nil {
		closed = e.close() // nobody else has it any more
	}
	dir := filepath.Join(s.dir, string(x))
	err := os.RemoveAll(dir + removedSuffix) // of an earlier time
	if err == nil {
		err = os.Rename(dir, dir+removedSuffix)
	}
	switch {
	case err == nil:
		err = os.RemoveAll(dir + removedSuffix)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		err = s.removeInPlace(x)
	}
	if err = errors.Join(closed, err); err != nil {
		return fmt.Errorf("remove blocks of execution %s: %w", x, err)
	}
	return nil
}

// removeInPlace removes the folder of an execution under its own name. What a process
// that is killed leaves is an execution with fewer blocks or none, all of which are to
// be believed. So the logs go before the list of what is condemned in them, and the
// earliest first: a later one may have the output that counts of two. The segments go
// after that list, which would hold for new ones that have their ids, and files of
// others, as marks that it is no live execution, last.
func (s *Store) removeInPlace(x stint.ExecutionID) error {
	for _, suffix := range []string{logSuffix, copiesSuffix} {
		if err := s.removeFiles(x, suffix); err != nil {
			return err
		}
	}
	if err := os.Remove(s.condemnedPath(x)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.removeFiles(x, segmentSuffix); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(s.dir, string(x)))
}

// removeFiles removes the files of an execution that have a suffix, by segment.
func (s *Store) removeFiles(x stint.ExecutionID, suffix string) error {
	files, err := s.logs(x, suffix)
	for _, file := range files {
		if err == nil {
			err = os.Remove(file.Path)
		}
	}
	return err
}

// RemoveLeftovers removes what is left of executions whose removal did not come to
// its end. It is not for who changes nothing on disk.
func (s *Store) RemoveLeftovers() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("read block folder: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		name, removed := strings.CutSuffix(entry.Name(), removedSuffix)
		if _, err := stint.ParseExecutionID(name); err != nil || !removed {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.dir, entry.Name())); err != nil {
			errs = append(errs, fmt.Errorf("remove what is left of execution %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// Unload forgets what is known of an execution's blocks, and nothing on disk.
func (s *Store) Unload(x stint.ExecutionID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.executions[x]
	if e == nil {
		return nil
	}
	s.executions[x] = newExecution()
	s.executions[x].segments = e.segments
	return e.close()
}

// Executions returns the executions that have a folder in the store, sorted.
func (s *Store) Executions() []stint.ExecutionID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.executions))
}

// Bytes returns the sum of the lengths of all blocks.
func (s *Store) Bytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int64
	for _, e := range s.executions {
		for _, b := range e.stages {
			n += b.bytes
		}
	}
	return n
}
