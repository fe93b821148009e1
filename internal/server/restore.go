package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/zeebo/blake3"

	"stint"
	"stint/internal/coord"
	"stint/internal/object"
	"stint/internal/plan"
	"stint/internal/store"
	"stint/internal/wire"
)

// restore makes the state of what the record holds.
func (s *Server) restore(ctx context.Context, l store.Loaded) (*coord.State, error) {
	return s.restoreFrom(ctx, s.Storage, l)
}

// restoreFrom is [Server.restore] with the listing in some storage.
func (*Server) restoreFrom(ctx context.Context, storage *object.Storage, l store.Loaded) (*coord.State, error) {
	listing, err := readListing(ctx, storage, l.Listing)
	if err != nil {
		return nil, err
	}
	return Replay(listing, l)
}

// Replay makes the state of what the record holds of an execution and of the
// listing of its input. A record that makes no sense is an error, whatever it does
// to who reads it: the others are to go on.
func Replay(listing stint.Listing, l store.Loaded) (_ *coord.State, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = stint.Errorf(stint.Internal, "record of execution %s: makes no sense: %v", l.ID, r)
		}
	}()
	p, err := plan.Make(l.ID, l.Request, listing, l.Choice)
	if err != nil {
		return nil, err
	}
	state := coord.New(p, l.Request, l.Epoch, l.Created)
	if l.Snapshot != nil {
		if state, err = coord.Restore(p, l.Request, l.Epoch, *l.Snapshot); err != nil {
			return nil, err
		}
	}
	for _, r := range l.Records {
		state.Apply(r)
	}
	if state.Version() != l.Version {
		return nil, stint.Errorf(stint.Internal, "record of execution %s: journal ends at version %d, expected %d", l.ID, state.Version(), l.Version)
	}
	return state, nil
}

// maxListing is the size of the longest listing blob, in bytes.
const maxListing = 1 << 30

func readListing(ctx context.Context, storage *object.Storage, digest stint.Digest) (stint.Listing, error) {
	var listing stint.Listing
	key := "listings/" + digest.String()
	f, err := storage.Get(ctx, key)
	if stint.CodeOf(err) == stint.NotFound {
		return listing, stint.Errorf(stint.NotFound, "the listing of the input is missing: %s", key)
	}
	if err != nil {
		return listing, err
	}
	b, err := readAll(f, maxListing)
	if err = errors.Join(err, f.Close()); err != nil {
		return listing, fmt.Errorf("read %s: %w", key, err)
	}
	if got := blake3.Sum256(b); got != digest {
		return listing, stint.Errorf(stint.Invalid, "%s was altered: its digest is %s", key, stint.Digest(got))
	}
	return listing, wire.Unmarshal(b, &listing)
}
