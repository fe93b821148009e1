package object

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"stint/internal/failpoint"
)

// clear removes the staging folder, what a commit has renamed, and the folder if it
// is empty then.
func (o outputFolder) clear(ctx context.Context) error {
	if _, err := os.Lstat(o.stagingRoot()); errors.Is(err, fs.ErrNotExist) {
		return o.removeIfEmpty()
	}
	if err := o.clearStaging(ctx); err != nil {
		return err
	}
	return o.removeIfEmpty()
}

func (o outputFolder) clearStaging(ctx context.Context) error {
	unlock, err := o.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
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
	return o.removeStaging()
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
