package server

import (
	"context"
	"errors"
	"fmt"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
	"stint/internal/store"
	"stint/internal/wire"
)

// restore makes the state of what the record holds. A record that makes no sense
// is an error, whatever it does to who reads it: the others are to go on.
func (s *Server) restore(ctx context.Context, l store.Loaded) (_ *coord.State, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = stint.Errorf(stint.Internal, "record of execution %s: makes no sense: %v", l.ID, r)
		}
	}()
	listing, err := s.readListing(ctx, l.Listing)
	if err != nil {
		return nil, err
	}
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

func (s *Server) readListing(ctx context.Context, digest stint.Digest) (stint.Listing, error) {
	var listing stint.Listing
	key := "listings/" + digest.String()
	f, err := s.Storage.Get(ctx, key)
	if err != nil {
		return listing, err
	}
	b, err := readAll(f, maxListing)
	if err = errors.Join(err, f.Close()); err != nil {
		return listing, fmt.Errorf("read %s: %w", key, err)
	}
	return listing, wire.Unmarshal(b, &listing)
}
