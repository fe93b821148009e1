package link

import (
	"errors"
	"fmt"
	"strconv"

	"connectrpc.com/connect"

	"stint"
	"stint/internal/wire"
)

// codec carries plain Go values in Connect's envelopes. It is what makes the
// link free of generated code.
type codec struct{}

// encoded is a message that was encoded when it was queued: its size is known
// before it is accepted, and an unencodable one is refused to its author.
type encoded struct{ bytes []byte }

// Name returns the name that stands in the content type.
func (codec) Name() string { return "msgpack" }

// Marshal returns the bytes of v.
func (codec) Marshal(v any) ([]byte, error) {
	if e, ok := v.(*encoded); ok {
		return e.bytes, nil
	}
	return wire.Marshal(v)
}

// Unmarshal reads into v, a pointer.
func (codec) Unmarshal(b []byte, v any) error { return wire.Unmarshal(b, v) }

func encode(v any) (*encoded, error) {
	b, err := wire.Marshal(v)
	if err != nil {
		return nil, stint.Errorf(stint.Internal, "message: %w", err)
	}
	if len(b) > MaxMessage {
		return nil, stint.Errorf(stint.Invalid, "message_too_large: %d bytes; limit %d", len(b), MaxMessage)
	}
	return &encoded{b}, nil
}

// knownIncarnation is the key in the metadata of a refusal under which the
// incarnation stands that is known of the agent's node, as decimal digits. It is
// there for a [stint.StaleIncarnation], and only there.
const knownIncarnation = "Stint-Known-Incarnation"

// removedNode is the key under which a refusal has the node that was removed. It is
// there for a [stint.NodeRemoved], and only there.
const removedNode = "Stint-Removed-Node"

// toConnect turns an error into the one that crosses the wire: code, text, and what
// an agent decides by.
func toConnect(err error) error {
	if err == nil {
		return nil
	}
	out := connect.NewError(connectCode(stint.CodeOf(err)), fmt.Errorf("%.1000s", err.Error()))
	if stale, ok := errors.AsType[*stint.StaleIncarnation](err); ok {
		out.Meta().Set(knownIncarnation, strconv.FormatUint(uint64(stale.Known), 10))
	}
	if removed, ok := errors.AsType[*stint.NodeRemoved](err); ok {
		out.Meta().Set(removedNode, string(removed.Node))
	}
	return out
}

// refused returns why a refusal is to be acted upon: a later start of the node is
// known, or the node was removed; nil: there is no such reason.
func refused(refusal *connect.Error, own start) error {
	code := stintCode(refusal.Code())
	if known, err := strconv.ParseUint(refusal.Meta().Get(knownIncarnation), 10, 64); err == nil && code == stint.Conflict {
		return &stint.StaleIncarnation{Node: own.node, Known: stint.Incarnation(known), Own: own.incarnation}
	}
	if refusal.Meta().Get(removedNode) == string(own.node) && own.node != "" && code == stint.Denied {
		return &stint.NodeRemoved{Node: own.node}
	}
	return nil
}

func connectCode(c stint.Code) connect.Code {
	switch c {
	case stint.Invalid:
		return connect.CodeInvalidArgument
	case stint.NotFound:
		return connect.CodeNotFound
	case stint.Conflict:
		return connect.CodeFailedPrecondition
	case stint.Denied:
		return connect.CodePermissionDenied
	case stint.Unavailable:
		return connect.CodeUnavailable
	case stint.Lost:
		return connect.CodeDataLoss
	case stint.Failed:
		return connect.CodeAborted
	case stint.Canceled:
		return connect.CodeCanceled
	case stint.Unknown:
		return connect.CodeUnknown
	case stint.Internal:
		return connect.CodeInternal
	}
	return connect.CodeInternal
}

// stintCode is the inverse of connectCode, and gives every code that Connect
// makes by itself a meaning.
func stintCode(c connect.Code) stint.Code {
	switch c {
	case connect.CodeInvalidArgument, connect.CodeResourceExhausted, connect.CodeOutOfRange, connect.CodeUnimplemented:
		return stint.Invalid
	case connect.CodeNotFound:
		return stint.NotFound
	case connect.CodeFailedPrecondition, connect.CodeAlreadyExists:
		return stint.Conflict
	case connect.CodePermissionDenied, connect.CodeUnauthenticated:
		return stint.Denied
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded:
		return stint.Unavailable
	case connect.CodeDataLoss:
		return stint.Lost
	case connect.CodeAborted:
		return stint.Failed
	case connect.CodeCanceled:
		return stint.Canceled
	case connect.CodeUnknown:
		return stint.Unknown
	case connect.CodeInternal:
		return stint.Internal
	}
	return stint.Internal
}
