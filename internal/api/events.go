package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"reflect"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"stint"
)

const (
	pingEvery    = 15 * time.Second
	writeTime    = 15 * time.Second // one event to a slow client
	retryMillis  = 2000
	maxStreams   = 50 // of one token
	eventsType   = "text/event-stream"
	errorEvent   = "error"
	documentType = "execution"
)

type eventsInput struct {
	ID   string `path:"id"`
	Last string `header:"Last-Event-ID" doc:"The id of the last event that was seen."`
	exchange
}

func (b *builder) eventsOperation() huma.Operation {
	event := func(name string, data *huma.Schema) *huma.Schema {
		return &huma.Schema{Type: huma.TypeObject, Title: "Event " + name, Required: []string{"event", "data"}, Properties: map[string]*huma.Schema{
			"id":    {Type: huma.TypeInteger, Description: "The version of the document."},
			"event": {Type: huma.TypeString, Enum: []any{name}},
			"data":  data,
		}}
	}
	items := &huma.Schema{OneOf: []*huma.Schema{
		event(documentType, b.schema(reflect.TypeFor[stint.Execution]())),
		event(errorEvent, b.schema(reflect.TypeFor[Problem]())),
	}}
	return huma.Operation{
		Method: http.MethodGet, Path: "/v1/executions/{id}/events", OperationID: "events",
		Summary:     "One execution, whenever it changes",
		Description: "Server-sent events. The current document comes first; the stream ends after a final one.",
		Responses: map[string]*huma.Response{
			"200": {
				Description: "The events",
				Content:     map[string]*huma.MediaType{eventsType: {Schema: &huma.Schema{Type: huma.TypeArray, Items: items}}},
			},
			"204": {Description: "The document is final, and Last-Event-ID says that it was seen"},
		},
	}
}

func (h *Handler) events(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	id, err := executionID(in.ID)
	if err != nil {
		return nil, err
	}
	after, err := lastEvent(in.Last)
	if err != nil {
		return nil, err
	}
	current, err := h.config.Service.Show(ctx, id)
	if err != nil {
		return nil, err
	}
	if after > current.Version {
		after = 0 // it saw another record: begin again
	}
	if current.Status.Final() && after == current.Version {
		return &huma.StreamResponse{Body: func(c huma.Context) { c.SetStatus(http.StatusNoContent) }}, nil
	}
	if in.r.Method == http.MethodHead {
		return &huma.StreamResponse{Body: func(c huma.Context) { c.SetHeader("Content-Type", eventsType) }}, nil
	}
	release, err := h.streams.acquire(in.r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer release()
		_, w := humago.Unwrap(c)
		s := stream{w: w, control: http.NewResponseController(w), problem: func(err error) *Problem { return h.problem(ctx, err) }}
		s.run(ctx, func(ctx context.Context) iter.Seq2[stint.Execution, error] {
			return h.config.Service.Watch(ctx, id, after)
		})
	}}, nil
}

func lastEvent(header string) (uint64, error) {
	if header == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(header, 10, 64)
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "bad_event_id", "Last-Event-ID %.80q: expected the id of an event of this stream", header)
	}
	return n, nil
}

// stream writes events to one client.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	problem func(error) *Problem
}

type update struct {
	document stint.Execution
	err      error
}

// run writes what the service yields until that ends, the client is gone or too
// slow, or an error came. The goroutine that waits for the service is gone when
// it returns.
func (s *stream) run(ctx context.Context, watch func(context.Context) iter.Seq2[stint.Execution, error]) {
	ctx, cancel := context.WithCancel(ctx)
	updates := make(chan update)
	go func() {
		defer close(updates)
		relay(ctx, watch(ctx), updates)
	}()
	s.forward(ctx, updates)
	cancel()
	for range updates { // until the goroutine closes it
	}
}

// relay passes on what the service yields, and that it panicked if it does: only
// the goroutine of a request is caught by the server.
func relay(ctx context.Context, documents iter.Seq2[stint.Execution, error], updates chan<- update) {
	pass := func(u update) bool {
		select {
		case updates <- u:
			return true
		case <-ctx.Done():
			return false
		}
	}
	defer func() {
		if cause := recover(); cause != nil {
			pass(update{err: fmt.Errorf("panic: %v\n%s", cause, debug.Stack())})
		}
	}()
	for x, err := range documents {
		if !pass(update{x, err}) {
			return
		}
	}
}

func (s *stream) forward(ctx context.Context, updates <-chan update) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	s.w.Header().Set("Content-Type", eventsType)
	s.w.WriteHeader(http.StatusOK)
	err := s.send("retry: %d\n\n", retryMillis)
	for err == nil {
		select {
		case <-ctx.Done():
			return
		case <-ping.C:
			err = s.send(": still here\n\n")
		case u, more := <-updates:
			if !more {
				return
			}
			err = s.send("%s", s.event(u))
		}
	}
}

// event returns the text of an event: of a document, or of the error in its place.
func (s *stream) event(u update) []byte {
	if u.err == nil {
		fill(&u.document)
		data, err := json.Marshal(u.document)
		if err == nil {
			return fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", u.document.Version, documentType, data)
		}
		u.err = fmt.Errorf("encode execution %s: %w", u.document.ID, err)
	}
	data, _ := json.Marshal(s.problem(u.err)) //nolint:errchkjson // texts and numbers
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", errorEvent, data)
}

// send writes to the client, who has to take it in time. The deadline is lifted
// afterwards: HTTP/2 ends a stream when one passes, also while nothing is written.
func (s *stream) send(format string, args ...any) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTime)) // a transport without deadlines has limits of its own
	defer s.control.SetWriteDeadline(time.Time{})             //nolint:errcheck // as above
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		return fmt.Errorf("write an event: %w", err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("flush an event: %w", err)
	}
	return nil
}

// streamCounter counts the event streams of each token.
type streamCounter struct {
	mu    sync.Mutex
	count map[[sha256.Size]byte]int
}

// acquire takes one of the streams of the token in an Authorization header.
func (c *streamCounter) acquire(authorization string) (release func(), err error) {
	key := sha256.Sum256([]byte(authorization))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count[key] >= maxStreams {
		p := refuseLimit(http.StatusTooManyRequests, "too_many_streams", maxStreams, "this token has too many event streams: the limit is %d", maxStreams)
		p.retryAfter = 1
		return nil, p
	}
	if c.count == nil {
		c.count = make(map[[sha256.Size]byte]int)
	}
	c.count[key]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.count[key]--; c.count[key] == 0 {
			delete(c.count, key)
		}
	}, nil
}
