package link

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"stint"
)

// Times of a session.
const (
	BeatInterval   = 2 * time.Second  // between the Beats of an agent
	SilenceTimeout = 15 * time.Second // without a message, or with a blocked write: the session is closed
)

const (
	procedure    = "/stint.v1.Link/Attach"
	maxQueue     = 1 << 16        // messages that wait to be sent
	maxQueued    = 8 * MaxMessage // and their bytes
	maxBeats     = 100            // per second
	headerLimit  = 64 << 10
	finalTimeout = 2 * time.Second // to hand over what is queued when a session ends
)

// Session is the server's end of a session with one agent. Send may be called
// from any goroutine, Receive from one at a time.
type Session struct {
	hello  Hello
	stream *connect.BidiStream[AgentMessage, encoded]
	ctx    context.Context //nolint:containedctx // a session is the lifetime that the context stands for
	cancel context.CancelCauseFunc
	out    outbox
	abort  aborter
	beats  beatCount
}

// beatCount counts the beats of one second.
type beatCount struct {
	since time.Time
	n     int
}

// peerKey is under which the handler finds what it knows of the connection.
type peerKey struct{}

type peerInfo struct {
	node stint.NodeID
	err  error
	resp *http.ResponseController
}

// NewHandler returns the path and the handler of the link. peer gives the node
// that the verified client certificate of a connection names; r.TLS of a
// request without TLS is nil. accept is called once per session, in the
// request's goroutine, after the Hello was received and checked; the first
// message that it sends must be a Welcome. The session ends when accept returns:
// what is queued is handed over, then the agent's Receive returns io.EOF, or the
// code and text of the error that accept returned. ctx ends with the session.
func NewHandler(peer func(*tls.ConnectionState) (stint.NodeID, error), accept func(ctx context.Context, s *Session) error) (string, http.Handler) {
	attach := connect.NewBidiStreamHandler(procedure,
		func(ctx context.Context, stream *connect.BidiStream[AgentMessage, encoded]) error {
			return toConnect(serve(ctx, stream, accept))
		},
		connect.WithCodec(codec{}), connect.WithReadMaxBytes(MaxMessage),
		connect.WithCompression("gzip", nil, nil))
	return procedure, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info := peerInfo{resp: http.NewResponseController(w)}
		info.node, info.err = peer(r.TLS)
		attach.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, info)))
	})
}

// ConfigureServer sets what the link needs of an HTTP server, and limits of
// headers and idle connections that suit the API as well.
func ConfigureServer(s *http.Server) {
	s.ReadHeaderTimeout = 10 * time.Second
	s.IdleTimeout = 120 * time.Second
	s.MaxHeaderBytes = headerLimit
	s.HTTP2 = &http.HTTP2Config{SendPingTimeout: SilenceTimeout, PingTimeout: SilenceTimeout}
}

func serve(ctx context.Context, stream *connect.BidiStream[AgentMessage, encoded], accept func(context.Context, *Session) error) error {
	info, _ := ctx.Value(peerKey{}).(peerInfo)
	if info.err != nil {
		return info.err
	}
	// The server's time-outs are for requests; a session lives longer.
	if err := errors.Join(info.resp.SetReadDeadline(time.Time{}), info.resp.SetWriteDeadline(time.Time{})); err != nil {
		return stint.Errorf(stint.Internal, "session without deadlines: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &Session{stream: stream, ctx: ctx, cancel: cancel, abort: aborter{resp: info.resp}}
	s.out.init()
	defer s.abort.disarm()
	if err := s.greet(info.node); err != nil {
		return err
	}
	return s.run(accept)
}

// greet receives and checks the Hello.
func (s *Session) greet(node stint.NodeID) error {
	m, err := s.receive()
	if err != nil {
		return err
	}
	if m.Hello == nil {
		return stint.Errorf(stint.Invalid, "bad_message: the first message of a session is a hello")
	}
	if p := m.Hello.Protocol; p < OldestProtocol || p > Protocol {
		return stint.Errorf(stint.Invalid, "upgrade_required: agent %.40q speaks link protocol %d; this server understands %d to %d",
			m.Hello.Version, p, OldestProtocol, Protocol)
	}
	if m.Hello.Node != node {
		return stint.Errorf(stint.Denied, "identity_mismatch: the certificate is of node %s, the hello of node %.80q", node, m.Hello.Node)
	}
	s.hello = *m.Hello
	return s.hello.check()
}

// run performs accept beside the goroutine that writes.
func (s *Session) run(accept func(context.Context, *Session) error) error {
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write()
	}()
	err := accept(s.ctx, s)
	s.out.close()
	final := time.AfterFunc(finalTimeout, s.abort.fire)
	<-written
	final.Stop()
	if errors.Is(err, io.EOF) {
		return nil // the agent left, and accept passed that on
	}
	return err
}

// write sends what is queued until the outbox is closed and empty or the session ends.
func (s *Session) write() {
	watch := time.AfterFunc(SilenceTimeout, func() {
		s.end(stint.Errorf(stint.Unavailable, "agent %s read nothing for %v", s.hello.Node, SilenceTimeout))
	})
	defer watch.Stop()
	for {
		watch.Stop()
		m := s.out.next(s.ctx)
		if m == nil {
			return
		}
		watch.Reset(SilenceTimeout)
		if err := s.stream.Send(m); err != nil {
			s.end(stint.Errorf(stint.Unavailable, "send to agent %s: %w", s.hello.Node, err))
			return
		}
	}
}

// end ends the session at once: whoever receives or writes is interrupted.
func (s *Session) end(cause error) {
	s.cancel(cause)
	s.abort.fire()
}

// Close ends the session: Receive returns cause from now on, and ctx ends. What
// accept then returns is what the agent is told. It does not block or wait, and
// may be called from any goroutine, more than once: the first cause counts.
func (s *Session) Close(cause error) {
	s.cancel(cause)
	s.abort.stopReading()
}

// Hello returns the first message of the agent.
func (s *Session) Hello() Hello { return s.hello }

// Send queues a message and returns; it never blocks. The error is Invalid for a
// message longer than [MaxMessage], which leaves the session as it is, and
// Unavailable when the session has ended, or ends now because the agent does not
// read what is sent.
func (s *Session) Send(m ServerMessage) error {
	if m.fields() != 1 {
		return stint.Errorf(stint.Internal, "message with %d fields set; exactly one must be", m.fields())
	}
	if m.Welcome != nil {
		w := *m.Welcome
		w.Protocol = s.hello.Protocol
		m.Welcome = &w
	}
	e, err := encode(&m)
	if err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return s.cause()
	}
	if err := s.out.add(e); err != nil {
		s.end(err)
		return err
	}
	return nil
}

// Receive returns the next message: exactly one field is set, never Hello. Beats
// are answered and returned. The error is io.EOF or Unavailable when the agent
// closed the session, Unavailable when it was silent for [SilenceTimeout] or the
// connection broke, Invalid or Denied for a message that must not be. After an
// error accept is to return it.
func (s *Session) Receive() (AgentMessage, error) {
	m, err := s.receive()
	if err != nil {
		return AgentMessage{}, err
	}
	switch {
	case m.Hello != nil:
		err = stint.Errorf(stint.Invalid, "bad_message: a second hello")
	case m.Report != nil:
		err = s.checkReport(m.Report)
	case m.Beat != nil:
		err = s.answer(m.Beat)
	}
	if err != nil {
		return AgentMessage{}, err
	}
	return *m, nil
}

func (s *Session) receive() (*AgentMessage, error) {
	watch := time.AfterFunc(SilenceTimeout, func() {
		s.end(stint.Errorf(stint.Unavailable, "agent was silent for %v", SilenceTimeout))
	})
	defer watch.Stop()
	m, err := s.stream.Receive()
	if err != nil {
		return nil, s.failure(err)
	}
	if n := m.fields(); n != 1 {
		return nil, stint.Errorf(stint.Invalid, "bad_message: %d fields set that this server knows; exactly one must be", n)
	}
	return m, nil
}

func (s *Session) checkReport(r *stint.Report) error {
	if r.Node != s.hello.Node {
		return stint.Errorf(stint.Denied, "identity_mismatch: a report of node %.80q in the session of node %s", r.Node, s.hello.Node)
	}
	if r.Incarnation == 0 || r.Incarnation > s.hello.Incarnation {
		return stint.Errorf(stint.Invalid, "report/incarnation: %d: the session's is %d", r.Incarnation, s.hello.Incarnation)
	}
	if r.Seq == 0 {
		return stint.Errorf(stint.Invalid, "report/seq: missing; the first is 1")
	}
	return nil
}

func (s *Session) answer(b *Beat) error {
	if now := time.Now(); now.Sub(s.beats.since) >= time.Second {
		s.beats = beatCount{since: now}
	}
	s.beats.n++
	if s.beats.n > maxBeats {
		return stint.Errorf(stint.Unavailable, "too many beats: more than %d within a second", maxBeats)
	}
	return s.Send(ServerMessage{Echo: &Echo{Time: b.Time}})
}

// failure says why Receive failed: because this end ended the session, or as the stream has it.
func (s *Session) failure(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if s.ctx.Err() != nil {
		return s.cause()
	}
	return streamError("agent", err)
}

// cause says why the session ended.
func (s *Session) cause() error {
	cause := context.Cause(s.ctx)
	if _, ok := errors.AsType[*stint.Error](cause); ok {
		return cause
	}
	return stint.Errorf(stint.Unavailable, "the session has ended: %w", cause)
}

// streamError turns an error of a Connect stream into one with a code. What no
// peer said is a broken connection.
func streamError(peer string, err error) error {
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return stint.Errorf(stint.Unavailable, "%s: %w", peer, err)
	}
	if ce.Code() == connect.CodeResourceExhausted {
		return stint.Errorf(stint.Invalid, "%s: message_too_large: limit %d bytes", peer, MaxMessage)
	}
	if connect.IsWireError(err) || ce.Code() == connect.CodeInvalidArgument {
		return stint.Errorf(stintCode(ce.Code()), "%s: %s", peer, ce.Message())
	}
	return stint.Errorf(stint.Unavailable, "%s: %w", peer, err)
}

// aborter interrupts reads and writes of a request from another goroutine, and
// no longer does after disarm: a response must not be touched when its handler
// has returned.
type aborter struct {
	mu   sync.Mutex
	resp *http.ResponseController // nil: disarmed
}

// stopReading lets a read in progress, and all later ones, fail.
func (a *aborter) stopReading() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.resp != nil {
		_ = a.resp.SetReadDeadline(past()) // fails where the stream is gone already
	}
}

// fire ends the stream at once, without a word to the peer.
func (a *aborter) fire() {
	a.stopReading()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.resp != nil {
		_ = a.resp.SetWriteDeadline(past())
	}
}

func past() time.Time { return time.Unix(1, 0) }

func (a *aborter) disarm() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.resp = nil
}
