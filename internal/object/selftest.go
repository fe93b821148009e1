package object

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"

	"stint"
)

// SelfTest finds out whether the storage does what is relied on: of two that
// create a key one fails, what was put is found by its key and in the list, and a
// file can be moved from the folder of temporary files to every other. It removes
// what uploads that were broken off have left, a day after. The error names the
// storage and what it does not do.
func (s *Storage) SelfTest(ctx context.Context) error {
	prefix := "selftest-" + strconv.FormatUint(rand.Uint64(), 36) //nolint:gosec // a name that nobody has
	err := s.tryAll(ctx, prefix)
	if err = errors.Join(err, s.DeleteAll(context.WithoutCancel(ctx), prefix+"/")); err != nil {
		return failure(err, "storage %q cannot be relied on", s.String())
	}
	return nil
}

func (s *Storage) tryAll(ctx context.Context, prefix string) error {
	key := prefix + "/a"
	if err := s.Create(ctx, key, strings.NewReader("first")); err != nil {
		return err
	}
	if err := s.Create(ctx, key, strings.NewReader("second")); stint.CodeOf(err) != stint.Conflict {
		return notKept(err, "a key that was created can be created again: two servers could own one execution")
	}
	if err := s.reads(ctx, key, "first"); err != nil {
		return err
	}
	if err := s.Put(ctx, key, strings.NewReader("third")); err != nil {
		return err
	}
	if err := s.reads(ctx, key, "third"); err != nil {
		return err
	}
	list, err := s.List(ctx, prefix+"/")
	if err != nil || len(list) != 1 || list[0].Key != key || list[0].Size != int64(len("third")) {
		return errors.Join(err, stint.Errorf(stint.Invalid, "what was put is not in the list: %v", list))
	}
	return s.tidy(ctx, prefix)
}

func (s *Storage) reads(ctx context.Context, key, want string) error {
	f, err := s.Get(ctx, key)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err == nil && string(b) != want {
		err = stint.Errorf(stint.Invalid, "%q was put and %q is read", want, b)
	}
	return err
}
