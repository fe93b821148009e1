package server

import (
	"context"
	"strings"

	"stint"
	"stint/internal/object"
	"stint/internal/store"
)

// ReadListing reads a listing of inputs from storage. The error is [stint.NotFound]
// if it is not there, and [stint.Invalid] if it is not what it was.
func ReadListing(ctx context.Context, storage *object.Storage, digest stint.Digest) (stint.Listing, error) {
	return readListing(ctx, storage, digest)
}

// Saved is what lies in a storage of one execution, as far as it says who owns it
// and what it resumes from.
type Saved struct {
	Claims  []Claim  // by generation
	Records []uint64 // generations that have a record, in order
	Ended   bool     // it says that the execution has ended
	Bad     []error  // claims, and words of an end, that are not what they should be
	Keys    []object.Entry
}

// Claim is the claim of a generation.
type Claim struct {
	stint.Owner
	Ours bool // it is of the service that asks
}

// Latest returns the claim of the highest generation, and whether there is any.
func (s *Saved) Latest() (Claim, bool) {
	if len(s.Claims) == 0 {
		return Claim{}, false
	}
	return s.Claims[len(s.Claims)-1], true
}

// ExamineSaved looks at the saved state of an execution. service is the number of
// the service that asks.
func ExamineSaved(ctx context.Context, storage *object.Storage, id stint.ExecutionID, service int64) (Saved, error) {
	h := home{storage: storage}
	var s Saved
	var err error
	if s.Keys, err = storage.List(ctx, savedPrefix(id)); err != nil {
		return s, err
	}
	bad := func(err error) error {
		if code := stint.CodeOf(err); code != stint.Invalid && code != stint.NotFound {
			return err
		}
		s.Bad = append(s.Bad, err)
		return nil
	}
	ours := (&Server{service: service}).serviceName()
	for _, e := range s.Keys {
		name := strings.TrimPrefix(e.Key, savedPrefix(id))
		if n, ok := generationOf(name, ownerPrefix); ok {
			o, err := h.owner(ctx, id, n)
			if err := bad(err); err != nil {
				return s, err
			}
			o.Generation = n
			s.Claims = append(s.Claims, Claim{Owner: o, Ours: o.Service == ours})
		}
		if n, ok := generationOf(name, recordPrefix); ok {
			s.Records = append(s.Records, n)
		}
		if name == endedName {
			e, err := h.ended(ctx, id)
			if err := bad(err); err != nil {
				return s, err
			}
			s.Ended = e != nil || err != nil
		}
	}
	return s, nil
}

// RecordKey returns the key of the record that the owner in a generation wrote.
func RecordKey(id stint.ExecutionID, generation uint64) string { return recordKey(id, generation) }

// ReadSaved reads the record that the owner in a generation wrote, as a service
// does that knows nothing else of the execution: what [Replay] makes its state of.
// location is what people call the storage.
func ReadSaved(ctx context.Context, storage *object.Storage, location string, id stint.ExecutionID, generation uint64) (store.Loaded, error) {
	r, err := home{storage: storage}.readRecord(ctx, id, generation)
	if err != nil {
		return store.Loaded{}, err
	}
	r.move(location, "")
	entry := store.Entry{ID: id, Created: r.body.Created, Request: r.body.Request, Choice: r.body.Choice, Listing: r.body.Listing}
	snap := r.body.Snapshot
	return store.Loaded{Entry: entry, Version: snap.Version, Snapshot: &snap}, nil
}
