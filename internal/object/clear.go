package object

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"stint"
	"stint/internal/failpoint"
)

// clear removes the staging folder, what a commit has renamed, the output of a turn,
// and the folder if it is empty then. A commit that comes later finds nothing staged.
func (o outputFolder) clear(ctx context.Context, undo Turn) error {
	unlock, err := o.lockIfStaged(ctx)
	if err != nil {
		return err
	}
	if unlock == nil {
		stands, err := o.stands(undo)
		if err != nil {
			return err
		}
		if !stands {
			return o.removeIfEmpty()
		}
		if unlock, err = o.lock(ctx); err != nil {
			return err
		}
	}
	err = o.clearStaging(ctx, undo)
	unlock()
	if err != nil {
		return err
	}
	return o.removeIfEmpty()
}

// clearStaging is clear under the lock.
func (o outputFolder) clearStaging(ctx context.Context, undo Turn) error {
	if err := o.takeBack(ctx, undo); err != nil {
		return err
	}
	in, begun, err := o.readIntent()
	if err != nil {
		return err
	}
	if begun {
		committed, err := o.isCommitted(in.Manifest)
		if err != nil {
			return err
		}
		switch {
		case !committed:
			err = o.retreat(in)
		case !in.Manifest.isIncomplete():
			err = o.putSuccess()
		}
		if err != nil {
			return err
		}
	}
	failpoint.Reach("clear.before-removing-staging")
	if err := o.clearReopened(ctx); err != nil {
		return err
	}
	if err := os.Remove(o.path(stagingName + probeName)); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a probe that died
		return failure(err, "remove file %q", o.path(stagingName+probeName))
	}
	return o.removeStaging()
}

// stands reports whether the output of a turn is there.
func (o outputFolder) stands(t Turn) (bool, error) {
	m, err := readManifestFile(o.path(manifestName))
	if errors.Is(err, fs.ErrNotExist) || stint.CodeOf(err) == stint.Invalid {
		return false, nil
	}
	return err == nil && m.isOf(t), err
}

// takeBack makes the output of a turn none any more. Its manifest goes to the staging
// folder, and says there which parts are to go.
func (o outputFolder) takeBack(ctx context.Context, t Turn) error {
	if stands, err := o.stands(t); err != nil || !stands {
		return err
	}
	if err := os.Mkdir(o.staging(), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return failure(err, "create folder %q", o.staging())
	}
	if err := os.Remove(o.path(successName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failure(err, "remove %q", o.path(successName))
	}
	if err := errors.Join(syncFolder(o.stagingRoot()), syncFolder(o.dir), step(ctx)); err != nil {
		return err
	}
	if err := os.Rename(o.path(manifestName), o.staged(reopenedName)); err != nil {
		return failure(err, "rename the manifest of %q", o.dir)
	}
	return errors.Join(syncFolder(o.staging()), syncFolder(o.dir), step(ctx))
}

func (o outputFolder) removeIfEmpty() error {
	err := os.Remove(o.dir)
	if err == nil {
		return syncFolder(filepath.Dir(o.dir))
	}
	// Not empty, a mount point, or in a folder that is not ours to change: it stays.
	return nil
}

// retreat takes back the renames of a commit and then its intent.
func (o outputFolder) retreat(in intent) error {
	for i, part := range in.Manifest.Parts {
		from, to := o.path(part.Name), o.staged(in.Staged[i])
		if _, err := os.Lstat(to); err == nil {
			continue // never renamed: what has its final name is somebody else's
		}
		if err := renameNew(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failure(err, "rename %q back to %q", from, to)
		}
		failpoint.Reach("retreat.after-part")
	}
	if err := errors.Join(syncFolder(o.staging()), syncFolder(o.dir)); err != nil {
		return err
	}
	failpoint.Reach("retreat.before-removing-intent")
	if err := os.Remove(o.staged(intentName)); err != nil {
		return failure(err, "remove %q", o.staged(intentName))
	}
	return syncFolder(o.staging())
}
