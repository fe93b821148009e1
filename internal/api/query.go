package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"stint"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
	maxSearch    = 200 // runes
)

// pageLimit is the text of the parameter limit.
type pageLimit string

// Schema describes the number in the OpenAPI document.
func (pageLimit) Schema(huma.Registry) *huma.Schema {
	low, high := 1.0, float64(maxLimit)
	return &huma.Schema{Type: huma.TypeInteger, Minimum: &low, Maximum: &high, Default: defaultLimit}
}

func (l pageLimit) number() (int, error) {
	if l == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(string(l))
	if err != nil || n < 1 || n > maxLimit {
		return 0, refuseLimit(http.StatusBadRequest, "bad_limit", maxLimit, "limit: %.80q; a whole number from 1 to %d", string(l), maxLimit)
	}
	return n, nil
}

// executionStatus is the text of the parameter status of a list of executions.
type executionStatus string

// Schema lists the statuses in the OpenAPI document.
func (executionStatus) Schema(huma.Registry) *huma.Schema {
	return enumSchema(stint.ExecutionStatuses())
}

// operationStatus is the text of the parameter status of a list of operations.
type operationStatus string

// Schema lists the statuses in the OpenAPI document.
func (operationStatus) Schema(huma.Registry) *huma.Schema {
	return enumSchema(stint.OperationStatuses())
}

func enumSchema[S ~string](values []S) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

// oneOf reads a parameter that is empty or one of the allowed words.
func oneOf[S ~string](name, text string, allowed []S) (S, error) {
	if text == "" || slices.Contains(allowed, S(text)) {
		return S(text), nil
	}
	words := make([]string, len(allowed))
	for i, a := range allowed {
		words[i] = string(a)
	}
	p := refuse(http.StatusBadRequest, "unknown_value", "%s: %.80q; one of %s", name, text, strings.Join(words, ", "))
	p.Hint = stint.Nearest(text, words)
	return "", p
}

func checkSearch(text string) error {
	if utf8.RuneCountInString(text) > maxSearch || !utf8.ValidString(text) {
		return refuseLimit(http.StatusBadRequest, "bad_search", maxSearch, "search: at most %d characters of UTF-8", maxSearch)
	}
	return nil
}

func parseQuery(raw string) (url.Values, error) {
	v, err := url.ParseQuery(raw)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "bad_query", "the query of the URL does not parse: %s", printable(err.Error()))
	}
	return v, nil
}

// executionID reads the id in a path. An id in another spelling is the id of nothing.
func executionID(text string) (stint.ExecutionID, error) {
	id, err := stint.ParseExecutionID(text)
	if err != nil {
		return "", refuse(http.StatusNotFound, string(stint.NotFound), "execution %.80q: not found", text)
	}
	return id, nil
}

// nodeID reads the id in a path, as [executionID] does.
func nodeID(text string) (stint.NodeID, error) {
	id, err := stint.ParseNodeID(text)
	if err != nil {
		return "", refuse(http.StatusNotFound, string(stint.NotFound), "node %.80q: not found", text)
	}
	return id, nil
}
