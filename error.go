package stint

import (
	"errors"
	"fmt"
)

// Code is the kind of an error: what the caller can do about it. Codes cross
// the wire; texts are for people and are never compared.
type Code string

// The closed set of codes.
const (
	Invalid     Code = "invalid"     // the request is wrong and stays wrong when repeated
	NotFound    Code = "not_found"   // there is no such thing, or it is not yours
	Conflict    Code = "conflict"    // the thing is in a state that forbids this
	Denied      Code = "denied"      // no credential, or not enough of one
	Unavailable Code = "unavailable" // try again later, here or elsewhere
	Lost        Code = "lost"        // a machine or its data is gone; the program is not to blame
	Failed      Code = "failed"      // the program failed
	Canceled    Code = "canceled"    // somebody asked for it to stop
	Unknown     Code = "unknown"     // it may or may not have happened: read again under the same key
	Internal    Code = "internal"    // a fault of Stint's own
)

// Error is an error with a code.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"` // what, where, what is allowed; one sentence
	Err     error  `json:"-"`       // the cause; shown to operators, never to users of the API
}

// Error returns the message and the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	if e.Message == "" {
		return e.Err.Error()
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [Error]; a %w verb becomes its cause as [fmt.Errorf] does.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	if cause := errors.Unwrap(err); cause != nil {
		return &Error{Code: code, Err: err}
	}
	return &Error{Code: code, Message: err.Error()}
}

// TooLarge is why something is refused that is longer than may be, whatever is in
// it. It is the cause of an [Error] with the code [Invalid].
type TooLarge struct {
	Text  string // for people
	Limit int64  // bytes
}

// Error returns the text.
func (t *TooLarge) Error() string { return t.Text }

// RefuseTooLarge makes an [Error] of a [TooLarge].
func RefuseTooLarge(limit int64, format string, args ...any) *Error {
	return &Error{Code: Invalid, Err: &TooLarge{Text: fmt.Sprintf(format, args...), Limit: limit}}
}

// CodeOf returns the code of the outermost [Error] in err's chain, [Internal]
// if there is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// AsError turns any error into the [Error] that crosses the wire: its code and
// its whole text. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	return &Error{Code: CodeOf(err), Message: err.Error()}
}
