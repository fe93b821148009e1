package worker

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stint"
	"stint/internal/block"
	"stint/internal/shuffle"
)

const defaultMemory = 128 << 20

// slot is what a running worker keeps from one operation to the next.
type slot struct {
	worker  *Worker
	queue   *queue
	journal *journal

	setup   *Setup
	environ []string
	dir     *workDir
	blocks  *block.Writer
	segment *os.File
	sorter  sorter
	stderr  tail
	spare   bool // there is a spare checkpoint folder
}

// sorter is the sorting writer of the stage performed last, kept for its memory.
type sorter struct {
	stage  int
	writer *shuffle.Writer
}

// begin takes the setup.
func (s *slot) begin(setup *Setup) error {
	if s.setup != nil {
		return errors.New("a second setup came")
	}
	s.setup = setup
	if setup.Memory <= 0 {
		setup.Memory = defaultMemory
	}
	s.environ = environ(setup.Spec.Environment)
	s.dir = &workDir{path: filepath.Join(setup.Dir, "work"), files: setup.Files, program: setup.Spec.Program.Files}
	if err := errors.Join(os.MkdirAll(s.scratch(), 0o700), os.MkdirAll(setup.Checkpoints, 0o700), removeAll(s.spareCheckpoint())); err != nil {
		return fmt.Errorf("set slot up: %w", err)
	}
	return nil
}

// scratch is where spill files go.
func (s *slot) scratch() string { return filepath.Join(s.setup.Dir, "spill") }

// environ returns what a program's process gets of ours, and then what the
// execution says.
func environ(execution map[string]string) []string {
	var env []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case name == "PATH", name == "HOME", name == "LANG", name == "TMPDIR", strings.HasPrefix(name, "LC_"):
			env = append(env, e)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(execution)) {
		env = append(env, name+"="+execution[name])
	}
	return env
}

// useSegment makes later blocks and records go to other files.
func (s *slot) useSegment(m *SegmentFiles, files []*os.File) error {
	if err := s.journal.write(); err != nil { // what is pending belongs beside its block
		closeAll(files)
		return err
	}
	closeAll(s.openFiles())
	s.segment, s.journal.log = files[0], files[1]
	s.blocks = block.NewWriter(files[0], m.ID, m.Size)
	return nil
}

func (s *slot) openFiles() []*os.File {
	if s.segment == nil {
		return nil
	}
	return []*os.File{s.segment, s.journal.log}
}

// close writes what is pending and frees everything.
func (s *slot) close() {
	if s.journal.log != nil {
		_ = s.journal.idle() // the agent reads the log when the worker has ended
	}
	s.journal.close()
	s.dropSorter()
	closeAll(s.openFiles())
}

func (s *slot) dropSorter() {
	if s.sorter.writer != nil {
		_ = s.sorter.writer.Close() // spill files have no name
	}
	s.sorter = sorter{}
}

// stage returns the stage of an order's job.
func (s *slot) stage(p *Perform) (*stint.StageSpec, error) {
	if p.Stage < 0 || p.Stage >= len(s.setup.Spec.Stages) {
		return nil, stint.Errorf(stint.Internal, "stage %d of %d", p.Stage, len(s.setup.Spec.Stages))
	}
	return &s.setup.Spec.Stages[p.Stage], nil
}
