package link

import (
	"fmt"

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

// toConnect turns an error into the one that crosses the wire: code and text.
func toConnect(err error) error {
	if err == nil {
		return nil
	}
	return connect.NewError(connectCode(stint.CodeOf(err)), fmt.Errorf("%.1000s", err.Error()))
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
