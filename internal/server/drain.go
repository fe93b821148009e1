package server

import (
	"context"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/failpoint"
)

// Drain has a node get nothing new, and what only it holds copied away; by its
// time what is in progress there goes on elsewhere. It outlives the server.
func (s *Server) Drain(ctx context.Context, id stint.NodeID, req stint.DrainRequest) (stint.Node, error) {
	ask := coord.DrainAsk{Node: id, Undo: req.Undo}
	if !req.By.IsZero() {
		ask.By = req.By.UnixMilli()
	}
	n, err := s.node(id)
	if err != nil {
		return n, err
	}
	if n.Status == stint.NodeLost && !req.Undo {
		return n, stint.Errorf(stint.Conflict, "node %s is lost: there is nothing to drain; stint node remove takes it from the list", id)
	}
	if err := s.DB.Drain(ctx, s.epoch, id, !req.Undo, ask.By); err != nil {
		return n, err
	}
	failpoint.Reach("drain.before-telling")
	s.fleet.setDrain(ask)
	for _, d := range s.fleet.liveDrives() {
		if err := d.post(ctx, input{event: &coord.Event{Drain: &ask}}); err != nil && ctx.Err() != nil {
			return n, ctx.Err()
		}
	}
	failpoint.Reach("drain.before-answer")
	s.want()
	return s.node(id)
}

// RemoveNode takes a node from the list for good: its folder is never welcome
// again. One that is there must be drained first.
func (s *Server) RemoveNode(ctx context.Context, id stint.NodeID) error {
	n, err := s.node(id)
	if err != nil {
		return err
	}
	if n.Status == stint.NodeReady || n.Status == stint.NodeDraining {
		return stint.Errorf(stint.Conflict, "node %s is %s: drain it first, or stop its agent", id, n.Status)
	}
	if err := s.DB.RemoveNode(ctx, s.epoch, id); err != nil {
		return err
	}
	failpoint.Reach("node-removal.before-telling")
	s.declareGone(ctx, s.fleet.remove(id))
	return nil
}

// node returns the document about a node.
func (s *Server) node(id stint.NodeID) (stint.Node, error) {
	for _, n := range s.fleet.documents(time.Now().UTC()) {
		if n.ID == id {
			return n, nil
		}
	}
	return stint.Node{}, stint.Errorf(stint.NotFound, "no node %.80q; see stint node list", string(id))
}

// draining returns the nodes that are to be drained, as drives are told.
func (f *fleet) draining() []coord.DrainAsk {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drains
}

func (f *fleet) setDrain(ask coord.DrainAsk) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.nodes[ask.Node]; m != nil {
		m.drain = &ask
		if ask.Undo {
			m.drain = nil
		}
	}
	f.noteDrains()
}

// noteDrains is to be called when a node's drain has changed. f.mu is held.
func (f *fleet) noteDrains() {
	f.drains = nil
	for _, m := range f.sorted() {
		if m.drain != nil {
			f.drains = append(f.drains, *m.drain)
		}
	}
}

// remove makes a node unknown, and returns what drives are to be told.
func (f *fleet) remove(id stint.NodeID) goneNode {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := goneNode{id: id, lost: true}
	if m := f.nodes[id]; m != nil {
		g.session = m.number
		if m.session != nil {
			m.session.Close(stint.Errorf(stint.Denied, "%w", &stint.NodeRemoved{Node: id}))
		}
		delete(f.nodes, id)
	}
	f.noteDrains()
	return g
}

// showDrain puts into a document what is known of a node's drain. f.mu is held.
func (f *fleet) showDrain(n *stint.Node, m *member) {
	if m.drain == nil {
		return
	}
	if m.drain.By > 0 {
		by := time.UnixMilli(m.drain.By).UTC()
		n.By = &by
	}
	if n.Status != stint.NodeReady {
		return
	}
	n.Status = stint.NodeDrained
	for _, d := range f.drives {
		if !d.public.isDrained(n.ID) {
			n.Status = stint.NodeDraining
		}
	}
}

// isDrained reports whether an execution needs nothing of a node any more.
func (p *published) isDrained(id stint.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drained[id]
}
