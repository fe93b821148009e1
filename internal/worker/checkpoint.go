package worker

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

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
// checkpoint folder was restored. It goes when the folder goes.
func CheckpointOrigin(dir string) string { return dir + ".from" }

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

// endCheckpoint removes the folder of an operation that has completed; dir is
// empty if it had none.
func (s *slot) endCheckpoint(dir string) error {
	if dir == "" {
		return nil
	}
	failpoint.Reach("checkpoint-folder.before-removing")
	if s.spare || !isPristine(dir) || os.Rename(dir, s.spareCheckpoint()) != nil {
		return removeCheckpoint(dir)
	}
	s.spare = true
	return removeOrigin(dir)
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

// removeCheckpoint removes the folder of an operation that has completed.
func removeCheckpoint(dir string) error {
	err := os.Remove(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = removeAll(dir)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return removeOrigin(dir)
	}
	return stint.Errorf(stint.Unavailable, "remove checkpoint: %w", err)
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
