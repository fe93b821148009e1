package server

import (
	"context"
	"strings"

	"stint"
)

// Request returns what an execution was asked for, so that it can be asked for
// again: without its key, which is one submission's, and without an output that
// nobody named.
func (s *Server) Request(ctx context.Context, id stint.ExecutionID) (stint.Request, error) {
	loaded, err := s.DB.Load(ctx, id)
	if err != nil {
		return stint.Request{}, err
	}
	req := loaded.Request
	req.Key = ""
	if strings.HasSuffix(req.Output, ownOutput(id)) {
		req.Output = ""
	}
	return req, nil
}

// ownOutput is the key in system storage, of whichever service, of an output for
// which the request names no location.
func ownOutput(id stint.ExecutionID) string { return "output/" + string(id) }
