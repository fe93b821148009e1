package worker

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/failpoint"
)

// CheckpointDir returns the folder, below that of all checkpoints of an
// execution on this node, in which an operation's program saves itself. It is
// empty at the first attempt, kept from one attempt to the next, and removed when
// the operation has completed here.
func CheckpointDir(checkpoints string, stage int, op uint32) string {
	return filepath.Join(checkpoints, strconv.Itoa(stage)+"-"+strconv.FormatUint(uint64(op), 10))
}

// CheckpointOrigin returns the file that names the archive from which a
// checkpoint folder was restored. It goes before the folder goes.
func CheckpointOrigin(dir string) string { return dir + ".from" }

// retiredSuffix is what the name of a folder ends in that was a checkpoint folder.
const retiredSuffix = ".gone"

// RetireCheckpoint takes a checkpoint folder away from the attempts that may follow. It
// returns where what was in it lies now, which is to be removed; empty: nowhere. What
// is left of it goes when a worker of the execution begins here, or with the execution.
//
// Whoever does this may be killed at any point. So the origin goes first: a folder
// without one is replaced where a grant names a checkpoint, and gone on from, as it was
// left, where it names none. Then the folder gets another name, at once and with
// all that is in it: an attempt finds all of it or nothing, and where it finds
// nothing, there is no origin either that says that it was restored. No two retired
// folders share a name: what is left of an earlier one may be large, and who calls may
// be waited for.
func RetireCheckpoint(dir string) (retired string, err error) {
	if err := removeOrigin(dir); err != nil {
		return "", err
	}
	if err := os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		return "", nil // most often it is empty
	}
	retired = dir + "." + strings.ToLower(rand.Text()[:8]) + retiredSuffix
	if err := os.Rename(dir, retired); err != nil {
		return "", stint.Errorf(stint.Unavailable, "retire checkpoint: %w", err)
	}
	return retired, nil
}

// removeCheckpoint retires a checkpoint folder and removes it.
func removeCheckpoint(dir string) error {
	retired, err := RetireCheckpoint(dir)
	if err == nil && retired != "" {
		_ = removeAll(retired) // no attempt finds what is left of it
	}
	return err
}

// removeRetired removes what was retired by a worker or an agent that died then. That
// others may be about to remove the same does no harm.
func removeRetired(checkpoints string) {
	list, _ := os.ReadDir(checkpoints) // what is not seen goes with the execution
	for _, e := range list {
		if strings.HasSuffix(e.Name(), retiredSuffix) {
			_ = removeAll(filepath.Join(checkpoints, e.Name())) // likewise
		}
	}
}

// spareCheckpoint returns the slot's own empty folder, which becomes the checkpoint
// folder of one operation after the other: to move one is a third of the work of
// making and removing two, which short operations would notice.
func (s *slot) spareCheckpoint() string {
	return filepath.Join(s.setup.Checkpoints, "spare-"+strconv.Itoa(s.setup.Slot))
}

// beginCheckpoint sees to it that the operation's folder is there.
func (s *slot) beginCheckpoint(dir string) error {
	if s.spare {
		if err := os.Rename(s.spareCheckpoint(), dir); err == nil {
			s.spare = false
			return nil
		} // there is one already, with what an earlier attempt left
	}
	return makeCheckpointDir(dir)
}

// checkpointOf returns the folder in which an item's program saves itself; empty: it
// starts no program.
func (s *slot) checkpointOf(it *item) (string, error) {
	stage, err := s.stage(it.job)
	if err != nil || !startsProcess(stage) {
		return "", err
	}
	return CheckpointDir(s.setup.Checkpoints, it.job.Stage, it.order.Op), nil
}

// endCheckpoint removes the folder of an operation that has completed, as the journal
// says. One with something in it is what another attempt needs until that is in
// the log, and goes before the agent is told: then another attempt may have it.
func (s *slot) endCheckpoint(it *item) error {
	dir, err := s.checkpointOf(it)
	if err != nil || dir == "" {
		return err
	}
	failpoint.Reach("checkpoint-folder.before-removing")
	if !s.spare && isPristine(dir) && removeOrigin(dir) == nil && os.Rename(dir, s.spareCheckpoint()) == nil {
		s.spare = true
		return nil
	}
	if err := s.journal.store(); err != nil {
		return err
	}
	_ = removeCheckpoint(dir) // the operation has completed all the same, and the folder goes with the execution
	return nil
}

// isPristine reports whether a folder is as it was made.
func isPristine(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || info.Mode() != fs.ModeDir|0o700 {
		return false
	}
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close() //nolint:errcheck // it was only read
	_, err = d.Readdirnames(1)
	return errors.Is(err, io.EOF)
}

// makeCheckpointDir makes the folder unless there is one. What a program may
// have put in its place is removed.
func makeCheckpointDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		info, lerr := os.Lstat(dir)
		if lerr == nil && info.IsDir() {
			return nil
		}
		if err = errors.Join(lerr, os.RemoveAll(dir)); err == nil {
			err = os.Mkdir(dir, 0o700)
		}
	}
	failpoint.Reach("checkpoint-folder.after-making")
	if err != nil {
		return stint.Errorf(stint.Unavailable, "make checkpoint folder: %w", err)
	}
	return nil
}

// removeOrigin removes what says where a folder came from, which is most often
// not there: one system call finds that.
func removeOrigin(dir string) error {
	err := unix.Unlink(CheckpointOrigin(dir))
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return stint.Errorf(stint.Unavailable, "remove checkpoint: %w", err)
}
