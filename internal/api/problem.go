package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"stint"
)

const (
	problemType = "application/problem+json"
	jsonType    = "application/json"
)

// maxMessage is the length, in runes, beyond which an error's text is cut.
const maxMessage = 2000

// Detail is one thing that is wrong with a request.
type Detail struct {
	Code    string `json:"code" doc:"Stable, snake_case. For an error of the service itself one of its closed set: invalid, not_found, conflict, denied, unavailable, lost, failed, canceled, unknown, internal."`
	Message string `json:"message" doc:"One sentence for people: where, what was found, what is allowed."`
	Pointer string `json:"pointer,omitempty" doc:"JSON pointer into the request's body."`
	Limit   int64  `json:"limit,omitempty" doc:"The limit that was passed, in the unit the message names."`
	Hint    string `json:"hint,omitempty" doc:"What was probably meant."`
}

// Problem is the body of every refusal (RFC 9457). Detail is the first of
// Errors, which is there only if there are several.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail
	RequestID string   `json:"request_id" doc:"Names this request in the service's records."`
	Errors    []Detail `json:"errors,omitempty" doc:"All that is wrong, at most 50."`

	retryAfter int // seconds; 0: no header
}

// Error returns the message.
func (p *Problem) Error() string { return p.Message }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the media type of a problem, whatever was asked for.
func (*Problem) ContentType(string) string { return problemType }

// GetHeaders returns the headers that go with the problem.
func (p *Problem) GetHeaders() http.Header {
	h := make(http.Header)
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	return h
}

// refuse makes a problem with one detail.
func refuse(status int, code, format string, args ...any) *Problem {
	return refuseAll(status, []Detail{{Code: code, Message: fmt.Sprintf(format, args...)}})
}

// refuseLimit makes a problem about a limit of n.
func refuseLimit(status int, code string, n int64, format string, args ...any) *Problem {
	p := refuse(status, code, format, args...)
	p.Limit = n
	return p
}

// refuseAll makes a problem of at least one detail.
func refuseAll(status int, details []Detail) *Problem {
	p := &Problem{Title: http.StatusText(status), Status: status, Detail: details[0]}
	if len(details) > 1 {
		p.Errors = details
	}
	return p
}

// problemOf turns any error into what the client may see of it. The text of an
// internal error is not among that.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		copied := *p
		return &copied
	}
	code := stint.CodeOf(err)
	if isDisconnect(err) {
		code = stint.Canceled
	}
	message := "internal error"
	if code != stint.Internal {
		message = printable(err.Error())
	}
	p = refuse(statusOf(code), string(code), "%s", message)
	if p.Status == http.StatusServiceUnavailable {
		p.retryAfter = 1
	}
	return p
}

// statusOf is the one table from codes to HTTP statuses.
func statusOf(c stint.Code) int {
	switch c {
	case stint.Invalid:
		return http.StatusUnprocessableEntity
	case stint.NotFound:
		return http.StatusNotFound
	case stint.Denied:
		return http.StatusForbidden
	case stint.Conflict, stint.Failed, stint.Canceled:
		return http.StatusConflict
	case stint.Unavailable, stint.Lost, stint.Unknown:
		return http.StatusServiceUnavailable
	case stint.Internal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// isDisconnect reports whether err only says that the request ended early.
func isDisconnect(err error) bool {
	var coded *stint.Error
	return errors.Is(err, context.Canceled) && !errors.As(err, &coded)
}

// printable escapes what is not printable and cuts what is too long.
func printable(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxMessage {
			b.WriteString("…")
			break
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// write answers with a problem. The answer's header has not been written.
func (p *Problem) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), p.GetHeaders())
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // a client that is gone needs no answer
}
