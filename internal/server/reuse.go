package server

import (
	"context"
	"fmt"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/object"
	"stint/internal/plan"
	"stint/internal/store"
)

// inventoryWait is how long nodes have to say what they still keep of an earlier
// execution; one that does not is taken to keep nothing.
const inventoryWait = 10 * time.Second

// earlier is an execution whose completed operations another may take over.
type earlier struct {
	entry store.Entry
	state *coord.State
}

// earlier loads the execution that a request reuses. One that has not ended and
// is not suspended is refused: what it has completed changes all the time.
func (s *Server) earlier(ctx context.Context, id stint.ExecutionID) (earlier, error) {
	loaded, err := s.DB.Load(ctx, id)
	if err != nil {
		return earlier{}, fmt.Errorf("reuse: %w", err)
	}
	if !loaded.Status.Final() && loaded.Status != stint.Suspended {
		return earlier{}, stint.Errorf(stint.Conflict, "reuse: execution %s is %s: only one that has ended or is suspended can be reused", id, loaded.Status)
	}
	state, err := s.restore(ctx, loaded)
	if err != nil {
		return earlier{}, fmt.Errorf("reuse: %w", err)
	}
	return earlier{entry: loaded.Entry, state: state}, nil
}

// cutLike chooses for a request what it leaves open as it was chosen for the
// earlier execution, so that operations over the same input are the same.
func (e earlier) cutLike(req stint.Request, listing stint.Listing, c plan.Choice) plan.Choice {
	was := e.entry.Choice
	if req.Partitions == 0 {
		c.Partitions = was.Partitions
	}
	ranges := e.state.Stages()[0].Values != nil
	if req.SubsetSize == 0 && ranges == (listing.Range != nil) {
		c.SubsetSize, c.Exact = was.SubsetSize, was.Exact
	}
	return c
}

// adopt makes the state in which a new execution begins with the completed
// operations of an earlier one.
func (s *Server) adopt(ctx context.Context, made draft, was earlier) (*coord.State, coord.Adoption, error) {
	content, err := s.content(ctx, was.state, made.plan)
	if err != nil {
		return nil, coord.Adoption{}, err
	}
	kept := coord.Kept{Nodes: s.inventory(ctx, was.entry.ID)}
	if kept.Packs, err = s.takePacks(ctx, made, was, coord.AdoptablePacks(was.state, made.plan, content)); err != nil {
		return nil, coord.Adoption{}, err
	}
	if parts := coord.AdoptableParts(was.state, made.plan, content); len(parts) > 0 && was.state.Status().Final() {
		staged, err := s.stageEarlier(ctx, made, was, parts)
		if err != nil {
			return nil, coord.Adoption{}, err
		}
		kept.Parts = staged
	}
	state, adoption := coord.Adopt(was.state, made.plan, made.entry.Request, s.epoch, made.entry.Created, kept, content)
	return state, adoption, nil
}

// takePacks gives the new execution packs of an earlier one that are still there,
// under names of its own: those of the other vanish with it.
func (s *Server) takePacks(ctx context.Context, made draft, was earlier, packs []stint.Pack) (map[string]string, error) {
	return s.eachPack(ctx, was, packs, func(i int, from *object.Storage, key string) (string, error) {
		own := fmt.Sprintf("%sreused-%d", savedPrefix(made.entry.ID), i)
		return own, s.Storage.Take(ctx, from, key, own)
	})
}

// eachPack calls take with each pack of an earlier execution, and returns which of
// them are there, and what take said that they are called then.
func (s *Server) eachPack(ctx context.Context, was earlier, packs []stint.Pack, take func(i int, from *object.Storage, key string) (string, error)) (map[string]string, error) {
	if len(packs) == 0 {
		return nil, nil
	}
	from, err := s.openHome(ctx, was.state.Home())
	if err != nil {
		return nil, fmt.Errorf("reuse saved output of execution %s: %w", was.entry.ID, err)
	}
	taken := make(map[string]string, len(packs))
	for i, p := range packs {
		key, err := take(i, from.storage, p.Key)
		switch {
		case err == nil:
			taken[p.Key] = key
		case stint.CodeOf(err) != stint.NotFound:
			return nil, fmt.Errorf("reuse saved output of execution %s: %w", was.entry.ID, err)
		}
	}
	return taken, nil
}

// mostAdopted is how many parts one errand stages, so that it fits a message.
const mostAdopted = 5000

// stageEarlier has parts of the earlier output staged for the new one. They are
// named by their numbers in the earlier execution.
func (s *Server) stageEarlier(ctx context.Context, made draft, was earlier, parts []stint.Part) ([]stint.Part, error) {
	var staged []stint.Part
	for i := 0; len(parts) > 0; i++ {
		n := min(len(parts), mostAdopted)
		r, err := s.runErrand(ctx, stint.Errand{
			ID: fmt.Sprintf("%s/adopt/%d", made.entry.ID, i), Kind: stint.ErrandAdopt, Execution: made.entry.ID,
			Output: made.entry.Request.Output, From: was.entry.Request.Output, Parts: parts[:n],
		}, "")
		if err != nil {
			return nil, fmt.Errorf("reuse output of execution %s: %w", was.entry.ID, err)
		}
		staged, parts = append(staged, r.Parts...), parts[n:]
	}
	return staged, nil
}

// inventory asks every node that is there what it still keeps of an execution.
func (s *Server) inventory(ctx context.Context, id stint.ExecutionID) map[stint.NodeID][]stint.StageOps {
	ctx, cancel := context.WithTimeout(ctx, inventoryWait)
	defer cancel()
	reply := newMailbox()
	defer s.fleet.cancelAll(reply)
	asked := make(map[string]stint.NodeID)
	for _, n := range s.fleet.readyNodes() {
		e := stint.Errand{ID: fmt.Sprintf("%s/inventory/%s", newID(), n.ID), Kind: stint.ErrandInventory, Execution: id}
		asked[e.ID] = n.ID
		s.fleet.submitErrand(e, n.ID, reply)
	}
	held := make(map[stint.NodeID][]stint.StageOps)
	for len(asked) > 0 {
		select {
		case <-reply.came:
		case <-s.ending:
			return held
		case <-ctx.Done():
			return held
		}
		for _, r := range reply.take() {
			if r.Error == nil && len(r.Held) > 0 {
				held[asked[r.ID]] = r.Held
			}
			delete(asked, r.ID)
		}
	}
	return held
}
