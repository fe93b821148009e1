package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zeebo/xxh3"

	"stint"
)

// CheckStaged calls fault with each of the parts that an execution has staged
// below a location and that are missing there or have another size. The error it
// returns is what keeps it from looking.
func CheckStaged(ctx context.Context, location string, x stint.ExecutionID, parts []stint.Part, fault func(stint.Part, error)) error {
	o, err := openFolder(location, x)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return &stint.Error{Code: stint.Canceled, Message: "look at staged parts", Err: err}
		}
		if err := checkPartName(p.Name); err != nil {
			return err
		}
		err := checkSize(o.staged(p.Name), p.Bytes)
		if err != nil && stint.CodeOf(err) != stint.Lost {
			return err
		}
		if err != nil {
			fault(p, err)
		}
	}
	return nil
}

// Adopt stages a part of an output at another location, from, which has it under
// its number. The bytes are copied and must be those that the part says; the
// staged part is durable when Adopt returns. The error is [stint.NotFound] if the
// part is not there and [stint.Lost] if it is not what it was.
func Adopt(ctx context.Context, from, location string, x stint.ExecutionID, part stint.Part) (stint.Part, error) {
	source, err := openFolder(from, x)
	if err != nil {
		return stint.Part{}, err
	}
	path := source.path(partName(part.Op))
	if !exists(path) {
		return stint.Part{}, stint.Errorf(stint.NotFound, "part %q is not there", path)
	}
	if err := checkSize(path, part.Bytes); err != nil {
		return stint.Part{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return stint.Part{}, failure(err, "open part %q", path)
	}
	defer f.Close() //nolint:errcheck // only read
	part.Name = fmt.Sprintf("part-%05d.adopted", part.Op)
	to, err := CreatePart(location, x, part.Name)
	if err != nil {
		return stint.Part{}, err
	}
	err = copySame(ctx, to, f, part)
	if err = errors.Join(err, to.Close()); err != nil {
		return stint.Part{}, failure(errors.Join(err, os.Remove(to.Name())), "adopt part %q", path)
	}
	return part, nil
}

// copySame copies the bytes of a part, durably, if they are what they were.
func copySame(ctx context.Context, to *os.File, from io.Reader, part stint.Part) error {
	sum := xxh3.New()
	n, err := io.CopyBuffer(onlyWriter{to}, io.TeeReader(&stoppingReader{ctx.Err, from}, sum), make([]byte, copyBuffered))
	if err != nil {
		return err
	}
	if got := sum.Sum64(); n != part.Bytes || got != part.Sum {
		return stint.Errorf(stint.Lost, "it has %d bytes with xxh3 %016x, was written with %d and %016x", n, got, part.Bytes, part.Sum)
	}
	return to.Sync()
}
