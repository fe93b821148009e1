package link_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect"

	"stint"
	"stint/internal/link"
	"stint/internal/wire"
)

// raw is a message as bytes, for peers that send what no end of ours does.
type raw struct{ b []byte }

type rawCodec struct{}

func (rawCodec) Name() string                  { return "msgpack" }
func (rawCodec) Marshal(v any) ([]byte, error) { return v.(*raw).b, nil }

func (rawCodec) Unmarshal(b []byte, v any) error {
	v.(*raw).b = bytes.Clone(b)
	return nil
}

func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := wire.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheServerRefusesWhatNoAgentOfThisVersionSends(t *testing.T) {
	t.Parallel()
	hello := func(change func(*link.Hello)) []byte {
		h := hello()
		h.Protocol = link.Protocol
		change(&h)
		return mustMarshal(t, link.AgentMessage{Hello: &h})
	}
	good := hello(func(*link.Hello) {})
	h := link.Hello{}
	tests := []struct {
		name     string
		messages [][]byte
		code     connect.Code
		text     string
	}{
		{"older protocol", [][]byte{hello(func(h *link.Hello) { h.Protocol = 0 })}, connect.CodeInvalidArgument, `upgrade_required: agent "1.2.3" speaks link protocol 0; this server understands 1 to 1`},
		{"newer protocol", [][]byte{hello(func(h *link.Hello) { h.Protocol = 9 })}, connect.CodeInvalidArgument, "speaks link protocol 9"},
		{"other first message", [][]byte{mustMarshal(t, link.AgentMessage{Beat: &link.Beat{}})}, connect.CodeInvalidArgument, "the first message of a session is a hello"},
		{"bad field in the hello", [][]byte{hello(func(h *link.Hello) { h.Slots = -1 })}, connect.CodeInvalidArgument, "hello/slots: -1"},
		{"garbage", [][]byte{[]byte("\xc1garbage")}, connect.CodeInvalidArgument, "agent: "},
		{"trailing bytes", [][]byte{append(bytes.Clone(good), 0)}, connect.CodeInvalidArgument, "left over"},
		{"wrong type", [][]byte{mustMarshal(t, map[string]any{"hello": "x"})}, connect.CodeInvalidArgument, "agent: "},
		{"empty", [][]byte{mustMarshal(t, map[string]any{})}, connect.CodeInvalidArgument, "0 fields set"},
		{"two in one", [][]byte{mustMarshal(t, link.AgentMessage{Hello: &h, Beat: &link.Beat{}})}, connect.CodeInvalidArgument, "2 fields set"},
		{"too large", [][]byte{good, make([]byte, link.MaxMessage+1)}, connect.CodeInvalidArgument, "message_too_large: limit 8388608 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ context.Context, s *link.Session) error { return receiveAll(s) })
				path, _ := link.NewHandler(peerNode, nil)
				protocols := new(http.Protocols)
				protocols.SetHTTP2(true)
				d := r.dialer(r.ca.issue(string(node)))
				transport := &http.Transport{DialContext: d.DialContext, TLSClientConfig: d.TLS, Protocols: protocols}
				defer transport.CloseIdleConnections()
				stream := connect.NewClient[raw, raw](&http.Client{Transport: transport}, d.URL+path,
					connect.WithCodec(rawCodec{})).CallBidiStream(t.Context())
				for _, m := range test.messages {
					// An error here means that the server has answered; Receive has the answer.
					_ = stream.Send(&raw{m})
				}
				_, err := stream.Receive()
				if connect.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.text) {
					t.Errorf("got %v", err)
				}
				_ = r.last.Close()
			})
		})
	}
}

func TestTheAgentRefusesWhatNoServerOfThisVersionSends(t *testing.T) {
	t.Parallel()
	good := mustMarshal(t, link.ServerMessage{Welcome: &link.Welcome{Protocol: link.Protocol}})
	tests := []struct {
		name     string
		messages [][]byte
		text     string
	}{
		{"other protocol", [][]byte{mustMarshal(t, link.ServerMessage{Welcome: &link.Welcome{Protocol: 9, Version: "9.1"}})}, `upgrade_required: server "9.1" answers in link protocol 9; this agent speaks 1`},
		{"no welcome", [][]byte{mustMarshal(t, link.ServerMessage{Forget: &link.Forget{}})}, "not a welcome"},
		{"second welcome", [][]byte{good, good}, "second welcome"},
		{"unknown message", [][]byte{good, mustMarshal(t, map[string]any{"dance": 1})}, "0 fields set"},
		{"garbage", [][]byte{good, []byte("\xc1")}, "server: "},
		{"too large", [][]byte{good, make([]byte, link.MaxMessage+1)}, "message_too_large"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path, _ := link.NewHandler(peerNode, nil)
				r := newRigWith(t, path, connect.NewBidiStreamHandler(path, func(ctx context.Context, s *connect.BidiStream[raw, raw]) error {
					for _, m := range test.messages {
						if err := s.Send(&raw{m}); err != nil {
							return err
						}
					}
					<-ctx.Done()
					return ctx.Err()
				}, connect.WithCodec(rawCodec{})))
				s, _, err := r.dialer(r.ca.issue(string(node))).Dial(t.Context(), hello())
				if err == nil {
					defer s.Close()
					_, err = s.Receive()
				}
				wantError(t, err, stint.Invalid, test.text)
			})
		})
	}
}

func TestAServerThatIsNoLinkIsUnavailable(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusOK, http.StatusNotFound, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		synctest.Test(t, func(t *testing.T) {
			r := newRigWith(t, "/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", status) }))
			_, _, err := r.dialer(r.ca.issue(string(node))).Dial(t.Context(), hello())
			if err == nil || stint.CodeOf(err) != stint.Unavailable {
				t.Errorf("%d: %v with code %q", status, err, stint.CodeOf(err))
			}
		})
	}
}

// fuzzMessage decodes b as the link does, and checks that what was decoded can be
// encoded and is then the same.
func fuzzMessage[M any](t *testing.T, b []byte) {
	t.Helper()
	var m, again M
	if wire.Unmarshal(b, &m) != nil {
		return
	}
	first, err := wire.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := wire.Unmarshal(first, &again); err != nil {
		t.Fatal(err)
	}
	second, err := wire.Marshal(again)
	if err != nil || !bytes.Equal(first, second) {
		t.Fatal(errors.Join(err, errors.New("another message after a round trip")))
	}
}

func addSeeds(f *testing.F, messages ...any) {
	f.Helper()
	for _, m := range messages {
		b, err := wire.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func FuzzAgentMessage(f *testing.F) {
	h := hello()
	addSeeds(f, link.AgentMessage{Hello: &h}, report(1), link.AgentMessage{Beat: &link.Beat{Time: 1}}, link.AgentMessage{Result: &stint.ErrandResult{Error: stint.Errorf(stint.Lost, "x")}})
	f.Fuzz(func(t *testing.T, b []byte) { fuzzMessage[link.AgentMessage](t, b) })
}

func FuzzServerMessage(f *testing.F) {
	addSeeds(f,
		link.ServerMessage{Welcome: &link.Welcome{Storage: "file:///s"}},
		link.ServerMessage{Grant: &stint.Grant{Subsets: []stint.Subset{{Pieces: []stint.Piece{{Length: 1}}}}, Ops: stint.Range{From: 1, To: 2}}},
		link.ServerMessage{Spec: &stint.Spec{Stages: []stint.StageSpec{{Gather: stint.GatherMap{0, 1}}}}},
		link.ServerMessage{Errand: &stint.Errand{Kind: stint.ErrandCommit, Parts: []stint.Part{{Name: "p"}}}},
		link.ServerMessage{Resend: &link.Resend{Ops: []stint.StageOps{{Stage: 1}}}})
	f.Fuzz(func(t *testing.T, b []byte) { fuzzMessage[link.ServerMessage](t, b) })
}
