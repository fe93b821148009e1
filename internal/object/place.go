package object

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/zeebo/xxh3"

	"stint"
)

// place is where one execution has its output: a folder, or a prefix of a bucket.
// The execution may be empty for what only reads.
type place interface {
	String() string
	probe(ctx context.Context, overwrite bool) (made bool, err error)
	put(ctx context.Context, in intent, overwrite bool) error
	isFinished(ctx context.Context, m Manifest) (bool, error)
	clear(ctx context.Context, undo Turn) error
	checkStaged(ctx context.Context, parts []stint.Part, fault func(stint.Part, error)) error
	stage(ctx context.Context, part stint.Part, from io.Reader) error
	stageFile(ctx context.Context, name string, from *os.File, size int64) error
	manifest(ctx context.Context) (Manifest, error)
	checkParts(ctx context.Context, parts []ManifestPart) error
	openPart(ctx context.Context, name string) (io.ReadCloser, int64, error)
	openStaged(ctx context.Context, name string) (io.ReadCloser, int64, error)
	examine(ctx context.Context) (Found, error)
	stagers(ctx context.Context) ([]string, error)
}

// placeOf returns the place of an execution's output.
func (a *Access) placeOf(location string, x stint.ExecutionID) (place, error) {
	if _, err := stint.ParseExecutionID(string(x)); err != nil {
		return nil, err
	}
	return a.outputAt(location, x)
}

func (a *Access) outputAt(location string, x stint.ExecutionID) (place, error) {
	if isBucketLocation(location) {
		p, err := a.prefix(location)
		if err != nil {
			return nil, err
		}
		return outputPrefix{p, x}, nil
	}
	dir, err := Path(location)
	return outputFolder{dir: dir, execution: x}, err
}

// Probe finds out whether an execution can leave its output at a location and
// prepares it: folders that are missing are created, and everything that a commit
// relies on is tried. What it created is gone again when it refuses. It may be
// repeated, also when a commit of this execution has begun or has left something out:
// made reports whether it is this call that made the place to stage parts in.
//
// Errors: [stint.Conflict] if there is an output already and overwrite is not
// set, or anything else that a reader of it would take for data; [stint.Denied],
// [stint.Unavailable] or [stint.Invalid], with the path, if it cannot be written there.
func (a *Access) Probe(ctx context.Context, location string, x stint.ExecutionID, overwrite bool) (made bool, err error) {
	p, err := a.placeOf(location, x)
	if err != nil {
		return false, err
	}
	return p.probe(ctx, overwrite)
}

// StagePart stages a part that an attempt has written, as it is in a file from its
// first byte to its end. It is there, and durable, when StagePart returns; an older
// one of the name is replaced. The execution must have been probed.
func (a *Access) StagePart(ctx context.Context, location string, x stint.ExecutionID, name string, from *os.File) error {
	p, err := a.placeOf(location, x)
	if err != nil {
		return err
	}
	if err := checkPartName(name); err != nil {
		return err
	}
	info, err := from.Stat()
	if err != nil {
		return failure(err, "look at part %q", name)
	}
	return p.stageFile(ctx, name, from, info.Size())
}

// Commit makes the staged parts the output at a location: part p of an operation
// becomes part-NNNNN, then the manifest appears, then _SUCCESS. It returns the
// bytes of all parts. Dead or canceled at any point, it is called again with the
// same arguments and goes on; called again after it has succeeded, it returns the
// same. The package's documentation has the steps.
//
// missing are operations that the output is without. It gets no _SUCCESS then, and
// what is staged stays: a later commit of the same execution replaces it, of parts
// that are staged anew and of those that have their names already.
//
// Errors: [stint.Lost] if a staged part is missing or has another size;
// [stint.Conflict] if another output, or another commit, is in the way, or a later
// turn has come first; with
// overwrite an output that is there is removed, as soon as the new one is known
// to be whole.
func (a *Access) Commit(ctx context.Context, location string, by Turn, program string, parts []stint.Part, overwrite bool, missing ...stint.Missing) (int64, error) {
	p, err := a.placeOf(location, by.Execution)
	if err != nil {
		return 0, err
	}
	in, err := makeIntent(by, program, parts, missing)
	if err != nil {
		return 0, err
	}
	done, err := p.isFinished(ctx, in.Manifest)
	if err == nil && !done {
		err = p.put(ctx, in, overwrite)
	}
	if err != nil {
		return 0, err
	}
	return in.Manifest.Bytes, nil
}

// Committed reports whether this very commit has nothing left to do, and how long
// its output is. The error is [stint.Conflict] if the execution was committed with
// other parts.
func (a *Access) Committed(ctx context.Context, location string, by Turn, program string, parts []stint.Part, missing ...stint.Missing) (bytes int64, done bool, err error) {
	p, err := a.placeOf(location, by.Execution)
	if err != nil {
		return 0, false, err
	}
	in, err := makeIntent(by, program, parts, missing)
	if err != nil {
		return 0, false, err
	}
	done, err = p.isFinished(ctx, in.Manifest)
	return in.Manifest.Bytes, done, err
}

// Clear removes what an execution has staged below a location, parts that an
// unfinished commit has given their names already, and a folder if nothing is left
// in it. An output that was committed in this turn goes away too; that of another
// turn stays. A commit that is under way, or comes later, makes no output any more.
// What is not there is no error; Clear may be repeated.
func (a *Access) Clear(ctx context.Context, location string, by Turn) error {
	p, err := a.placeOf(location, by.Execution)
	if err != nil {
		return err
	}
	return p.clear(ctx, by)
}

// CheckStaged calls fault with each of the parts that an execution has staged
// below a location and that are missing there or have another size. The error it
// returns is what keeps it from looking.
func (a *Access) CheckStaged(ctx context.Context, location string, x stint.ExecutionID, parts []stint.Part, fault func(stint.Part, error)) error {
	p, err := a.placeOf(location, x)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := checkPartName(part.Name); err != nil {
			return err
		}
	}
	return p.checkStaged(ctx, parts, fault)
}

// Adopt stages a part of an output at another location, from, which has it under
// its number. The bytes are copied and must be those that the part says; the
// staged part is durable when Adopt returns. The error is [stint.NotFound] if the
// part is not there and [stint.Lost] if it is not what it was.
func (a *Access) Adopt(ctx context.Context, from, location string, x stint.ExecutionID, part stint.Part) (stint.Part, error) {
	source, err := a.outputAt(from, "")
	if err != nil {
		return stint.Part{}, err
	}
	to, err := a.placeOf(location, x)
	if err != nil {
		return stint.Part{}, err
	}
	r, size, err := source.openPart(ctx, partName(part.Op))
	if err != nil {
		return stint.Part{}, err
	}
	defer r.Close() //nolint:errcheck // only read
	part.Name = fmt.Sprintf("part-%05d.adopted", part.Op)
	if size != part.Bytes {
		return stint.Part{}, stint.Errorf(stint.Lost, "part %s of %q has %d bytes, was written with %d", partName(part.Op), source, size, part.Bytes)
	}
	if err := to.stage(ctx, part, r); err != nil {
		return stint.Part{}, failure(err, "adopt part %s of %q", partName(part.Op), source)
	}
	return part, nil
}

// ReadManifest reads the manifest of the output at a location. The error is
// [stint.NotFound] if there is no output and [stint.Invalid] if its manifest is
// cut, altered or of another format.
func (a *Access) ReadManifest(ctx context.Context, location string) (Manifest, error) {
	if err := ctx.Err(); err != nil {
		return Manifest{}, &stint.Error{Code: stint.Canceled, Message: "read manifest", Err: err}
	}
	p, err := a.outputAt(location, "")
	if err != nil {
		return Manifest{}, err
	}
	return p.manifest(ctx)
}

// AllParts asks [Access.Copy] for the whole output.
const AllParts = -1

// Copy writes the parts of the output at a location, one after the other, or
// the one at a position in the manifest, and returns how many bytes it wrote.
// Nothing is written unless every part asked for is there with its size; bytes
// that do not have the manifest's checksum are an error after they are written.
// Both are [stint.Invalid]; a part that is not in the manifest is [stint.NotFound].
func (a *Access) Copy(ctx context.Context, w io.Writer, location string, part int) (int64, error) {
	m, err := a.ReadManifest(ctx, location)
	if err != nil {
		return 0, err
	}
	p, err := a.outputAt(location, "")
	if err != nil {
		return 0, err
	}
	parts := m.Parts
	if part != AllParts {
		if part < 0 || part >= len(parts) {
			return 0, stint.Errorf(stint.NotFound, "output %q has %d parts, no part %d", p, len(parts), part)
		}
		parts = parts[part : part+1]
	}
	if err := p.checkParts(ctx, parts); err != nil {
		return 0, err
	}
	var total int64
	for _, one := range parts {
		n, err := copyPart(ctx, w, p, one)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func copyPart(ctx context.Context, w io.Writer, place place, p ManifestPart) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, &stint.Error{Code: stint.Canceled, Message: "read part " + p.Name, Err: err}
	}
	f, _, err := place.openPart(ctx, p.Name)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	sum := xxh3.New()
	n, err := io.CopyBuffer(onlyWriter{w}, io.TeeReader(&stoppingReader{ctx.Err, f}, sum), make([]byte, copyBuffered))
	if err != nil {
		return n, failure(err, "copy part %s of %q", p.Name, place)
	}
	if got := fmt.Sprintf("%016x", sum.Sum64()); n != p.Bytes || got != p.Sum {
		return n, stint.Errorf(stint.Invalid, "output %q was altered: %s has %d bytes with xxh3 %s, its manifest says %d with %s", place, p.Name, n, got, p.Bytes, p.Sum)
	}
	return n, nil
}
