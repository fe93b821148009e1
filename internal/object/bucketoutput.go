package object

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/zeebo/xxh3"

	"stint"
)

const (
	openName  = "_staging" // says that the execution may stage parts
	probeName = "_probe"   // what takes, in a probe, the way of a part
)

// outputPrefix is the place of one execution's output in a bucket: a [place]. The
// package's documentation has the protocol.
type outputPrefix struct {
	prefix
	execution stint.ExecutionID
}

// commitKey names the intent of the one commit that may go on at the place.
func (o outputPrefix) commitKey() string { return o.at(stagingName + "/" + intentName) }

// staged returns the key of what the execution has staged under a name.
func (o outputPrefix) staged(name string) string {
	return o.at(stagingName + "/" + string(o.execution) + "/" + name)
}

// contents looks at what lies directly below the prefix.
func (o outputPrefix) contents(ctx context.Context) (contents, error) {
	var c contents
	below := o.at("")
	err := o.each(ctx, minio.ListObjectsOptions{Prefix: below}, func(f found) bool {
		name := strings.TrimSuffix(f.key[len(below):], "/")
		switch {
		case name == "" || f.isFolder() && isHidden(name):
		case name == successName:
			c.success = true
		case name == manifestName:
			c.manifest = true
		case isPartName(name) && !f.isFolder():
			c.parts = append(c.parts, name)
		case !isHidden(name):
			c.others = append(c.others, name)
		}
		return true
	})
	slices.Sort(c.parts)
	slices.Sort(c.others)
	return c, err
}

// stagedParts returns what the execution has staged, by name.
func (o outputPrefix) stagedParts(ctx context.Context) (map[string]found, error) {
	return o.below(ctx, o.staged(""))
}

// below returns the objects below a prefix by what follows it.
func (o outputPrefix) below(ctx context.Context, prefix string) (map[string]found, error) {
	list, err := o.allBelow(ctx, prefix, MaxObjects)
	if err != nil {
		return nil, err
	}
	out := make(map[string]found, len(list))
	for _, f := range list {
		out[f.key[len(prefix):]] = f
	}
	return out, nil
}

func (o outputPrefix) probe(ctx context.Context, overwrite bool) (made bool, err error) {
	if o.key != "" {
		there, err := o.exists(ctx, o.key)
		switch {
		case err != nil:
			return false, failure(err, "output %q", o)
		case there:
			return false, stint.Errorf(stint.Invalid, "output %q is an object: expected what keys begin with, or nothing", o)
		}
	}
	c, err := o.contents(ctx)
	if err != nil {
		return false, err
	}
	t, err := o.readTop(ctx)
	if err != nil {
		return false, err
	}
	begun, err := o.hasBegun(ctx, t)
	if err != nil {
		return false, err
	}
	free, err := o.isFree(ctx, t)
	if err != nil {
		return false, err
	}
	c.manifest = c.manifest && !free
	if err := checkFree(o.String(), c, overwrite); err != nil && !begun {
		return false, err
	}
	before, err := o.exists(ctx, o.staged(openName))
	if err != nil {
		return false, err
	}
	if _, err := o.write(ctx, o.staged(openName), nil, condition{}); err != nil {
		return false, failure(err, "output %q", o)
	}
	err = o.tryConditions(ctx)
	left := []string{o.staged(probeName), o.staged(probeName + ".copy")}
	if err != nil && !before {
		left = append(left, o.staged(openName))
	}
	if removed := o.remove(context.WithoutCancel(ctx), left...); err == nil {
		err = removed // what failed first says why
	}
	return !before && err == nil, err
}

// notKept says that a write was accepted that is to be refused. One of which the
// outcome is not known, or that could not be tried, says nothing of that.
func notKept(err error, format string, args ...any) error {
	switch stint.CodeOf(err) {
	case stint.Unavailable, stint.Unknown, stint.Canceled, stint.Denied:
		return err
	case stint.Invalid, stint.NotFound, stint.Conflict, stint.Lost, stint.Failed, stint.Internal:
	}
	if err != nil {
		format, args = format+": %v", append(args, err)
	}
	return stint.Errorf(stint.Invalid, format, args...)
}

// tryConditions takes an object through what a commit does with parts and the
// manifest.
func (o outputPrefix) tryConditions(ctx context.Context) error {
	key := o.staged(probeName)
	if err := o.remove(ctx, key); err != nil { // by a probe that died
		return failure(err, "output %q", o)
	}
	etag, err := o.write(ctx, key, []byte("stint\n"), condition{absent: true})
	if err != nil {
		return failure(err, "output %q", o)
	}
	if _, err := o.write(ctx, key, []byte("again\n"), condition{absent: true}); stint.CodeOf(err) != stint.Conflict {
		return notKept(err, "output %q: the server creates again what is there (If-None-Match): two executions could write one output", o)
	}
	if _, err := o.write(ctx, key, []byte("other\n"), condition{etag: "00000000000000000000000000000000"}); stint.CodeOf(err) != stint.Conflict {
		return notKept(err, "output %q: the server replaces what is another version (If-Match)", o)
	}
	if err := o.copy(ctx, o.bucket, key, etag, int64(len("stint\n")), key+".copy"); err != nil {
		return failure(err, "output %q", o)
	}
	got, _, err := o.read(ctx, key+".copy", maxMarker)
	switch {
	case err != nil:
		return failure(err, "output %q", o)
	case string(got) != "stint\n":
		return stint.Errorf(stint.Invalid, "output %q: what was copied is read as %q", o, got)
	}
	return nil
}

// hasBegun reports whether what lies at the place is of an unfinished commit of
// this execution.
func (o outputPrefix) hasBegun(ctx context.Context, t top) (bool, error) {
	b, err := o.readBegun(ctx)
	return b.isOf(o.execution) || t.isOf(o.execution) && t.manifest.isIncomplete(), err
}

func (o outputPrefix) checkStaged(ctx context.Context, parts []stint.Part, fault func(stint.Part, error)) error {
	there, err := o.stagedParts(ctx)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := o.checkPart(there, p.Name, p.Bytes); err != nil {
			fault(p, err)
		}
	}
	return nil
}

// checkPart reports a staged part that is not there as it was reported.
func (o outputPrefix) checkPart(there map[string]found, name string, size int64) error {
	f, ok := there[name]
	if !ok {
		return stint.Errorf(stint.Lost, "staged part %q is missing", o.url(o.staged(name)))
	}
	if f.size != size {
		return stint.Errorf(stint.Lost, "staged part %q has %d bytes, was written with %d", o.url(o.staged(name)), f.size, size)
	}
	return nil
}

func (o outputPrefix) stageFile(ctx context.Context, name string, from *os.File, size int64) error {
	if err := o.checkOpen(ctx); err != nil {
		return err
	}
	return o.upload(ctx, o.staged(name), from, size)
}

func (o outputPrefix) stage(ctx context.Context, part stint.Part, from io.Reader) error {
	if err := o.checkOpen(ctx); err != nil {
		return err
	}
	sum := xxh3.New()
	all, err := o.access.newSpool(ctx, io.TeeReader(from, sum))
	if err != nil {
		return err
	}
	defer all.close()
	if got := sum.Sum64(); all.size != part.Bytes || got != part.Sum {
		return stint.Errorf(stint.Lost, "it has %d bytes with xxh3 %016x, was written with %d and %016x", all.size, got, part.Bytes, part.Sum)
	}
	return o.upload(ctx, o.staged(part.Name), all, all.size)
}

// checkOpen refuses to stage for an execution that was committed or cleared.
func (o outputPrefix) checkOpen(ctx context.Context) error {
	open, err := o.exists(ctx, o.staged(openName))
	if err == nil && !open {
		err = stint.Errorf(stint.Invalid, "output %q: nothing can be staged by %s: its output was committed or cleared, or somebody has removed it", o, o.execution)
	}
	return err
}

func (o outputPrefix) manifest(ctx context.Context) (Manifest, error) {
	t, err := o.readTop(ctx)
	switch {
	case err != nil:
		return Manifest{}, err
	case t.etag == "" || t.replacing != "":
		return Manifest{}, stint.Errorf(stint.NotFound, "no output at %q: it has no %s", o, manifestName)
	case t.bad != nil:
		return Manifest{}, failure(t.bad, "read %s of %q", manifestName, o)
	}
	return t.manifest, nil
}

func (o outputPrefix) checkParts(ctx context.Context, parts []ManifestPart) error {
	there, err := o.finals(ctx)
	if err != nil {
		return err
	}
	for _, p := range parts {
		f, ok := there[p.Name]
		if !ok {
			return stint.Errorf(stint.Invalid, "output %q is incomplete: %s is missing", o, p.Name)
		}
		if f.size != p.Bytes {
			return stint.Errorf(stint.Invalid, "output %q is incomplete: %s has %d bytes, its manifest says %d", o, p.Name, f.size, p.Bytes)
		}
	}
	return nil
}

// finals returns the parts that have their names, by name.
func (o outputPrefix) finals(ctx context.Context) (map[string]found, error) {
	list, err := o.below(ctx, o.at("part-"))
	out := make(map[string]found, len(list))
	for rest, f := range list {
		out["part-"+rest] = f
	}
	return out, err
}

func (o outputPrefix) openPart(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	return o.openKey(ctx, o.at(name))
}

// top is what has the name of the manifest.
type top struct {
	etag      string // empty: nothing has it
	manifest  Manifest
	replacing stint.ExecutionID // instead: whose commit has put its mark there
	remove    []string          // with replacing: parts that are to go
	bad       error             // instead: why it is no manifest
}

func (t top) isOf(x stint.ExecutionID) bool { return t.etag != "" && t.manifest.Execution == x }

// isWhole reports whether it is the manifest of an output that lacks nothing.
func (t top) isWhole() bool {
	return t.etag != "" && t.bad == nil && t.replacing == "" && !t.manifest.isIncomplete()
}

// replaced is the mark that stands in place of a manifest from when a commit takes the
// place to when its output is whole, and while an output is taken back.
type replaced struct {
	Format    int               `json:"format"`
	Replacing stint.ExecutionID `json:"replacing"`
	Call      string            `json:"call,omitempty"`   // random: the manifest is written in place of this mark alone
	Remove    []string          `json:"remove,omitempty"` // parts of the output that is taken back
}

func (o outputPrefix) readTop(ctx context.Context) (top, error) {
	b, etag, err := o.read(ctx, o.at(manifestName), maxManifest)
	if stint.CodeOf(err) == stint.NotFound {
		return top{}, nil
	}
	if err != nil {
		return top{}, failure(err, "output %q", o)
	}
	return decodeTop(b, etag), nil
}

func (b begun) isOf(x stint.ExecutionID) bool { return b.etag != "" && b.Manifest.Execution == x }

func (o outputPrefix) readBegun(ctx context.Context) (begun, error) {
	b, etag, err := o.read(ctx, o.commitKey(), 2*maxManifest)
	if stint.CodeOf(err) == stint.NotFound {
		return begun{}, nil
	}
	if err != nil {
		return begun{}, failure(err, "output %q", o)
	}
	out, err := decodeBegun(b)
	if err != nil {
		return begun{}, fmt.Errorf("read %q: %w", o.url(o.commitKey()), err)
	}
	out.etag = etag
	return out, nil
}
