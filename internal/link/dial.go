package link

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"connectrpc.com/connect"

	"stint"
)

// start is the start of a node that a session is of.
type start struct {
	node        stint.NodeID
	incarnation stint.Incarnation
}

// Dialer makes sessions with a server.
type Dialer struct {
	URL string      // https://HOST:PORT
	TLS *tls.Config // with the node's certificate and the CA
	// DialContext makes the connection, for which it has 10 seconds; nil: TCP.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// AgentSession is the agent's end of a session. Send may be called from any
// goroutine, Receive from one at a time.
type AgentSession struct {
	agent  start
	stream *connect.BidiStreamForClient[encoded, ServerMessage]
	ctx    context.Context //nolint:containedctx // a session is the lifetime that the context stands for
	cancel context.CancelCauseFunc
	turn   chan struct{} // holds a value while somebody sends; a channel, since a sender may wait long
}

const dialTimeout = 10 * time.Second

// Dial opens a session: it sends h and waits for the Welcome, for at most
// [SilenceTimeout]. The session ends when ctx does or by Close, which must be
// called. An error with code Invalid or Denied will be the same at the next
// attempt until a person has done something; others are worth another attempt
// after [Backoff].
func (d *Dialer) Dial(ctx context.Context, h Hello) (*AgentSession, Welcome, error) {
	base, err := serverURL(d.URL)
	if err != nil {
		return nil, Welcome{}, err
	}
	h.Protocol = Protocol
	if err := h.check(); err != nil {
		return nil, Welcome{}, err
	}
	s := d.session(ctx, base)
	s.agent = start{h.Node, h.Incarnation}
	w, err := s.greet(h)
	if err != nil {
		s.Close()
		return nil, Welcome{}, err
	}
	return s, w, nil
}

// serverURL returns the URL in the form to which a path is appended.
func serverURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || (u.Path != "" && u.Path != "/") {
		return "", stint.Errorf(stint.Invalid, "server %.80q: expected https://HOST:PORT", text)
	}
	return "https://" + u.Host, nil
}

func (d *Dialer) session(ctx context.Context, url string) *AgentSession {
	dial := d.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	ctx, cancel := context.WithCancelCause(ctx)
	// A transport and a connection of its own for every session: what made the
	// last one fail is not met again.
	t := &http.Transport{
		DialContext:         closedWith(ctx, dial),
		TLSClientConfig:     d.TLS.Clone(),
		TLSHandshakeTimeout: dialTimeout,
		Protocols:           protocols,
		DisableKeepAlives:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: SilenceTimeout, PingTimeout: SilenceTimeout},
	}
	client := connect.NewClient[encoded, ServerMessage](&http.Client{Transport: t}, url+procedure,
		connect.WithCodec(codec{}), connect.WithReadMaxBytes(MaxMessage), connect.WithAcceptCompression("gzip", nil, nil))
	return &AgentSession{stream: client.CallBidiStream(ctx), ctx: ctx, cancel: cancel, turn: make(chan struct{}, 1)}
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// closedWith closes the connections that dial makes when session ends, and ends
// what dial does until then. The transport's context is no use for either: it outlives
// the request while a connection is made, and the HTTP/2 transport does not look at
// it while it waits for more of the request's body, which in a session is nearly always.
func closedWith(session context.Context, dial dialFunc) dialFunc {
	return func(_ context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(session, dialTimeout)
		defer cancel()
		c, err := dial(ctx, network, address)
		if err == nil {
			context.AfterFunc(session, func() { _ = c.Close() })
		}
		return c, err
	}
}

func (s *AgentSession) greet(h Hello) (Welcome, error) {
	// With EOF the server has refused already; why, receive says.
	if err := s.Send(AgentMessage{Hello: &h}); err != nil && !errors.Is(err, io.EOF) {
		return Welcome{}, err
	}
	m, err := s.receive()
	if err != nil {
		return Welcome{}, err
	}
	if m.Welcome == nil {
		return Welcome{}, stint.Errorf(stint.Invalid, "server: bad_message: its first message is not a welcome")
	}
	if m.Welcome.Protocol != h.Protocol {
		return Welcome{}, stint.Errorf(stint.Invalid, "upgrade_required: server %.40q answers in link protocol %d; this agent speaks %d",
			m.Welcome.Version, m.Welcome.Protocol, h.Protocol)
	}
	return *m.Welcome, nil
}

// Send writes a message. It blocks while the server does not read, for at most
// [SilenceTimeout], and then ends the session. A message that was sent may still
// be lost with the session: only an Ack or a later message of the server says
// that it arrived. The error is Invalid for a message longer than [MaxMessage],
// which leaves the session as it is; Unavailable, or the server's refusal, when
// the session has ended.
func (s *AgentSession) Send(m AgentMessage) error {
	if m.fields() != 1 {
		return stint.Errorf(stint.Internal, "message with %d fields set; exactly one must be", m.fields())
	}
	e, err := encode(&m)
	if err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-s.ctx.Done():
		return s.cause()
	}
	defer s.watch("server read nothing for %v").Stop()
	if err := s.stream.Send(e); err != nil {
		if errors.Is(err, io.EOF) {
			// The server ended the session; Receive has its reason.
			return stint.Errorf(stint.Unavailable, "the session has ended: %w", err)
		}
		return s.failure(err)
	}
	return nil
}

// Receive returns the next message: exactly one field is set, never Welcome nor
// Echo. The error is io.EOF when the server ended the session without a reason,
// its refusal when it gave one, Unavailable when it was silent for
// [SilenceTimeout] or the connection broke; each ends the session.
func (s *AgentSession) Receive() (ServerMessage, error) {
	for {
		m, err := s.receive()
		if err != nil {
			return ServerMessage{}, err
		}
		if m.Welcome != nil {
			return ServerMessage{}, stint.Errorf(stint.Invalid, "server: bad_message: a second welcome")
		}
		if m.Echo == nil {
			return *m, nil
		}
	}
}

func (s *AgentSession) receive() (*ServerMessage, error) {
	defer s.watch("server was silent for %v").Stop()
	m, err := s.stream.Receive()
	if err != nil {
		return nil, s.failure(err)
	}
	if n := m.fields(); n != 1 {
		return nil, stint.Errorf(stint.Invalid, "server: bad_message: %d fields set that this agent knows; exactly one must be", n)
	}
	return m, nil
}

func (s *AgentSession) watch(format string) *time.Timer {
	return time.AfterFunc(SilenceTimeout, func() {
		s.cancel(stint.Errorf(stint.Unavailable, format, SilenceTimeout))
	})
}

// failure says why a call failed: because this end ended the session, or as the stream has it.
func (s *AgentSession) failure(err error) error {
	if s.ctx.Err() != nil {
		return s.cause()
	}
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if refusal, ok := errors.AsType[*connect.Error](err); ok && connect.IsWireError(err) {
		if why := refused(refusal, s.agent); why != nil {
			return stint.Errorf(stintCode(refusal.Code()), "server: %w", why)
		}
	}
	return streamError("server", err)
}

func (s *AgentSession) cause() error {
	cause := context.Cause(s.ctx)
	if _, ok := errors.AsType[*stint.Error](cause); ok {
		return cause
	}
	return stint.Errorf(stint.Canceled, "the session was closed: %w", cause)
}

// Close ends the session and its connection; calls in progress return. It may be
// called more than once, from any goroutine.
func (s *AgentSession) Close() {
	_ = s.stream.CloseRequest() // tells a server that still reads; where it fails, the stream is gone already
	s.cancel(nil)
}

// Longest and shortest waits of [Backoff].
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// Backoff returns how long to wait before dialling after n attempts that failed
// one after the other: nothing for n = 0, then from 200 ms, doubled each time, to
// 30 s, of which random, from 0 to less than 1, takes away up to half, so that
// the agents of a server that was away do not come back at one moment.
func Backoff(n int, random float64) time.Duration {
	if n <= 0 {
		return 0
	}
	d := maxBackoff
	if n < 9 {
		d = min(minBackoff<<(n-1), maxBackoff)
	}
	return d - time.Duration(random*float64(d/2))
}
