package worker

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stint"
	"stint/internal/block"
	"stint/internal/shuffle"
	"stint/internal/split"
)

const defaultMemory = 128 << 20

// slot is what a running worker keeps from one operation to the next.
type slot struct {
	worker  *Worker
	queue   *queue
	journal *journal

	setup    *Setup
	environs map[int][]string // of processes, by stage
	dir      *workDir
	blocks   *block.Writer
	segment  *os.File
	sorter   sorter
	stderr   tail
	spare    bool // there is a spare checkpoint folder
	decoders split.Decoders
}

// sorter is the sorting writer of the stage performed last, kept for its memory.
type sorter struct {
	stage  int
	ranges string // file with the boundaries of its partitions; empty: it has none
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
	s.environs = make(map[int][]string)
	s.dir = &workDir{path: filepath.Join(setup.Dir, "work"), files: setup.Files, program: setup.Spec.Program.Files}
	if err := errors.Join(os.MkdirAll(s.scratch(), 0o700), os.MkdirAll(setup.Checkpoints, 0o700), removeAll(s.spareCheckpoint())); err != nil {
		return fmt.Errorf("set slot up: %w", err)
	}
	removeRetired(setup.Checkpoints)
	return nil
}

// scratch is where spill files go.
func (s *slot) scratch() string { return filepath.Join(s.setup.Dir, "spill") }

// memory returns how many bytes an operation of a stage sorts and merges with:
// half of what the stage takes of its node, where that is said. The other half is
// the program's, or the collector's.
func (s *slot) memory(stage *stint.StageSpec) int64 {
	if m := stage.Resources.Memory; m > 0 {
		return m / 2
	}
	return s.setup.Memory
}

// environ returns what the process of an operation gets of ours, then the
// parameters, and what the program, the stage and the request say, each above those
// before, and then where the stage's broadcasts lie.
func (s *slot) environ(stage int, broadcasts []Broadcast) []string {
	env, ok := s.environs[stage]
	if !ok {
		spec := &s.setup.Spec
		env = slices.Clip(environ(paramVariables(spec.Params), spec.Program.Environment, spec.Stages[stage].Environment, spec.Environment))
		s.environs[stage] = env
	}
	for _, b := range broadcasts {
		env = append(env, broadcastVariable(b.Stage)+"="+b.Path)
	}
	return env
}

// paramVariables returns what processes get of the parameters.
func paramVariables(params map[string]string) map[string]string {
	out := make(map[string]string, len(params))
	for name, value := range params {
		out[stint.ParamVariable(name)] = value
	}
	return out
}

// broadcastVariable returns the name of the variable with the path of a broadcast.
func broadcastVariable(stage string) string {
	return "STINT_BROADCAST_" + strings.ToUpper(strings.ReplaceAll(stage, "-", "_"))
}

func environ(layers ...map[string]string) []string {
	var env []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case name == "PATH", name == "HOME", name == "LANG", name == "TMPDIR", strings.HasPrefix(name, "LC_"):
			env = append(env, e)
		}
	}
	said := make(map[string]string)
	for _, layer := range layers {
		maps.Copy(said, layer)
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		env = append(env, name+"="+said[name])
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
	if c, ok := s.worker.SDK.(io.Closer); ok {
		_ = c.Close() // what its processes were to do has ended
	}
	s.dropSorter()
	s.decoders.Close()
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
