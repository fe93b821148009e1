package server

import (
	"context"

	"stint"
	"stint/internal/coord"
)

// Explain says why an execution waits, is slow, or failed.
func (s *Server) Explain(ctx context.Context, id stint.ExecutionID) (stint.Explanation, error) {
	if d := s.fleet.drive(id); d != nil {
		e, err := question(ctx, d, input{}, func(st *coord.State) stint.Explanation { return st.Explain(d.millis()) })
		if stint.CodeOf(err) != stint.NotFound {
			return e, err
		}
	}
	state, err := s.settled(ctx, id)
	if err != nil {
		return stint.Explanation{}, err
	}
	return state.Explain(s.millisOf(state)), nil
}
