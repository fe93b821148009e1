package object

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/failpoint"
)

const (
	stagingName = "_stint"
	successName = "_SUCCESS"
	lockName    = "_lock"
)

// outputFolder is the folder of one execution's output: a [place].
type outputFolder struct {
	dir       string
	execution stint.ExecutionID
}

func (o outputFolder) String() string { return o.dir }

func openFolder(location string, x stint.ExecutionID) (outputFolder, error) {
	if _, err := stint.ParseExecutionID(string(x)); err != nil {
		return outputFolder{}, err
	}
	dir, err := Path(location)
	if err != nil {
		return outputFolder{}, err
	}
	return outputFolder{dir: dir, execution: x}, nil
}

// path returns the path of an entry of the folder itself.
func (o outputFolder) path(name string) string { return filepath.Join(o.dir, name) }

func (o outputFolder) stagingRoot() string { return o.path(stagingName) }

func (o outputFolder) staging() string { return filepath.Join(o.dir, stagingName, string(o.execution)) }

// staged returns the path of an entry of the execution's staging folder.
func (o outputFolder) staged(name string) string { return filepath.Join(o.staging(), name) }

// contents is what lies in an output folder, each list sorted.
type contents struct {
	success  bool
	manifest bool
	parts    []string // files that a commit may have named
	others   []string // other names that readers of the folder would take for data
}

func (c contents) isOutput() bool { return c.success || c.manifest || len(c.parts) > 0 }

// contents looks at the folder; a folder that is not there has none.
func (o outputFolder) contents(ctx context.Context) (contents, error) {
	var c contents
	err := readFolder(ctx, o.dir, func(e fs.DirEntry) error {
		name := e.Name()
		switch {
		case name == successName:
			c.success = true
		case name == manifestName:
			c.manifest = true
		case isPartName(name) && e.Type().IsRegular():
			c.parts = append(c.parts, name)
		case !isHidden(name):
			c.others = append(c.others, name)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return contents{}, err
	}
	slices.Sort(c.parts)
	slices.Sort(c.others)
	return c, nil
}

// checkFree refuses a place at which an output would replace or join something.
//
//nolint:revive // overwrite is the user's word, not control coupling
func checkFree(where string, c contents, overwrite bool) error {
	if c.isOutput() && !overwrite {
		return stint.Errorf(stint.Conflict, "output %q exists already: it holds %s; remove it, or run with --overwrite", where, c.evidence())
	}
	for _, name := range c.others {
		if strings.HasPrefix(name, "part-") {
			return stint.Errorf(stint.Conflict, "output %q holds %.80q, which cannot be replaced: name an empty or new folder", where, name)
		}
		if !c.success && !c.manifest {
			return stint.Errorf(stint.Conflict, "output %q is not empty and not an output: it holds %.80q; name an empty or new folder", where, name)
		}
	}
	return nil
}

func (c contents) evidence() string {
	switch {
	case c.success:
		return successName
	case c.manifest:
		return manifestName
	}
	return c.parts[0]
}

// lock keeps every other commit, clearing and probe of the folder out until
// unlock is called or the process dies. It creates the staging root if needed.
func (o outputFolder) lock(ctx context.Context) (unlock func(), err error) {
	for {
		if err := step(ctx); err != nil {
			return nil, err
		}
		if err := os.Mkdir(o.stagingRoot(), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, failure(err, "create folder %q", o.stagingRoot())
		}
		if unlock, err := o.lockIfStaged(ctx); unlock != nil || err != nil {
			return unlock, err
		} // the one before us has just removed the staging root
	}
}

// lockIfStaged is lock for who has nothing to do without a staging root: then unlock
// is nil. A call that comes late so puts nothing into an output that is complete.
func (o outputFolder) lockIfStaged(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(o.stagingRoot(), lockName)
	for {
		if err := step(ctx); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o666)
		if errors.Is(err, fs.ErrNotExist) && !isLink(o.stagingRoot()) {
			return nil, nil //nolint:nilnil // nothing is staged
		}
		if err != nil {
			return nil, failure(err, "create file %q", path)
		}
		if err := flock(ctx, f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// Only the file that still has the name keeps others out.
		if mine, err := f.Stat(); err == nil {
			if named, err := os.Lstat(path); err == nil && os.SameFile(mine, named) {
				return func() { f.Close() }, nil //nolint:errcheck,gosec // nothing was written
			}
		}
		f.Close() //nolint:errcheck,gosec // nothing was written
	}
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// flock waits for the lock. A file system without locks does without: there, two
// commits of one output at the same time are not kept apart.
func flock(ctx context.Context, f *os.File) error {
	const pause = 10 * time.Millisecond
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil, isAny(err, syscall.ENOLCK, syscall.ENOSYS, syscall.EOPNOTSUPP):
			return nil
		case !isAny(err, syscall.EWOULDBLOCK, syscall.EINTR):
			return failure(err, "lock %q", f.Name())
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return &stint.Error{Code: stint.Canceled, Message: "lock " + f.Name(), Err: ctx.Err()}
		}
	}
}

// removeStaging removes the execution's staging folder, and the root if no other
// execution has one. The lock is held and ends with the root.
func (o outputFolder) removeStaging() error {
	if err := os.RemoveAll(o.staging()); err != nil {
		return failure(err, "remove staging folder %q", o.staging())
	}
	failpoint.Reach("staging.after-removing")
	entries, err := os.ReadDir(o.stagingRoot())
	if err != nil {
		return failure(err, "read folder %q", o.stagingRoot())
	}
	if len(entries) > 1 || (len(entries) == 1 && entries[0].Name() != lockName) {
		return syncFolder(o.stagingRoot())
	}
	if err := os.RemoveAll(o.stagingRoot()); err != nil && !errors.Is(err, syscall.ENOTEMPTY) { // somebody enters, who removes it again
		return failure(err, "remove folder %q", o.stagingRoot())
	}
	failpoint.Reach("staging.after-removing-root")
	return syncFolder(o.dir)
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return failure(err, "open folder %q", path)
	}
	// Some file systems cannot sync folders and say so with EINVAL.
	if err := cmp.Or(failpoint.Error("folder.before-sync"), d.Sync()); err != nil && !errors.Is(err, syscall.EINVAL) {
		return errors.Join(failure(err, "sync folder %q", path), d.Close())
	}
	if err := d.Close(); err != nil {
		return failure(err, "close folder %q", path)
	}
	return nil
}

// renameNew renames a file but never replaces one: the error is fs.ErrExist then.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if !isAny(err, syscall.EINVAL, syscall.ENOSYS, syscall.EOPNOTSUPP) {
		return err
	}
	// The file system cannot do it in one step; the lock keeps our own kind out.
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

// writeFile makes a file with these bytes durable under a name that is not taken.
func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return failure(err, "create file %q", path)
	}
	_, err = f.Write(data)
	if err == nil {
		err = cmp.Or(failpoint.Error("output-file.before-sync"), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return failure(errors.Join(err, os.Remove(path)), "write file %q", path)
	}
	return nil
}
