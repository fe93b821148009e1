package server

import (
	"context"
	"errors"
	"io"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/link"
)

// Accept serves one session of an agent until it ends. It is the function that
// [link.NewHandler] wants.
func (s *Server) Accept(ctx context.Context, session *link.Session) error {
	select {
	case <-s.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	hello := session.Hello()
	doc := stint.Node{
		ID: hello.Node, Name: hello.Name, Incarnation: hello.Incarnation, Status: stint.NodeReady,
		Slots: hello.Slots, Address: hello.Address, Since: time.Now().UTC(),
	}
	replaced, err := s.DB.SaveNode(ctx, doc)
	if err != nil {
		return err
	}
	if len(replaced) > 0 {
		s.fleet.markLost(replaced)
		for _, id := range replaced {
			s.declareGone(ctx, goneNode{id: id, lost: true})
		}
	}
	welcome := link.Welcome{Version: s.Version, Epoch: s.epoch, Storage: s.StorageURL, Time: nowMillis()}
	if err := session.Send(link.ServerMessage{Welcome: &welcome}); err != nil {
		return err
	}
	drives, err := s.fleet.attach(doc, session)
	if err != nil {
		return err
	}
	log := s.Logger.With("node", string(doc.ID), "incarnation", uint64(doc.Incarnation))
	log.InfoContext(ctx, "node attached", "addr", doc.Address, "count", len(hello.Holdings))
	defer func() {
		s.fleet.detach(doc.ID, session, time.Now())
		s.want()
		log.InfoContext(context.WithoutCancel(ctx), "node detached")
	}()
	if err := s.announce(ctx, doc, hello.Holdings, drives, session); err != nil {
		return err
	}
	s.fleet.dispatchWaiting()
	return s.receive(ctx, session, doc.ID)
}

// announce tells every live execution that the node is there and what it holds,
// and has the node forget what is not live.
func (s *Server) announce(ctx context.Context, doc stint.Node, holdings []stint.Holding, drives []*drive, session *link.Session) error {
	held := make(map[stint.ExecutionID]stint.Holding, len(holdings))
	for _, h := range holdings {
		held[h.Execution] = h
	}
	for _, d := range drives {
		h, ok := held[d.id]
		if !ok {
			h = stint.Holding{Execution: d.id}
		}
		delete(held, d.id)
		if err := d.post(ctx, input{event: attachEvent(doc, h)}); err != nil && ctx.Err() != nil {
			return err
		}
	}
	for id := range held {
		if s.fleet.drive(id) != nil {
			continue // it began in this very moment
		}
		if err := session.Send(link.ServerMessage{Forget: &link.Forget{Execution: id}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) receive(ctx context.Context, session *link.Session, node stint.NodeID) error {
	for {
		m, err := session.Receive()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		switch {
		case m.Report != nil:
			if err := s.receiveReport(ctx, session, node, m.Report); err != nil {
				return err
			}
		case m.Result != nil:
			s.fleet.errandDone(*m.Result)
		case m.Beat != nil, m.Hello != nil:
		}
	}
}

// receiveReport routes a report to its execution. One of an execution that is
// over is acknowledged and the node told to forget it.
func (s *Server) receiveReport(ctx context.Context, session *link.Session, node stint.NodeID, r *stint.Report) error {
	if r.Node != node {
		return stint.Errorf(stint.Denied, "identity_mismatch: a report of node %.80q came from node %s", r.Node, node)
	}
	if d := s.fleet.drive(r.Execution); d != nil {
		err := d.post(ctx, input{event: &coord.Event{Report: r}})
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	ack := link.Ack{Execution: r.Execution, Seq: r.Seq, Incarnation: r.Incarnation}
	if err := session.Send(link.ServerMessage{Ack: &ack}); err != nil {
		return err
	}
	return session.Send(link.ServerMessage{Forget: &link.Forget{Execution: r.Execution}})
}

// declareGone tells every live execution that a node is away or lost.
func (s *Server) declareGone(ctx context.Context, g goneNode) {
	for _, d := range s.fleet.liveDrives() {
		ev := &coord.Event{Gone: &coord.Gone{Node: g.id, Lost: g.lost}}
		if err := d.post(ctx, input{event: ev}); err != nil && ctx.Err() != nil {
			return
		}
	}
}
