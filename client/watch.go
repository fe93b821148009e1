package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"stint"
)

const (
	// patience is how long a watch that was connected tries to come back.
	patience = 2 * time.Minute

	// silence is how long a live stream may say nothing; the service sends a
	// comment every 15 seconds.
	silence = 45 * time.Second

	// maxEvent is the longest line of a stream, in bytes.
	maxEvent = 64 << 20
)

// Watch yields the document of an execution whenever it changed: the current
// one first, if its version is above after, the final one last. Documents in
// between may be left out while the consumer is slow. A lost connection is made again
// from the last version for up to two minutes; every other error, and not
// getting through at the beginning, is yielded and ends the sequence. So does
// the end of ctx.
func (c *Client) Watch(ctx context.Context, id stint.ExecutionID, after uint64) iter.Seq2[stint.Execution, error] {
	return c.Follow(ctx, id, after, func(Silence) error { return nil })
}

// Silence is a time in which a watch that was connected does not get through.
type Silence struct {
	Since time.Time // when the connection was lost
	Until time.Time // when the watch gives up
}

// Follow is [Client.Watch] for who wants to know why nothing comes: before every
// attempt to make a lost connection again it calls silent, in the goroutine of the
// consumer. An error that silent returns ends the sequence, as its last element.
func (c *Client) Follow(ctx context.Context, id stint.ExecutionID, after uint64, silent func(Silence) error) iter.Seq2[stint.Execution, error] {
	return func(yield func(stint.Execution, error) bool) {
		w := watch{client: c, id: id, after: after, yield: yield, silent: silent}
		if err := w.run(ctx); err != nil {
			yield(stint.Execution{}, err)
		}
	}
}

// watch is one watch and how far it came.
type watch struct {
	client *Client
	id     stint.ExecutionID
	after  uint64
	yield  func(stint.Execution, error) bool
	silent func(Silence) error
	alive  time.Time // when the stream last said something; zero until it did
	lost   time.Time // when the connection was lost that is not made again yet
	ended  bool      // the final document was yielded, or the consumer has enough
}

func (w *watch) run(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		if err := pause(ctx, attempt); err != nil {
			return err
		}
		before := w.alive
		err := w.once(ctx)
		switch {
		case w.ended:
			return nil
		case ctx.Err() != nil:
			return &stint.Error{Code: stint.Canceled, Err: fmt.Errorf("watch execution %s: %w", w.id, ctx.Err())}
		case stint.CodeOf(err) != stint.Unavailable, w.alive.IsZero(), time.Since(w.alive) > patience:
			return err
		case w.alive.After(before):
			attempt = 0
			w.lost = time.Now()
		}
		if err := w.silent(Silence{Since: w.lost, Until: w.alive.Add(patience)}); err != nil {
			return err
		}
	}
}

// once connects and yields what comes until the stream ends. A stream that
// broke is [stint.Unavailable].
func (w *watch) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k := get("v1", "executions", string(w.id), "events")
	k.header = http.Header{"Accept": {"text/event-stream"}}
	if w.after > 0 {
		k.header.Set("Last-Event-ID", strconv.FormatUint(w.after, 10))
	}
	response, err := w.client.do(ctx, k)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // nothing was written
	if response.StatusCode == http.StatusNoContent {
		w.ended = true // final, and seen
		return nil
	}
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	events := newEventReader(response.Body)
	for !w.ended {
		e, err := events.next()
		if errors.Is(err, errLongEvent) {
			return &stint.Error{Code: stint.Internal, Err: fmt.Errorf("watch execution %s: %w", w.id, err)}
		}
		if err != nil {
			return &stint.Error{Code: stint.Unavailable, Err: fmt.Errorf("watch execution %s: %w", w.id, err)}
		}
		quiet.Stop() // a consumer may take its time
		if err := w.take(e); err != nil {
			return err
		}
		w.alive = time.Now()
		quiet.Reset(silence)
	}
	return nil
}

// take yields one event.
func (w *watch) take(e event) error {
	switch e.name {
	case "execution":
		var x stint.Execution
		if err := json.Unmarshal(e.data, &x); err != nil {
			return &stint.Error{Code: stint.Internal, Err: fmt.Errorf("read an event of execution %s: %w", w.id, err)}
		}
		w.after = x.Version
		w.ended = !w.yield(x, nil) || x.Status.Final()
	case "error":
		var p problem
		if err := json.Unmarshal(e.data, &p); err != nil {
			return &stint.Error{Code: stint.Internal, Err: fmt.Errorf("read an error of execution %s: %w", w.id, err)}
		}
		return p.error(http.StatusInternalServerError)
	}
	return nil // a comment, or a kind of event that a later service may send
}

// pause waits before an attempt but the first: up to a quarter of a second
// twice as long each time, at most five seconds, at random.
func pause(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return nil
	}
	longest := min(250*time.Millisecond<<min(attempt, 10), 5*time.Second)
	timer := time.NewTimer(rand.N(longest)) //nolint:gosec // jitter, not a secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &stint.Error{Code: stint.Canceled, Err: fmt.Errorf("wait to try again: %w", ctx.Err())}
	}
}

// event is one server-sent event, or with no name a comment.
type event struct {
	name string
	data []byte
}

// eventReader reads a text/event-stream.
type eventReader struct {
	r *bufio.Reader
}

func newEventReader(r io.Reader) eventReader {
	return eventReader{r: bufio.NewReaderSize(r, 64<<10)}
}

var errLongEvent = fmt.Errorf("an event is longer than %d bytes", maxEvent)

// next returns the next event or comment, io.EOF or another error at the end of
// the stream. An event that is cut off there is left out.
func (r eventReader) next() (event, error) {
	var e event
	for {
		line, err := r.line()
		if err != nil {
			return event{}, err
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0 && e.data != nil:
			return e, nil
		case len(line) == 0: // an event without data is none
			e = event{}
		case len(name) == 0 && e.name == "" && e.data == nil:
			return event{}, nil // a comment: a sign of life
		case len(name) == 0:
		case string(name) == "event":
			e.name = string(value)
		case string(name) == "data" && len(e.data)+len(value) > maxEvent:
			return event{}, errLongEvent
		case string(name) == "data":
			if e.data == nil {
				e.data = []byte{} // no data and empty data differ
			} else {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
		}
	}
}

// line returns the next line without its end.
func (r eventReader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := r.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > maxEvent:
			return nil, errLongEvent
		}
	}
}
