package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"stint"
)

// Found is what lies at the location of an execution's output.
type Found struct {
	Manifest *Manifest // nil: there is none that can be read
	Bad      error     // why the manifest that is there cannot be read
	Success  bool      // there is a _SUCCESS
	Parts    int       // files or objects that are called as parts are
	Staging  bool      // something of the execution is staged
	Begun    bool      // a commit of the execution has begun there and has not ended
	Taken    bool      // one of another execution has
}

// Nothing reports whether there is no trace of an output.
func (f Found) Nothing() bool {
	return f.Manifest == nil && f.Bad == nil && !f.Success && f.Parts == 0 && !f.Staging && !f.Begun && !f.Taken
}

// Examine looks at the location of an execution's output, and changes nothing.
func (a *Access) Examine(ctx context.Context, location string, x stint.ExecutionID) (Found, error) {
	p, err := a.placeOf(location, x)
	if err != nil {
		return Found{}, err
	}
	return p.examine(ctx)
}

func (o outputFolder) examine(ctx context.Context) (Found, error) {
	c, err := o.contents(ctx)
	if err != nil {
		return Found{}, err
	}
	f := Found{Success: c.success, Parts: len(c.parts), Staging: exists(o.staging()), Begun: exists(o.staged(intentName)), Taken: stint.CodeOf(o.checkOthers()) == stint.Conflict}
	m, err := readManifestFile(o.path(manifestName))
	switch {
	case err == nil:
		f.Manifest = &m
	case stint.CodeOf(err) == stint.Invalid:
		f.Bad = err
	case !errors.Is(err, fs.ErrNotExist):
		return f, err
	}
	return f, nil
}

func (o outputPrefix) examine(ctx context.Context) (Found, error) {
	c, err := o.contents(ctx)
	if err != nil {
		return Found{}, err
	}
	f := Found{Success: c.success, Parts: len(c.parts)}
	top, err := o.readTop(ctx)
	if err != nil {
		return f, err
	}
	if f.Bad = top.bad; top.etag != "" && top.bad == nil && top.replacing == "" {
		f.Manifest = &top.manifest
	}
	staged, err := o.stagedParts(ctx)
	if err != nil {
		return f, err
	}
	begun, err := o.readBegun(ctx)
	f.Staging = len(staged) > 0
	f.Begun = begun.isOf(o.execution) || top.replacing == o.execution
	f.Taken = begun.etag != "" && !begun.isOf(o.execution) || top.replacing != "" && top.replacing != o.execution
	return f, err
}

// Stagers returns the executions for which something is staged at a location.
func (a *Access) Stagers(ctx context.Context, location string) ([]stint.ExecutionID, error) {
	p, err := a.outputAt(location, "")
	if err != nil {
		return nil, err
	}
	names, err := p.stagers(ctx)
	var out []stint.ExecutionID
	for _, name := range names {
		if x, err := stint.ParseExecutionID(name); err == nil && !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out, err
}

func (o outputFolder) stagers(ctx context.Context) (names []string, err error) {
	err = readFolder(ctx, o.stagingRoot(), func(e fs.DirEntry) error {
		names = append(names, e.Name())
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

func (o outputPrefix) stagers(ctx context.Context) ([]string, error) {
	there, err := o.below(ctx, o.at(stagingName+"/"))
	var names []string
	for key := range there {
		name, _, _ := strings.Cut(key, "/")
		names = append(names, name)
	}
	slices.Sort(names)
	return names, err
}

// VerifyPart reads a part of the output at a location and compares it with what
// the manifest says. It returns how many bytes it read. The error is
// [stint.NotFound] if the part is not there and [stint.Lost] if it is not what it was.
func (a *Access) VerifyPart(ctx context.Context, location string, p ManifestPart) (int64, error) {
	place, err := a.outputAt(location, "")
	if err != nil {
		return 0, err
	}
	f, size, err := place.openPart(ctx, p.Name)
	if err != nil {
		return 0, err
	}
	return verifyBytes(ctx, f, size, p)
}

// VerifyStaged is [Access.VerifyPart] for a part that an execution has staged.
func (a *Access) VerifyStaged(ctx context.Context, location string, x stint.ExecutionID, part stint.Part) (int64, error) {
	place, err := a.placeOf(location, x)
	if err == nil {
		err = checkPartName(part.Name)
	}
	if err != nil {
		return 0, err
	}
	f, size, err := place.openStaged(ctx, part.Name)
	if err != nil {
		return 0, err
	}
	return verifyBytes(ctx, f, size, ManifestPart{Name: part.Name, Bytes: part.Bytes, Sum: sumText(part.Sum)})
}

// PartOf returns a part as a manifest says it that has it.
func PartOf(part stint.Part) ManifestPart {
	return ManifestPart{Name: partName(part.Op), Bytes: part.Bytes, Sum: sumText(part.Sum)}
}

func sumText(sum uint64) string { return fmt.Sprintf("%016x", sum) }

// verifyBytes reads what is open to its end and closes it.
func verifyBytes(ctx context.Context, f io.ReadCloser, size int64, p ManifestPart) (int64, error) {
	defer f.Close() //nolint:errcheck // only read
	if size != p.Bytes {
		return 0, stint.Errorf(stint.Lost, "%s has %d bytes, was written with %d", p.Name, size, p.Bytes)
	}
	sum := xxh3.New()
	n, err := io.CopyBuffer(onlyWriter{sum}, &stoppingReader{ctx.Err, f}, make([]byte, copyBuffered))
	if err != nil {
		return n, failure(err, "read %s", p.Name)
	}
	if got := sumText(sum.Sum64()); n != p.Bytes || got != p.Sum {
		return n, stint.Errorf(stint.Lost, "%s has xxh3 %s, was written with %s", p.Name, got, p.Sum)
	}
	return n, nil
}

func (o outputFolder) openStaged(_ context.Context, name string) (io.ReadCloser, int64, error) {
	return openFile(o.staged(name))
}

func (o outputPrefix) openStaged(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	return o.openKey(ctx, o.staged(name))
}

// openFile opens a part in a folder.
func openFile(path string) (io.ReadCloser, int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, stint.Errorf(stint.NotFound, "part %q is not there", path)
	}
	if err != nil {
		return nil, 0, failure(err, "open part %q", path)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = stint.Errorf(stint.Lost, "part %q is not a file", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// openKey opens a part in a bucket.
func (o outputPrefix) openKey(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	info, err := o.stat(ctx, key)
	if stint.CodeOf(err) == stint.NotFound {
		return nil, 0, stint.Errorf(stint.NotFound, "part %q is not there", o.url(key))
	}
	if err != nil {
		return nil, 0, err
	}
	return o.open(ctx, key, found{size: info.Size, etag: info.ETag}), info.Size, nil
}
