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

// put takes the folder from any state to the output.
func (o outputFolder) put(ctx context.Context, in intent, overwrite bool) error {
	unlock, err := o.lockIfStaged(ctx)
	if err == nil && unlock == nil {
		unlock, err = o.lockUnstaged(ctx, in)
	}
	if err != nil || unlock == nil {
		return err
	}
	defer unlock()
	done, err := o.isCommitted(in.Manifest)
	switch {
	case err == nil && done:
		err = checkParts(o.dir, in.Manifest.Parts)
	case err == nil:
		err = o.commit(ctx, in, overwrite)
	}
	if err != nil {
		return err
	}
	return o.finish(ctx, in)
}

// lockUnstaged is lock for a commit without a staging root. What it may still have to do
// is to create _SUCCESS; unlock is nil if that has been done, as by another call of the
// commit, for which this one has waited.
func (o outputFolder) lockUnstaged(ctx context.Context, in intent) (unlock func(), err error) {
	if done, err := o.isFinished(ctx, in.Manifest); err != nil || done {
		return nil, err
	}
	switch stands, err := o.isCommitted(in.Manifest); {
	case err != nil:
		return nil, err
	case stands:
		return o.lock(ctx)
	}
	if _, err := os.Stat(o.dir); err != nil {
		return nil, failure(err, "output %q", o.dir)
	}
	return nil, o.nothingStaged(in)
}

func (o outputFolder) nothingStaged(in intent) error {
	return stint.Errorf(stint.Lost, "output %q: nothing is staged by %s", o.dir, in.Manifest.Execution)
}

// step lets a commit be stopped between any two changes.
func step(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &stint.Error{Code: stint.Canceled, Message: "commit output", Err: err}
	}
	return nil
}

// isFinished reports whether this very commit has nothing left to do. A staging root
// that a process has left which died between the last two steps is removed.
func (o outputFolder) isFinished(ctx context.Context, m Manifest) (bool, error) {
	if !exists(o.path(successName)) || exists(o.staging()) {
		return false, nil
	}
	done, err := o.isCommitted(m)
	if err == nil && done {
		err = checkParts(o.dir, m.Parts)
	}
	if err == nil && done && exists(o.stagingRoot()) {
		err = o.leave(ctx)
	}
	return done, err
}

// leave removes the staging root, if no execution has anything in it.
func (o outputFolder) leave(ctx context.Context) error {
	unlock, err := o.lockIfStaged(ctx)
	if err != nil || unlock == nil {
		return err
	}
	defer unlock()
	return o.removeStaging()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// isCommitted reports whether the manifest in the folder is this one. Another
// execution's, or one that cannot be understood, is dealt with as anything else
// in the way.
func (o outputFolder) isCommitted(m Manifest) (bool, error) {
	found, err := readManifestFile(o.path(manifestName))
	switch {
	case errors.Is(err, fs.ErrNotExist), stint.CodeOf(err) == stint.Invalid:
		return false, nil
	case err != nil:
		return false, err
	case found.Execution != m.Execution:
		return false, nil
	case found.equal(m):
		return true, nil
	case m.precedes(found):
		return false, refuseEarlier(o.dir, m, found)
	case found.isIncomplete():
		return false, nil
	default:
		return false, stint.Errorf(stint.Conflict, "output %q was committed by %s with other parts", o.dir, m.Execution)
	}
}

// commit takes the folder from any state before the manifest to the manifest.
func (o outputFolder) commit(ctx context.Context, in intent, overwrite bool) error {
	if _, err := os.Lstat(o.staging()); errors.Is(err, fs.ErrNotExist) {
		return errors.Join(o.nothingStaged(in), o.removeEmptyRoot())
	}
	if err := o.checkOthers(); err != nil {
		return err
	}
	begun, found, err := o.readIntent()
	if err != nil {
		return err
	}
	if found && !begun.equal(in) {
		if err := refuseEarlier(o.dir, in.Manifest, begun.Manifest); err != nil {
			return err
		}
		if err := o.retreat(begun); err != nil {
			return err
		}
		found = false
	}
	if !found {
		if err := o.reopen(ctx, in); err != nil {
			return err
		}
		if err := o.prepare(ctx, in, overwrite); err != nil {
			return err
		}
	}
	for i := range in.Staged {
		if err := o.renamePart(ctx, in, i); err != nil {
			return err
		}
	}
	if err := errors.Join(syncFolder(o.dir), step(ctx)); err != nil {
		return err
	}
	return o.putManifest(ctx, in.Manifest)
}

// checkOthers refuses while another execution's commit in this folder has begun.
func (o outputFolder) checkOthers() error {
	begun, err := filepath.Glob(filepath.Join(globLiteral(o.stagingRoot()), "x-*", intentName))
	if err != nil {
		return failure(err, "look for commits in %q", o.stagingRoot())
	}
	for _, path := range begun {
		if path != o.staged(intentName) {
			return stint.Errorf(stint.Conflict, "output %q: %s has begun to commit its output here and has not ended", o.dir, filepath.Base(filepath.Dir(path)))
		}
	}
	return nil
}

// globLiteral escapes a path for filepath.Glob.
func globLiteral(path string) string {
	b := make([]byte, 0, len(path))
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			b = append(b, '\\')
		}
		b = append(b, path[i])
	}
	return string(b)
}

// prepare makes sure that the output is whole and nothing is in its way, and
// writes the intent. An old output is touched only when the new one is known to be whole.
func (o outputFolder) prepare(ctx context.Context, in intent, overwrite bool) error {
	for i, name := range in.Staged {
		if err := checkSize(o.staged(name), in.Manifest.Parts[i].Bytes); err != nil {
			return err
		}
	}
	c, err := o.contents(ctx)
	if err != nil {
		return err
	}
	if err := checkFree(o.dir, c, overwrite); err != nil {
		return err
	}
	if c.isOutput() {
		if err := o.removeOld(ctx, c); err != nil {
			return err
		}
	}
	if err := step(ctx); err != nil {
		return err
	}
	failpoint.Reach("output.before-intent")
	return o.stageJSON(intentName, in)
}

// checkSize reports a staged part that is not there as it was reported.
func checkSize(path string, size int64) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return stint.Errorf(stint.Lost, "staged part %q is missing", path)
	case err != nil:
		return failure(err, "look at staged part %q", path)
	case !info.Mode().IsRegular() || info.Size() != size:
		return stint.Errorf(stint.Lost, "staged part %q has %d bytes, was written with %d", path, info.Size(), size)
	}
	return nil
}

// removeOld removes an output so that it stops being one first and its manifest goes last.
func (o outputFolder) removeOld(ctx context.Context, c contents) error {
	groups := [][]string{{successName}, c.parts, {manifestName}}
	for _, names := range groups {
		for _, name := range names {
			if err := step(ctx); err != nil {
				return err
			}
			if err := os.Remove(o.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return failure(err, "remove %q of the output that is replaced", o.path(name))
			}
			failpoint.Reach("output.after-removing-old")
		}
		if err := syncFolder(o.dir); err != nil {
			return err
		}
	}
	return nil
}

// stageJSON writes a value durably into the staging folder, in place of an older one.
func (o outputFolder) stageJSON(name string, v any) error {
	b, err := encodeJSON(v)
	if err != nil {
		return err
	}
	fresh := o.staged(name + ".new")
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failure(err, "remove %q", fresh)
	}
	if err := writeFile(fresh, b); err != nil {
		return err
	}
	failpoint.Reach("output-json.before-rename")
	if err := os.Rename(fresh, o.staged(name)); err != nil {
		return failure(err, "rename %q", fresh)
	}
	return syncFolder(o.staging())
}

// renamePart gives part i its name unless an earlier call has done so.
func (o outputFolder) renamePart(ctx context.Context, in intent, i int) error {
	if err := step(ctx); err != nil {
		return err
	}
	part := in.Manifest.Parts[i]
	from, to := o.staged(in.Staged[i]), o.path(part.Name)
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return checkSize(to, part.Bytes)
	}
	if err := checkSize(from, part.Bytes); err != nil {
		return err
	}
	failpoint.Reach("output.before-part")
	err := renameNew(from, to)
	failpoint.Reach("output.after-part")
	if errors.Is(err, fs.ErrExist) {
		return stint.Errorf(stint.Conflict, "output %q: somebody else has put %s there", o.dir, part.Name)
	}
	if err != nil {
		return failure(err, "rename %q to %q", from, to)
	}
	return nil
}

func (o outputFolder) putManifest(ctx context.Context, m Manifest) error {
	if err := o.stageJSON(manifestName, m); err != nil {
		return err
	}
	if err := step(ctx); err != nil {
		return err
	}
	failpoint.Reach("output.before-manifest")
	err := renameNew(o.staged(manifestName), o.path(manifestName))
	failpoint.Reach("output.after-manifest")
	if errors.Is(err, fs.ErrExist) {
		return stint.Errorf(stint.Conflict, "output %q: somebody else has put %s there", o.dir, manifestName)
	}
	if err != nil {
		return failure(err, "rename the manifest of %q", o.dir)
	}
	return syncFolder(o.dir)
}

// finish does what follows the manifest. An output that is without something may
// be committed again: only what says that its commit has begun goes away.
func (o outputFolder) finish(ctx context.Context, in intent) error {
	if err := step(ctx); err != nil {
		return err
	}
	if in.Manifest.isIncomplete() {
		return o.removeIntent()
	}
	if err := errors.Join(o.putSuccess(), step(ctx)); err != nil {
		return err
	}
	failpoint.Reach("output.after-success")
	return o.removeStaging()
}

// putSuccess creates _SUCCESS, unless it is there.
func (o outputFolder) putSuccess() error {
	if err := writeFile(o.path(successName), nil); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(o.dir)
}

func (o outputFolder) removeIntent() error {
	failpoint.Reach("output.before-removing-intent")
	if err := os.Remove(o.staged(intentName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failure(err, "remove %q", o.staged(intentName))
	}
	if !exists(o.staging()) {
		return nil
	}
	return syncFolder(o.staging())
}
