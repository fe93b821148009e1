package object

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/failpoint"
)

// checkStaged looks at staged files.
func (o outputFolder) checkStaged(ctx context.Context, parts []stint.Part, fault func(stint.Part, error)) error {
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return &stint.Error{Code: stint.Canceled, Message: "look at staged parts", Err: err}
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

// stage copies what is read into a staged part, durably, if it is what the part says.
func (o outputFolder) stage(ctx context.Context, part stint.Part, from io.Reader) error {
	to, err := o.createPart(part.Name)
	if err != nil {
		return err
	}
	err = copySame(ctx, to, from, part)
	if err = errors.Join(err, to.Close()); err != nil {
		return errors.Join(err, os.Remove(to.Name()))
	}
	return nil
}

// stageFile copies a file into a staged part, durably.
func (o outputFolder) stageFile(ctx context.Context, name string, from *os.File, size int64) error {
	to, err := o.createPart(name)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(onlyWriter{to}, &stoppingReader{ctx.Err, io.NewSectionReader(from, 0, size)}, make([]byte, copyBuffered))
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return failure(errors.Join(err, os.Remove(to.Name())), "stage part %q", to.Name())
	}
	return nil
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
	return cmp.Or(failpoint.Error("adoption.before-sync"), to.Sync())
}
