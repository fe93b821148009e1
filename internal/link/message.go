package link

import (
	"net"
	"strconv"

	"stint"
)

// Protocol versions of the link: an agent speaks Protocol, a server understands
// OldestProtocol … Protocol.
const (
	Protocol       = 1
	OldestProtocol = 1
)

// MaxMessage is the length of the longest message of a session, in bytes as encoded.
const MaxMessage = 8 << 20

// AgentMessage is what an agent sends: exactly one field is set.
type AgentMessage struct {
	Hello  *Hello              `json:"hello,omitempty"`
	Report *stint.Report       `json:"report,omitempty"`
	Result *stint.ErrandResult `json:"result,omitempty"`
	Beat   *Beat               `json:"beat,omitempty"`
}

// ServerMessage is what a server sends: exactly one field is set.
type ServerMessage struct {
	Welcome *Welcome       `json:"welcome,omitempty"`
	Spec    *stint.Spec    `json:"spec,omitempty"`
	Grant   *stint.Grant   `json:"grant,omitempty"`
	Retract *stint.Retract `json:"retract,omitempty"`
	Ack     *Ack           `json:"ack,omitempty"`
	Resend  *Resend        `json:"resend,omitempty"`
	Forget  *Forget        `json:"forget,omitempty"`
	Errand  *stint.Errand  `json:"errand,omitempty"`
	Echo    *Echo          `json:"echo,omitempty"` // sent and consumed by this package
	Suspend *stint.Suspend `json:"suspend,omitempty"`
	Drop    *Drop          `json:"drop,omitempty"`

	Credentials *Credentials `json:"credentials,omitempty"` // they have changed
}

// Hello is the first message of an agent: who it is and what it has.
type Hello struct {
	Protocol    int               `json:"protocol"` // set by [Dialer.Dial]
	Version     string            `json:"version"`  // of the program, for people
	Node        stint.NodeID      `json:"node"`     // as in the client certificate
	Name        string            `json:"name"`     // 1 to 80 printable characters
	Incarnation stint.Incarnation `json:"incarnation"`
	BootID      string            `json:"boot_id"` // of the machine: another one means that unsynced writes may be gone
	Slots       int               `json:"slots"`   // operations at once, at least 1
	Cores       int               `json:"cores"`
	Memory      int64             `json:"memory"`  // bytes
	Address     string            `json:"address"` // host:port where peers fetch blocks
	Holdings    []stint.Holding   `json:"holdings,omitempty"`
}

// Welcome is the first message of a server: the agent is attached.
type Welcome struct {
	Protocol int         `json:"protocol"` // set by [Session.Send]
	Version  string      `json:"version"`  // of the program, for people
	Epoch    stint.Epoch `json:"epoch"`
	Storage  string      `json:"storage"` // URL of system storage
	Time     int64       `json:"time"`    // the server's clock, milliseconds since 1970 UTC; nothing depends on it

	Credentials *Credentials `json:"credentials,omitempty"`
}

// Credentials are all sets of credentials for object storage. A node keeps them in
// memory alone.
type Credentials struct {
	Version uint64                `json:"version"` // a later one of a session is higher
	Sets    []stint.CredentialSet `json:"sets,omitempty"`
}

// Beat says that an agent lives. It is sent every [BeatInterval].
type Beat struct {
	Time int64 `json:"time"` // the agent's clock, milliseconds since 1970 UTC
	Free int64 `json:"free"` // bytes free in the data folder
	Busy int   `json:"busy"` // slots that perform something
}

// Echo answers a [Beat], so that the agent sees that the server lives.
type Echo struct {
	Time int64 `json:"time"` // of the beat
}

// Ack says that all reports of one execution up to Seq are committed; the agent
// forgets them.
type Ack struct {
	Execution   stint.ExecutionID `json:"execution"`
	Seq         uint64            `json:"seq"`
	Incarnation stint.Incarnation `json:"incarnation"` // that numbered the reports
}

// Resend asks for completed operations to be reported again from the node's
// log, in new reports: the server lost or never had what was said of them.
type Resend struct {
	Execution stint.ExecutionID `json:"execution"`
	Ops       []stint.StageOps  `json:"ops"`
}

// Forget orders a node to stop everything of an execution and to remove all it
// holds of it. It may come twice, or for an execution the node never had.
type Forget struct {
	Execution stint.ExecutionID `json:"execution"`
	// Keep is until when the node keeps the blocks for reuse by another execution,
	// in milliseconds since 1970, unless it needs the space; 0: it removes them.
	Keep int64 `json:"keep,omitempty"`
	// Discard says that its logs are not to be put into storage either.
	Discard bool `json:"discard,omitempty"`
}

// Drop says that output of operations is not needed any more: the node may remove
// it when it wants the space.
type Drop struct {
	Execution stint.ExecutionID `json:"execution"`
	Ops       []stint.StageOps  `json:"ops"`
}

func (m *AgentMessage) fields() int {
	return count(m.Hello != nil, m.Report != nil, m.Result != nil, m.Beat != nil)
}

func (m *ServerMessage) fields() int {
	return count(m.Welcome != nil, m.Spec != nil, m.Grant != nil, m.Retract != nil, m.Ack != nil,
		m.Resend != nil, m.Forget != nil, m.Errand != nil, m.Echo != nil, m.Suspend != nil, m.Drop != nil, m.Credentials != nil)
}

func count(set ...bool) int {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	return n
}

const maxName = 80

func (h *Hello) check() error {
	if _, err := stint.ParseNodeID(string(h.Node)); err != nil {
		return stint.Errorf(stint.Invalid, "hello/node: %w", err)
	}
	if !printable(h.Name) || h.Name == "" {
		return stint.Errorf(stint.Invalid, "hello/name: %.80q: expected 1 to %d printable ASCII characters", h.Name, maxName)
	}
	if !printable(h.Version) {
		return stint.Errorf(stint.Invalid, "hello/version: %.80q: expected at most %d printable ASCII characters", h.Version, maxName)
	}
	if h.Incarnation == 0 {
		return stint.Errorf(stint.Invalid, "hello/incarnation: missing; the first is 1")
	}
	if h.Slots < 1 || h.Slots > 1<<16 {
		return stint.Errorf(stint.Invalid, "hello/slots: %d: expected 1 to %d", h.Slots, 1<<16)
	}
	host, port, err := net.SplitHostPort(h.Address)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host == "" {
		return stint.Errorf(stint.Invalid, "hello/address: %.80q: expected HOST:PORT", h.Address)
	}
	return nil
}

// printable reports whether people can be shown a name as it is.
func printable(s string) bool {
	for _, b := range []byte(s) {
		if b < ' ' || b > '~' {
			return false
		}
	}
	return len(s) <= maxName
}
