package worker

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stint"
)

// savedFiles are what a program has saved, of which no part is of use without the others.
var savedFiles = map[string]string{"position": "1000", "results": "a thousand of them", "deep/index": "x"}

// saveAll makes a checkpoint folder that was restored from an archive.
func saveAll(t *testing.T) (dir string) {
	t.Helper()
	dir = CheckpointDir(t.TempDir(), 0, 7)
	for name, text := range savedFiles {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(CheckpointOrigin(dir), []byte("saved/x/a"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// filesIn returns the files below a folder, nil if it is not there.
func filesIn(t *testing.T, dir string) (files map[string]string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if files == nil {
			files = make(map[string]string)
		}
		b, err := os.ReadFile(path)
		files[path[len(dir)+1:]] = string(b)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// namesBeside returns what is in the folder of all checkpoints.
func namesBeside(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// slotAt returns a slot for operations that start a program, with a log.
func slotAt(t *testing.T, dir string) *slot {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	stage := stint.StageSpec{Stage: stint.Stage{Action: stint.Action{Command: []string{"sh"}}}}
	s := &slot{journal: newJournal(nil), setup: &Setup{Checkpoints: filepath.Dir(dir), Spec: stint.Spec{Stages: []stint.StageSpec{stage}}}}
	s.journal.log, s.journal.err = log, os.ErrClosed // there is nobody to tell
	return s
}

// end ends operation 7 as one that has completed.
func (s *slot) end(t *testing.T) error {
	t.Helper()
	done := &DoneRecord{Job: 1}
	done.Op.Op = 7
	if err := s.journal.add(Record{Done: done}); err != nil {
		t.Fatal(err)
	}
	return s.endCheckpoint(&item{job: &Perform{Job: 1}, order: &Order{Op: 7}})
}

// logged returns how many operations the log says have completed.
func (s *slot) logged(t *testing.T) (n int) {
	t.Helper()
	f, err := os.Open(s.journal.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	err = ReadLog(f, func(r Record) error {
		if r.Done != nil {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestARetiredCheckpointIsMovedAwayAsAWholeAfterItsOrigin(t *testing.T) {
	t.Parallel()
	dir := saveAll(t)
	origin := CheckpointOrigin(dir)
	if err := errors.Join(os.Remove(origin), os.MkdirAll(filepath.Join(origin, "stays"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := RetireCheckpoint(dir); err == nil || !maps.Equal(filesIn(t, dir), savedFiles) {
		t.Errorf("with its origin there the folder is left alone: %v %v", err, filesIn(t, dir))
	}
	if err := os.RemoveAll(origin); err != nil {
		t.Fatal(err)
	}
	var all []string
	for range 3 { // each is left where it is: to remove it takes its time
		retired, err := RetireCheckpoint(dir)
		if err != nil || !strings.HasSuffix(retired, retiredSuffix) {
			t.Errorf("retired as %s: %v", retired, err)
		}
		all = append(all, filepath.Base(retired))
		slices.Sort(all)
		if names := namesBeside(t, dir); !slices.Equal(names, all) {
			t.Errorf("there are %v, want %v", names, all)
		}
		for _, name := range all {
			if got := filesIn(t, filepath.Join(filepath.Dir(dir), name)); !maps.Equal(got, savedFiles) {
				t.Errorf("%s has %v", name, got)
			}
		}
		for name, text := range savedFiles {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestNothingIsRetiredWhereThereIsNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "0-7")
	for _, prepare := range []func() error{
		func() error { return nil },
		func() error { return os.Mkdir(dir, 0o700) },
		func() error { return os.WriteFile(dir, nil, 0o600) },
		func() error { return os.Symlink("/", dir) },
		func() error { return os.WriteFile(CheckpointOrigin(dir), []byte("saved/x/a"), 0o600) },
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		if retired, err := RetireCheckpoint(dir); retired != "" || err != nil || len(namesBeside(t, dir)) != 0 {
			t.Errorf("%q %v, there are %v", retired, err, namesBeside(t, dir))
		}
	}
}

// A worker that is killed before its log says that an operation has completed leaves
// the checkpoint as it was; one that is killed then leaves it whole or none.
func TestACheckpointStaysUntilTheLogHasItsOperation(t *testing.T) {
	t.Parallel()
	dir := saveAll(t)
	s := slotAt(t, dir)
	if err := s.journal.log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.end(t); err == nil {
		t.Error("the log could not be written, and nobody says so")
	}
	if names := namesBeside(t, dir); !maps.Equal(filesIn(t, dir), savedFiles) || len(names) != 2 {
		t.Errorf("not logged: %v, %v", filesIn(t, dir), names)
	}
	if err := s.beginCheckpoint(dir); err != nil || !maps.Equal(filesIn(t, dir), savedFiles) {
		t.Errorf("the next attempt: %v, %v", err, filesIn(t, dir))
	}

	s = slotAt(t, dir)
	if err := s.end(t); err != nil || s.logged(t) != 1 || len(s.journal.told) != 0 {
		t.Errorf("%v, %d in the log, %d bytes told", err, s.logged(t), len(s.journal.told))
	}
	if names := namesBeside(t, dir); len(names) != 0 {
		t.Errorf("logged, and there are %v", names)
	}
	if err := s.journal.write(); !errors.Is(err, os.ErrClosed) || len(s.journal.told) == 0 || s.logged(t) != 1 {
		t.Errorf("told: %v, %d bytes, %d in the log", err, len(s.journal.told), s.logged(t))
	}
}

// What is behind a torn record is never read: who told of it would have the agent
// acknowledge what the next one does not know.
func TestNothingIsWrittenBehindATornRecordNorTold(t *testing.T) {
	t.Parallel()
	s := slotAt(t, saveAll(t))
	path := s.journal.log.Name()
	full, err := os.Open(path) // takes nothing
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close() //nolint:errcheck // it is only read
	whole := s.journal.log
	s.journal.log = full
	if err := s.end(t); err == nil {
		t.Error("the log could not be written, and nobody says so")
	}
	half, err := AppendRecord(nil, Record{Begun: &stint.Begun{Job: 1, Ops: stint.Range{From: 7, To: 8}}})
	if err != nil {
		t.Fatal(err)
	}
	half = half[:len(half)/2]
	if _, err := whole.Write(half); err != nil {
		t.Fatal(err)
	}
	s.journal.log = whole // there is room again
	for name, again := range map[string]func() error{"store": s.journal.store, "write": s.journal.write, "idle": s.journal.idle} {
		if err := again(); err == nil || errors.Is(err, os.ErrClosed) || len(s.journal.told) != 0 {
			t.Errorf("%s: %v, %d bytes told", name, err, len(s.journal.told))
		}
	}
	s.worker = &Worker{}
	s.close()
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, half) {
		t.Errorf("the log has %q, %v", b, err)
	}
}

func TestACheckpointThatCannotBeRemovedKeepsNoOperationFromCompleting(t *testing.T) {
	t.Parallel()
	dir := saveAll(t)
	s := slotAt(t, dir)
	origin := CheckpointOrigin(dir)
	if err := errors.Join(os.Remove(origin), os.MkdirAll(filepath.Join(origin, "stays"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := s.end(t); err != nil || s.logged(t) != 1 || !maps.Equal(filesIn(t, dir), savedFiles) {
		t.Errorf("%v, %d in the log, %v", err, s.logged(t), filesIn(t, dir))
	}
}

// Most operations save nothing: their folder is the next one's, and their record waits.
func TestAFolderThatNobodyUsedIsKeptForTheNextOperation(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "0-7")
	s := slotAt(t, dir)
	for range 2 {
		if err := errors.Join(s.beginCheckpoint(dir), os.WriteFile(CheckpointOrigin(dir), nil, 0o600), s.end(t)); err != nil {
			t.Fatal(err)
		}
		if names := namesBeside(t, dir); !slices.Equal(names, []string{"spare-0"}) || s.logged(t) != 0 {
			t.Errorf("there are %v, %d in the log", names, s.logged(t))
		}
	}
}

func TestWhatWasRetiredGoesWhenAWorkerBegins(t *testing.T) {
	t.Parallel()
	dir := saveAll(t)
	retired, err := RetireCheckpoint(dir)
	if err = errors.Join(err, os.Chmod(filepath.Join(retired, "deep"), 0)); err != nil {
		t.Fatal(err)
	}
	other := CheckpointDir(filepath.Dir(dir), 1, 2)
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := new(slot).begin(&Setup{Dir: t.TempDir(), Checkpoints: filepath.Dir(dir)}); err != nil {
		t.Fatal(err)
	}
	if names := namesBeside(t, dir); !slices.Equal(names, []string{"1-2"}) {
		t.Errorf("there are %v", names)
	}
}
