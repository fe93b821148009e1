package object

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"stint"
	"stint/internal/failpoint"
)

// reopenedName is the manifest of an output that is being taken back.
const reopenedName = "_reopened"

// reopen takes back this execution's own output that is without something, once
// it is known that what replaces it is whole: the manifest goes first, parts that
// are the same in both are staged again, the others are removed. Dead at any
// point, it goes on when it is called again.
func (o outputFolder) reopen(ctx context.Context, in intent) error {
	if err := o.takeManifest(in); err != nil {
		return err
	}
	old, err := readManifestFile(o.staged(reopenedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for i, part := range in.Manifest.Parts {
		if err := step(ctx); err != nil {
			return err
		}
		if err := o.stageAgain(part, in.Staged[i]); err != nil {
			return err
		}
	}
	if err := o.removeReopened(ctx, old); err != nil {
		return err
	}
	failpoint.Reach("reopen.before-forgetting-manifest")
	if err := os.Remove(o.staged(reopenedName)); err != nil {
		return failure(err, "remove %q", o.staged(reopenedName))
	}
	return errors.Join(syncFolder(o.staging()), step(ctx))
}

// takeManifest makes an output that is replaced no output any more.
func (o outputFolder) takeManifest(in intent) error {
	old, err := readManifestFile(o.path(manifestName))
	switch {
	case errors.Is(err, fs.ErrNotExist), stint.CodeOf(err) == stint.Invalid:
		return nil
	case err != nil:
		return err
	case old.Execution != in.Manifest.Execution:
		return nil // a whole one of ours would have been refused
	}
	if err := o.checkWhole(in, old); err != nil {
		return err
	}
	failpoint.Reach("reopen.before-manifest")
	if err := os.Rename(o.path(manifestName), o.staged(reopenedName)); err != nil {
		return failure(err, "rename the manifest of %q", o.dir)
	}
	failpoint.Reach("reopen.after-manifest")
	return errors.Join(syncFolder(o.staging()), syncFolder(o.dir))
}

// checkWhole looks for each part: staged, or under its name as the old manifest says.
func (o outputFolder) checkWhole(in intent, old Manifest) error {
	for i, part := range in.Manifest.Parts {
		err := checkSize(o.staged(in.Staged[i]), part.Bytes)
		if stint.CodeOf(err) == stint.Lost && slices.Contains(old.Parts, part) {
			err = checkSize(o.path(part.Name), part.Bytes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stageAgain renames a part back, unless it is staged.
func (o outputFolder) stageAgain(part ManifestPart, name string) error {
	if exists(o.staged(name)) {
		return nil
	}
	if err := renameNew(o.path(part.Name), o.staged(name)); err != nil {
		return failure(err, "rename %q back to %q", o.path(part.Name), o.staged(name))
	}
	failpoint.Reach("reopen.after-part")
	return nil
}

// removeReopened removes parts of an output that was taken back.
func (o outputFolder) removeReopened(ctx context.Context, old Manifest) error {
	for _, part := range old.Parts {
		if err := step(ctx); err != nil {
			return err
		}
		if err := os.Remove(o.path(part.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failure(err, "remove %q of the output that is replaced", o.path(part.Name))
		}
	}
	return errors.Join(syncFolder(o.staging()), syncFolder(o.dir))
}

// clearReopened removes what is left of an output that was taken back, unless
// another has come to be there.
func (o outputFolder) clearReopened(ctx context.Context) error {
	old, err := readManifestFile(o.staged(reopenedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if exists(o.path(manifestName)) {
		return nil
	}
	return o.removeReopened(ctx, old)
}
