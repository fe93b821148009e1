package agent

import (
	"context"
	"sync"

	"stint"
	"stint/internal/object"
)

// storages opens the storages that a server names. Safe for concurrent use.
type storages struct {
	access *object.Access
	mu     sync.Mutex
	system *object.Storage // nil before the first session
}

// welcome enters the system storage of the server that this node is attached to.
func (s *storages) welcome(system *object.Storage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.system = system
}

// open returns the storage with a URL, or system storage if that is empty. A
// storage that is not there is an error each time anew: it may come back.
func (s *storages) open(ctx context.Context, url string) (*object.Storage, error) {
	if url != "" {
		return s.access.FindStorage(ctx, url)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.system == nil {
		return nil, stint.Errorf(stint.Unavailable, "system storage is not known before a server was reached")
	}
	return s.system, nil
}
