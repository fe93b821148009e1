package object

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/failpoint"
)

const (
	commitTries  = 10 // when other calls come between
	copiedAtOnce = 8
)

// begun is what a commit in a bucket is about to do: an intent, and what it found.
type begun struct {
	intent
	Replaces string   `json:"replaces,omitempty"` // ETag of what had the manifest's name; empty: nothing had
	Success  bool     `json:"success,omitempty"`  // there was a _SUCCESS
	Remove   []string `json:"remove,omitempty"`   // names that stand for data and are none of the manifest's
	Unstage  []string `json:"unstage,omitempty"`  // staged names of a commit that this one follows

	etag string // of the object that says so; empty: there is none
}

func decodeBegun(b []byte) (begun, error) {
	in, err := decodeIntent(b)
	if err != nil {
		return begun{}, err
	}
	var out begun
	if err := json.Unmarshal(b, &out); err != nil {
		return begun{}, stint.Errorf(stint.Invalid, "decode commit: %w", err)
	}
	for _, name := range out.Remove {
		if !isPartName(name) {
			return begun{}, stint.Errorf(stint.Invalid, "commit: %.80q to be removed is not a part", name)
		}
	}
	for _, name := range out.Unstage {
		if err := checkPartName(name); err != nil {
			return begun{}, err
		}
	}
	out.intent = in
	return out, nil
}

func decodeTop(b []byte, etag string) top {
	t := top{etag: etag}
	var r replaced
	if json.Unmarshal(b, &r) == nil && r.Replacing != "" {
		t.replacing, t.remove = r.Replacing, slices.DeleteFunc(r.Remove, func(name string) bool { return !isPartName(name) })
		return t
	}
	t.manifest, t.bad = decodeManifest(b)
	if t.bad != nil {
		t.manifest = Manifest{}
	}
	return t
}

// committed reports whether what has the manifest's name is this one. Another
// execution's, or what is none, is dealt with as anything else in the way.
func (o outputPrefix) committed(t top, m Manifest) (bool, error) {
	switch {
	case !t.isOf(m.Execution):
		return false, nil
	case t.manifest.equal(m):
		return true, nil
	case m.precedes(t.manifest):
		return false, refuseEarlier(o.String(), m, t.manifest)
	case t.manifest.isIncomplete():
		return false, nil
	}
	return false, stint.Errorf(stint.Conflict, "output %q was committed by %s with other parts", o, m.Execution)
}

func (o outputPrefix) isFinished(ctx context.Context, m Manifest) (bool, error) {
	success, err := o.exists(ctx, o.at(successName))
	if err != nil || !success {
		return false, err
	}
	t, err := o.readTop(ctx)
	if err != nil {
		return false, err
	}
	if done, err := o.committed(t, m); err != nil || !done {
		return false, err
	}
	staged, err := o.stagedParts(ctx)
	if err != nil || len(staged) > 0 {
		return false, err
	}
	b, err := o.readBegun(ctx)
	if err != nil || b.isOf(o.execution) {
		return false, err
	}
	return true, o.checkParts(ctx, m.Parts)
}

// put takes the place from any state to the output. It looks again after every
// change that decides whose commit goes on.
func (o outputPrefix) put(ctx context.Context, in intent, overwrite bool) error {
	copied := false // by this call
	for range commitTries {
		if err := step(ctx); err != nil {
			return err
		}
		t, err := o.readTop(ctx)
		if err != nil {
			return err
		}
		done, err := o.committed(t, in.Manifest)
		if err != nil {
			return err
		}
		if done {
			if err := o.checkParts(ctx, in.Manifest.Parts); err != nil {
				return err
			}
			return o.finish(ctx, in)
		}
		b, err := o.readBegun(ctx)
		if err != nil {
			return err
		}
		if b.isOf(o.execution) && b.equal(in) && b.Manifest.isSameTurn(in.Manifest) {
			var some bool
			some, err = o.act(ctx, b)
			copied = copied || some
		} else {
			err = o.begin(ctx, in, t, b, overwrite)
		}
		if err != nil && !o.endedMeanwhile(ctx, in.Manifest, err) {
			var made []string
			if copied {
				made = partNames(in.Manifest.Parts)
			}
			return errors.Join(err, o.tidyUp(ctx, made))
		}
	}
	return stint.Errorf(stint.Unavailable, "output %q: others change it all the time", o)
}

// tidyUp clears what a commit has made that came after its execution was cleared, or
// went on meanwhile. The parts that it has copied since are nobody's if nothing says
// that a commit is going on here, or has ended.
func (o outputPrefix) tidyUp(ctx context.Context, made []string) error {
	open, err := o.exists(ctx, o.staged(openName))
	if err != nil || open {
		return err
	}
	if err := o.clear(ctx, Turn{Execution: o.execution}); err != nil || len(made) == 0 {
		return err
	}
	t, err := o.readTop(ctx)
	if err != nil || t.etag != "" {
		return err
	}
	b, err := o.readBegun(ctx)
	if err != nil || b.etag != "" {
		return err
	}
	return o.removeNamed(ctx, made, o.at)
}

// outrun says that somebody else has changed what was looked at: look again.
func (o outputPrefix) outrun(err error) error {
	if stint.CodeOf(err) == stint.Conflict {
		return &stint.Error{Code: stint.Unknown, Message: "output " + o.String(), Err: err}
	}
	return err
}

// begin makes sure that the output is whole and nothing is in its way, and writes
// the intent: in place of none, of another of this execution, or of one whose
// commit is done.
func (o outputPrefix) begin(ctx context.Context, in intent, t top, before begun, overwrite bool) error {
	theirs := before.etag != "" && !before.isOf(o.execution)
	if !theirs {
		if err := refuseEarlier(o.String(), in.Manifest, before.Manifest); err != nil {
			return err
		}
	} else if err := o.checkEnded(ctx, t, before); err != nil {
		return err
	}
	staged, err := o.stagedParts(ctx)
	if err != nil {
		return err
	}
	if _, open := staged[openName]; !open {
		return stint.Errorf(stint.Lost, "output %q: nothing is staged by %s", o, o.execution)
	}
	for i, name := range in.Staged {
		if err := o.checkPart(staged, name, in.Manifest.Parts[i].Bytes); err != nil {
			return err
		}
	}
	b := begun{intent: in, Replaces: t.etag, Success: before.Success && !theirs && before.Replaces == t.etag}
	own := t.manifest.Parts
	if !t.isOf(o.execution) {
		own = nil
	}
	if !theirs {
		own = append(slices.Clone(own), before.Manifest.Parts...)
		b.Unstage = minus(before.Staged, in.Staged)
	}
	if err := o.look(ctx, &b, t, own, append(before.Remove, partNames(own)...), overwrite); err != nil {
		return err
	}
	if err := step(ctx); err != nil {
		return err
	}
	data, err := encodeJSON(b)
	if err != nil {
		return err
	}
	_, err = o.write(ctx, o.commitKey(), data, condition{absent: before.etag == "", etag: before.etag})
	return o.outrun(err)
}

// checkEnded refuses while the commit of another execution goes on: its output is not
// whole, and the execution was not cleared either.
func (o outputPrefix) checkEnded(ctx context.Context, t top, before begun) error {
	x := before.Manifest.Execution
	if t.isOf(x) && t.manifest.equal(before.Manifest) {
		return nil
	}
	if over, err := o.isOver(ctx, x); err != nil || over {
		return err
	}
	return stint.Errorf(stint.Conflict, "output %q: %s has begun to commit its output here and has not ended", o, x)
}

// isOver reports whether nothing is staged by an execution, and nothing can be.
// Its commit makes no output any more.
func (o outputPrefix) isOver(ctx context.Context, x stint.ExecutionID) (bool, error) {
	staged, err := outputPrefix{o.prefix, x}.stagedParts(ctx)
	return err == nil && len(staged) == 0, err
}

// isFree reports whether what has the manifest's name is in no commit's way: nothing,
// or what a commit has left there that came after its execution was cleared.
func (o outputPrefix) isFree(ctx context.Context, t top) (bool, error) {
	if t.etag == "" || t.replacing == "" {
		return t.etag == "", nil
	}
	return o.isOver(ctx, t.replacing)
}

// look enters what lies at the place and has to go. own are parts that this
// execution has given their names before.
func (o outputPrefix) look(ctx context.Context, b *begun, t top, own []ManifestPart, remove []string, overwrite bool) error {
	c, err := o.contents(ctx)
	if err != nil {
		return err
	}
	b.Success = c.success || b.Success
	remove = append(remove, c.parts...)
	c.parts = minus(c.parts, partNames(own))
	free, err := o.isFree(ctx, t)
	if err != nil {
		return err
	}
	if free || t.isOf(o.execution) || t.replacing == o.execution {
		c.manifest = false
	}
	if err := checkFree(o.String(), c, overwrite); err != nil {
		return err
	}
	slices.Sort(remove)
	b.Remove = minus(slices.Compact(remove), partNames(b.Manifest.Parts))
	return nil
}

func partNames(parts []ManifestPart) []string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = p.Name
	}
	return out
}

// minus returns what is in the first list and not in the second.
func minus(list, in []string) []string {
	known := make(map[string]bool, len(in))
	for _, s := range in {
		known[s] = true
	}
	var out []string
	for _, s := range list {
		if !known[s] {
			out = append(out, s)
		}
	}
	return out
}

// act takes the place from the intent to the manifest. It says whether it has begun
// to copy parts.
func (o outputPrefix) act(ctx context.Context, b begun) (copied bool, err error) {
	failpoint.Reach("bucket-output.after-intent")
	free, err := o.takeTop(ctx, b)
	if err != nil {
		return false, err
	}
	if err := o.checkNotCleared(ctx); err != nil { // who clears deletes _staging before it looks for marks
		return false, err
	}
	failpoint.Reach("bucket-output.before-parts")
	if err := o.removeNamed(ctx, b.Unstage, o.staged); err != nil {
		return false, err
	}
	if err := o.copyParts(ctx, b); err != nil {
		return true, err
	}
	failpoint.Reach("bucket-output.after-parts")
	if err := o.removeNamed(ctx, b.Remove, o.at); err != nil {
		return true, err
	}
	if err := o.checkParts(ctx, b.Manifest.Parts); err != nil {
		return true, &stint.Error{Code: stint.Unavailable, Message: "what was copied is not there", Err: err}
	}
	if now, err := o.readBegun(ctx); err != nil || now.etag != b.etag {
		return true, orElse(err, stint.Errorf(stint.Unknown, "output %q: another call has ended the commit", o))
	}
	if err := step(ctx); err != nil {
		return true, err
	}
	data, err := encodeJSON(b.Manifest)
	if err != nil {
		return true, err
	}
	failpoint.Reach("bucket-output.before-manifest")
	if _, err = o.write(ctx, o.at(manifestName), data, free); err != nil {
		return true, o.outrun(err)
	}
	failpoint.Reach("bucket-output.after-manifest")
	return true, step(ctx)
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// checkNotCleared refuses to go on with a commit of which nothing is staged any more.
func (o outputPrefix) checkNotCleared(ctx context.Context) error {
	open, err := o.exists(ctx, o.staged(openName))
	if err == nil && !open {
		err = stint.Errorf(stint.Lost, "output %q: nothing is staged by %s", o, o.execution)
	}
	return err
}

// takeTop puts a mark where the manifest will be, in place of that of an output that
// is replaced, which is none any more. It returns the condition under which the
// manifest is written: while this very mark is there, which clearing replaces.
func (o outputPrefix) takeTop(ctx context.Context, b begun) (condition, error) {
	t, err := o.readTop(ctx)
	switch {
	case err != nil:
		return condition{}, err
	case t.replacing == o.execution:
		return condition{etag: t.etag}, nil
	case t.isOf(o.execution) && t.manifest.equal(b.Manifest):
		return condition{}, stint.Errorf(stint.Unknown, "output %q: another call has ended the commit", o)
	case t.etag != "" && t.etag != b.Replaces:
		if free, err := o.isFree(ctx, t); err != nil || !free {
			return condition{}, orElse(err, stint.Errorf(stint.Conflict, "output %q: somebody else has put %s there", o, manifestName))
		}
	}
	if err := o.checkNotCleared(ctx); err != nil { // no mark is left behind
		return condition{}, err
	}
	failpoint.Reach("bucket-output.before-taking-manifest")
	if err := o.removeSuccess(ctx, b); err != nil {
		return condition{}, err
	}
	etag, err := o.putMark(ctx, t, nil)
	if stint.CodeOf(err) == stint.Conflict { // the mark was another's, perhaps
		return condition{}, errors.Join(o.outrun(err), o.mark(ctx, b))
	}
	if err != nil {
		return condition{}, err
	}
	return condition{etag: etag}, step(ctx)
}

// putMark writes that a commit of the execution, or its end, has taken what had the
// manifest's name. remove are parts that are to go then. No two marks are the same.
func (o outputPrefix) putMark(ctx context.Context, t top, remove []string) (etag string, err error) {
	data, err := encodeJSON(replaced{Format: manifestFormat, Replacing: o.execution, Call: rand.Text(), Remove: remove})
	if err != nil {
		return "", err
	}
	return o.write(ctx, o.at(manifestName), data, condition{absent: t.etag == "", etag: t.etag})
}

// removeSuccess removes the mark of an output that is replaced.
func (o outputPrefix) removeSuccess(ctx context.Context, b begun) error {
	if !b.Success {
		return nil
	}
	return errors.Join(o.remove(ctx, o.at(successName)), step(ctx))
}

// mark gives an output that stays the mark back that may have been taken from it.
func (o outputPrefix) mark(ctx context.Context, b begun) error {
	t, err := o.readTop(ctx)
	if err != nil {
		return err
	}
	return o.putSuccess(ctx, b.Success && t.isWhole())
}

// copyParts gives the parts their names. What has its name, in the version that is
// staged, has got it from a call before.
func (o outputPrefix) copyParts(ctx context.Context, b begun) error {
	staged, err := o.stagedParts(ctx)
	if err != nil {
		return err
	}
	there, err := o.finals(ctx)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(copiedAtOnce)
	for i, part := range b.Manifest.Parts {
		from, ok := staged[b.Staged[i]]
		if to, named := there[part.Name]; ok && named && to.etag == from.etag && to.size == part.Bytes {
			continue
		}
		if err := o.checkPart(staged, b.Staged[i], part.Bytes); err != nil {
			return orElse(g.Wait(), err)
		}
		g.Go(func() error {
			if err := step(gctx); err != nil {
				return err
			}
			return o.copy(gctx, o.bucket, from.key, from.etag, from.size, o.at(part.Name))
		})
	}
	err = g.Wait()
	if code := stint.CodeOf(err); code == stint.NotFound || code == stint.Conflict {
		return stint.Errorf(stint.Lost, "output %q: a staged part is gone or was changed: %w", o, err)
	}
	return orElse(err, step(ctx))
}

// endedMeanwhile reports whether an error may come from another call that has
// changed what this one has seen: of the same commit, which has come to its end.
func (o outputPrefix) endedMeanwhile(ctx context.Context, m Manifest, err error) bool {
	code := stint.CodeOf(err)
	if code == stint.NotFound || code == stint.Conflict || code == stint.Lost {
		t, err := o.readTop(ctx)
		return err == nil && t.isOf(m.Execution) && t.manifest.equal(m)
	}
	return code == stint.Unknown
}

func (o outputPrefix) removeNamed(ctx context.Context, list []string, key func(string) string) error {
	for chunk := range slices.Chunk(list, pageLength) {
		keys := make([]string, len(chunk))
		for i, name := range chunk {
			keys[i] = key(name)
		}
		if err := o.remove(ctx, keys...); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// finish does what follows the manifest. An output that is without something may
// be committed again: only what says that its commit has begun goes away.
func (o outputPrefix) finish(ctx context.Context, in intent) error {
	if err := step(ctx); err != nil {
		return err
	}
	if in.Manifest.isIncomplete() {
		return o.removeBegun(ctx)
	}
	if err := errors.Join(o.putSuccess(ctx, true), o.keepSuccess(ctx, in.Manifest), step(ctx)); err != nil {
		return err
	}
	failpoint.Reach("bucket-output.after-success")
	if err := o.removeStaged(ctx); err != nil {
		return err
	}
	failpoint.Reach("bucket-output.after-removing-staged")
	return o.removeBegun(ctx)
}

// keepSuccess removes _SUCCESS again if the output that it was written for has been
// taken back, or is being replaced: it came too late.
func (o outputPrefix) keepSuccess(ctx context.Context, m Manifest) error {
	t, err := o.readTop(ctx)
	if err != nil || t.isOf(m.Execution) && t.manifest.equal(m) || t.isWhole() {
		return err
	}
	return o.dropSuccess(ctx)
}

// dropSuccess removes _SUCCESS, and gives it back to a whole output that has come
// meanwhile.
func (o outputPrefix) dropSuccess(ctx context.Context) error {
	if err := errors.Join(o.remove(ctx, o.at(successName)), step(ctx)); err != nil {
		return err
	}
	t, err := o.readTop(ctx)
	if err != nil {
		return err
	}
	return o.putSuccess(ctx, t.isWhole())
}

// putSuccess writes _SUCCESS if it is wanted and not there.
//
//nolint:revive // wanted is what the intent says
func (o outputPrefix) putSuccess(ctx context.Context, wanted bool) error {
	if !wanted {
		return nil
	}
	there, err := o.exists(ctx, o.at(successName))
	if err != nil || there {
		return err
	}
	_, err = o.write(ctx, o.at(successName), nil, condition{})
	return err
}

// removeStaged removes what the execution has staged, and uploads of it that were
// broken off.
func (o outputPrefix) removeStaged(ctx context.Context) error {
	if err := o.remove(ctx, o.staged(openName)); err != nil { // nothing more is staged
		return err
	}
	if err := o.abortUploads(ctx, o.staged(""), 0); err != nil {
		return err
	}
	staged, err := o.stagedParts(ctx)
	if err != nil {
		return err
	}
	var list []string
	for name := range staged {
		list = append(list, name)
	}
	return o.removeNamed(ctx, list, o.staged)
}

// removeBegun removes the intent, if it is of this execution.
func (o outputPrefix) removeBegun(ctx context.Context) error {
	for range commitTries {
		b, err := o.readBegun(ctx)
		if err != nil || !b.isOf(o.execution) {
			return err
		}
		if err := o.removeVersion(ctx, o.commitKey(), b.etag); stint.CodeOf(err) != stint.Conflict {
			return err
		}
	}
	return stint.Errorf(stint.Unavailable, "output %q: others change it all the time", o)
}

// clear removes what the execution has staged, what a commit that has not come to its
// manifest has made, and the output of a turn. First of all nothing can be staged any
// more: a commit looks for that before it puts its mark, and again when it has it, and
// of one that has looked, the mark is replaced here.
func (o outputPrefix) clear(ctx context.Context, undo Turn) error {
	if err := o.remove(ctx, o.staged(openName)); err != nil {
		return err
	}
	if err := o.takeBack(ctx, undo); err != nil {
		return err
	}
	b, err := o.readBegun(ctx)
	if err != nil {
		return err
	}
	if b.isOf(o.execution) {
		if err := o.retreat(ctx, b); err != nil {
			return err
		}
	}
	if err := o.removeMarked(ctx); err != nil {
		return err
	}
	failpoint.Reach("bucket-clear.before-removing-staged")
	if err := o.removeStaged(ctx); err != nil {
		return err
	}
	failpoint.Reach("bucket-clear.after-removing-staged")
	return o.removeBegun(ctx)
}

// takeBack puts a mark of its own in place of the manifest of an output of a turn, and
// of a mark that a commit of the execution has put, which can write no manifest then.
// The mark says which parts are to go.
func (o outputPrefix) takeBack(ctx context.Context, undo Turn) error {
	for range commitTries {
		t, err := o.readTop(ctx)
		stands := t.etag != "" && t.manifest.isOf(undo)
		if err != nil || !stands && t.replacing != o.execution {
			return err
		}
		remove := t.remove
		if stands {
			remove = partNames(t.manifest.Parts)
			if err := errors.Join(o.remove(ctx, o.at(successName)), step(ctx)); err != nil {
				return err
			}
		}
		_, err = o.putMark(ctx, t, remove)
		if err == nil {
			return o.dropSuccess(ctx) // the commit may have written it meanwhile
		}
		if stint.CodeOf(err) != stint.Conflict {
			return err
		}
		if t, err = o.readTop(ctx); err != nil {
			return err
		}
		if t.isWhole() && !t.manifest.isOf(undo) {
			return o.putSuccess(ctx, stands)
		}
	}
	return stint.Errorf(stint.Unavailable, "output %q: others change it all the time", o)
}

// removeMarked removes a mark of the execution, and the parts that it names.
func (o outputPrefix) removeMarked(ctx context.Context) error {
	for range commitTries {
		t, err := o.readTop(ctx)
		if err != nil || t.replacing != o.execution {
			return err
		}
		if err := o.removeNamed(ctx, t.remove, o.at); err != nil {
			return err
		}
		if err := o.removeVersion(ctx, o.at(manifestName), t.etag); stint.CodeOf(err) != stint.Conflict {
			return err
		}
	}
	return stint.Errorf(stint.Unavailable, "output %q: others change it all the time", o)
}

// retreat takes back a commit that has begun, unless it has come to its manifest.
func (o outputPrefix) retreat(ctx context.Context, b begun) error {
	t, err := o.readTop(ctx)
	if err != nil {
		return err
	}
	if t.isOf(o.execution) && t.manifest.equal(b.Manifest) {
		return o.putSuccess(ctx, !b.Manifest.isIncomplete())
	}
	if t.etag != "" && t.replacing != o.execution { // it was not replaced: of what has names nothing is known to be ours
		return o.putSuccess(ctx, b.Success && t.isWhole())
	}
	return o.removeNamed(ctx, append(b.Remove, partNames(b.Manifest.Parts)...), o.at)
}
