package client

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"stint"
)

// maxRefusal is how much is read of the body of a refusal, in bytes.
const maxRefusal = 1 << 20

// problem is what a client reads of an application/problem+json body.
type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Request string `json:"request_id"`
	Errors  []struct {
		Message string `json:"message"`
	} `json:"errors"`
}

// refusal reads the error in an answer that is no success.
func refusal(r *http.Response) *stint.Error {
	var p problem
	data, err := io.ReadAll(io.LimitReader(r.Body, maxRefusal))
	if err != nil || json.Unmarshal(data, &p) != nil || p.Message == "" {
		return stint.Errorf(codeOfStatus(r.StatusCode), "the service answered %s", r.Status)
	}
	return p.error(r.StatusCode)
}

// error returns the code and all the messages of the problem.
func (p problem) error(status int) *stint.Error {
	e := &stint.Error{Code: stint.Code(p.Code), Message: p.Message}
	if !isCode(e.Code) {
		e.Code = codeOfStatus(status)
	}
	if len(p.Errors) > 1 {
		messages := make([]string, len(p.Errors))
		for i, d := range p.Errors {
			messages[i] = d.Message
		}
		e.Message = strings.Join(messages, "; ")
	}
	if e.Code == stint.Internal && p.Request != "" {
		e.Message += " (request " + p.Request + ")"
	}
	return e
}

func isCode(c stint.Code) bool {
	switch c {
	case stint.Invalid, stint.NotFound, stint.Conflict, stint.Denied, stint.Unavailable,
		stint.Lost, stint.Failed, stint.Canceled, stint.Unknown, stint.Internal:
		return true
	}
	return false
}

// codeOfStatus is for refusals with a code of the API's own, as unknown_field.
func codeOfStatus(status int) stint.Code {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return stint.Denied
	case http.StatusNotFound:
		return stint.NotFound
	case http.StatusConflict, http.StatusGone:
		return stint.Conflict
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		return stint.Unavailable
	}
	if status/100 == 4 {
		return stint.Invalid
	}
	return stint.Internal
}
