package object

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"stint"
	"stint/internal/failpoint"
)

// probeTries is how often a folder may go away under a probe: where none can be made, it
// is not found either.
const probeTries = 100

// probe creates the staging folder and tries what a commit does.
func (o outputFolder) probe(ctx context.Context, overwrite bool) (made bool, err error) {
	if err := o.checkKind(); err != nil {
		return false, err
	}
	c, err := o.contents(ctx)
	if err != nil {
		return false, err
	}
	begun, err := o.hasBegun()
	if err != nil {
		return false, err
	}
	if err := checkFree(o.dir, c, overwrite); err != nil && !begun {
		return false, err
	}
	for try := 1; ; try++ {
		folders, err := makeFolders(o.dir)
		if err == nil {
			made, err = o.probeStaging(ctx)
		}
		if err == nil {
			return made, nil
		}
		removeFolders(folders)
		if stint.CodeOf(err) != stint.NotFound || try == probeTries || ctx.Err() != nil {
			return false, err
		} // who clears the location for another execution has removed the folder while it was empty
	}
}

// hasBegun reports whether what lies in the folder is of an unfinished commit of
// this execution.
func (o outputFolder) hasBegun() (bool, error) {
	if _, begun, err := o.readIntent(); err != nil || begun {
		return begun, err
	}
	found, err := readManifestFile(o.path(manifestName))
	if errors.Is(err, fs.ErrNotExist) || stint.CodeOf(err) == stint.Invalid {
		return false, nil
	}
	return err == nil && found.Execution == o.execution && found.isIncomplete(), err
}

// checkKind refuses what can never be an output folder.
func (o outputFolder) checkKind() error {
	info, err := os.Stat(o.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return failure(err, "output %q", o.dir)
	case !info.IsDir():
		return stint.Errorf(stint.Invalid, "output %q is a file: expected a folder, or nothing", o.dir)
	}
	root, err := os.Lstat(o.stagingRoot())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return failure(err, "output %q", o.dir)
	case !root.IsDir():
		return stint.Errorf(stint.Invalid, "output %q: %s in it is not a folder", o.dir, stagingName)
	case idOf(root).dev != idOf(info).dev:
		return stint.Errorf(stint.Invalid, "output %q: %s in it lies on another file system", o.dir, stagingName)
	}
	return nil
}

// makeFolders creates a folder and those above it and returns what it created,
// outermost first, also with an error.
func makeFolders(path string) ([]string, error) {
	var missing []string
	for p := path; ; p = filepath.Dir(p) {
		info, err := os.Stat(p)
		if err == nil && info.IsDir() {
			break
		}
		if err == nil {
			return nil, stint.Errorf(stint.Invalid, "create folder %q: %q is a file", path, p)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return nil, failure(err, "create folder %q", path)
		}
		missing = append(missing, p)
	}
	var made []string
	for _, p := range slices.Backward(missing) {
		err := os.Mkdir(p, 0o777)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return made, failure(err, "create folder %q", path)
		}
		made = append(made, p)
		failpoint.Reach("folder.after-making")
		if err := syncFolder(filepath.Dir(p)); err != nil {
			return made, err
		}
	}
	return made, nil
}

// removeFolders undoes [makeFolders]; folders that others have filled meanwhile stay.
func removeFolders(made []string) {
	for _, p := range slices.Backward(made) {
		if os.Remove(p) != nil {
			return
		}
	}
}

// probeStaging creates the staging folder, unless it is there, and takes a file through
// all that a commit does with parts.
func (o outputFolder) probeStaging(ctx context.Context) (made bool, err error) {
	_, before := os.Lstat(o.stagingRoot())
	unlock, err := o.lock(ctx)
	if err != nil {
		if errors.Is(before, fs.ErrNotExist) {
			os.Remove(o.stagingRoot()) //nolint:errcheck,gosec // fails if others use it already
		}
		return false, err
	}
	defer unlock()
	err = os.Mkdir(o.staging(), 0o777)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return false, errors.Join(failure(err, "create folder %q", o.staging()), o.removeEmptyRoot())
	}
	made = err == nil
	failpoint.Reach("probe.after-staging")
	if err := o.writeProbe(); err != nil {
		if made {
			err = errors.Join(err, o.removeStaging())
		}
		return false, err
	}
	return made, errors.Join(syncFolder(o.stagingRoot()), syncFolder(o.dir))
}

// removeEmptyRoot removes the staging root if nothing but the lock is in it.
func (o outputFolder) removeEmptyRoot() error {
	entries, err := os.ReadDir(o.stagingRoot())
	if err != nil || len(entries) != 1 {
		return err
	}
	if err = os.RemoveAll(o.stagingRoot()); errors.Is(err, syscall.ENOTEMPTY) {
		return nil // somebody enters, who removes it again
	}
	return err
}

func (o outputFolder) writeProbe() error {
	inside, outside := o.staged(probeName), o.path(stagingName+probeName)
	for _, left := range []string{inside, outside} { // by a probe that died
		if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failure(err, "remove file %q", left)
		}
	}
	if err := writeFile(inside, []byte("stint\n")); err != nil {
		return err
	}
	if err := renameNew(inside, outside); err != nil {
		return failure(errors.Join(err, os.Remove(inside)), "rename a file from %q to %q", o.staging(), o.dir)
	}
	failpoint.Reach("probe.after-rename")
	if err := os.Remove(outside); err != nil {
		return failure(err, "remove file %q", outside)
	}
	return nil
}

// CreatePart creates a staged part, a file, of the given name, empty and open for reading
// and writing, in place of an older one. Its name is durable when CreatePart
// returns; the caller syncs its bytes before it counts as written. The staging
// folder must be there. Without it the execution was committed or cleared, which
// is [stint.Invalid] if other traces are there, or the file system that held it is
// not mounted: [stint.Unavailable].
func CreatePart(location string, x stint.ExecutionID, name string) (*os.File, error) {
	o, err := openFolder(location, x)
	if err != nil {
		return nil, err
	}
	if err := checkPartName(name); err != nil {
		return nil, err
	}
	return o.createPart(name)
}

func (o outputFolder) createPart(name string) (*os.File, error) {
	path := o.staged(name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failure(err, "remove older part %q", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, o.stagingIsGone()
	}
	if err != nil {
		return nil, failure(err, "create part %q", path)
	}
	failpoint.Reach("part.after-making")
	if err := syncFolder(o.staging()); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, nil
}

// stagingIsGone says whether there is hope that the staging folder comes back: not
// if the place that it was in is there, with what others have made of it.
func (o outputFolder) stagingIsGone() error {
	m, err := readManifestFile(o.path(manifestName))
	switch {
	case err == nil && m.Execution == o.execution:
		return stint.Errorf(stint.Invalid, "output %q: the staging folder of %s is gone: its output was committed there", o.dir, o.execution)
	case err == nil || exists(o.stagingRoot()):
		return stint.Errorf(stint.Invalid, "output %q: the staging folder of %s is gone: it was cleared, or somebody has removed it", o.dir, o.execution)
	}
	return stint.Errorf(stint.Unavailable, "output %q: the staging folder of %s is gone", o.dir, o.execution)
}

// checkPartName keeps staged names apart from our own, which begin with an underscore.
func checkPartName(name string) error {
	if name == "" || len(name) > 200 || isHidden(name) || name != filepath.Base(name) {
		return stint.Errorf(stint.Invalid, "staged part %.80q: expected a file name of 1 to 200 bytes that begins with neither . nor _", name)
	}
	for i := range len(name) {
		if name[i] < 0x20 || name[i] == 0x7f {
			return stint.Errorf(stint.Invalid, "staged part %.80q: control character at byte %d", name, i+1)
		}
	}
	return nil
}
