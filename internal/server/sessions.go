package server

import (
	"context"
	"errors"
	"io"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/failpoint"
	"stint/internal/link"
)

// Accept serves one session of an agent until it ends. It is the function that
// [link.NewHandler] wants.
func (s *Server) Accept(ctx context.Context, session *link.Session) error {
	select {
	case <-s.Ready():
	case <-s.done:
		return errStopping()
	case <-ctx.Done():
		return ctx.Err()
	}
	hello := session.Hello()
	doc := stint.Node{
		ID: hello.Node, Name: hello.Name, Incarnation: hello.Incarnation, Status: stint.NodeReady,
		Slots: hello.Slots, Memory: hello.Memory, Address: hello.Address, Since: time.Now().UTC(),
	}
	log := s.Logger.With("node", string(doc.ID), "incarnation", uint64(doc.Incarnation))
	replaced, err := s.DB.SaveNode(ctx, s.epoch, doc)
	if err != nil {
		if mayPass(err) && ctx.Err() == nil && s.fleet.sendAway(err) {
			log.WarnContext(ctx, "nodes cannot attach", "addr", doc.Address, "err", err)
		}
		return err
	}
	failpoint.Reach("node.before-welcome")
	if len(replaced) > 0 {
		s.fleet.markLost(replaced)
		signal(s.noticed)
	}
	welcome := link.Welcome{Version: s.Version, Epoch: s.epoch, Storage: s.StorageURL, Time: nowMillis(), Credentials: s.credentials.message()}
	if err := session.Send(link.ServerMessage{Welcome: &welcome}); err != nil {
		return err
	}
	failpoint.Reach("node.after-welcome")
	attached, drives, err := s.fleet.attach(doc, session)
	if err != nil {
		return err
	}
	if told := s.credentials.message(); told.Version != welcome.Credentials.Version {
		if err := session.Send(link.ServerMessage{Credentials: told}); err != nil {
			return err
		}
	}
	log.InfoContext(ctx, "node attached", "addr", doc.Address, "count", len(hello.Holdings))
	defer func() {
		s.fleet.detach(doc.ID, session, time.Now())
		s.want()
		log.InfoContext(context.WithoutCancel(ctx), "node detached")
	}()
	if err := s.announce(ctx, attached, hello.Holdings, drives, session); err != nil {
		return err
	}
	s.fleet.dispatchWaiting()
	return s.receive(ctx, session, doc.ID)
}

// announce tells every live execution that the node is there and what it holds,
// and has the node forget what is not live.
func (s *Server) announce(ctx context.Context, a attachment, holdings []stint.Holding, drives []*drive, session *link.Session) error {
	held := make(map[stint.ExecutionID]stint.Holding, len(holdings))
	for _, h := range holdings {
		held[h.Execution] = h
	}
	for _, d := range drives {
		h, ok := held[d.id]
		if !ok {
			h = stint.Holding{Execution: d.id}
		}
		err := d.post(ctx, input{event: a.event(h)})
		if stint.CodeOf(err) == stint.NotFound {
			continue // it was settled in this very moment
		}
		if err != nil {
			return err
		}
		delete(held, d.id)
	}
	for id := range held {
		if s.fleet.drive(id) != nil {
			continue // it began in this very moment
		}
		if err := session.Send(s.fleet.forget(id)); err != nil {
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
		if stint.CodeOf(err) != stint.NotFound {
			return err
		}
	}
	for _, m := range s.farewell(r) {
		if err := session.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// farewell answers a report of an execution that is over.
func (s *Server) farewell(r *stint.Report) []link.ServerMessage {
	return []link.ServerMessage{
		{Ack: &link.Ack{Execution: r.Execution, Seq: r.Seq, Incarnation: r.Incarnation}},
		s.fleet.forget(r.Execution),
	}
}
