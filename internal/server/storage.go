package server

import (
	"context"

	"stint"
	"stint/internal/object"
	"stint/internal/store"
)

// OpenStorage opens and tests the system storage of the service that has a
// record. At a location where the service has had its storage before, it must be
// the same one: what is found there otherwise is refused with [stint.Invalid], be
// it the empty folder where a file system is not mounted.
func OpenStorage(ctx context.Context, access *object.Access, db *store.DB, location string) (*object.Storage, error) {
	known, err := db.KnownStorage(ctx, location)
	if err != nil {
		return nil, err
	}
	open := access.OpenStorage
	if known != 0 {
		open = access.FindStorage
	}
	storage, err := open(ctx, location)
	switch {
	case err != nil && known != 0:
		return nil, stint.Errorf(stint.Invalid, "the storage that this service has used is not at %s: %w; bring it back, or name another place", location, err)
	case err != nil:
		return nil, err
	case known != 0 && storage.ID() != known:
		return nil, stint.Errorf(stint.Invalid, "the storage at %s is not the one that this service has used there: bring that back, or name another place", location)
	}
	if err := storage.SelfTest(ctx); err != nil {
		return nil, err
	}
	if known == 0 {
		err = db.RememberStorage(ctx, location, storage.ID())
	}
	return storage, err
}
