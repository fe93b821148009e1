package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"stint"
)

// answer is what a service says to one request: nothing if err is set.
type answer struct {
	err    error
	status int
	body   string
	silent bool // the body does not end with its text
}

// script gives answer i to request number i, from 0; the last one is repeated.
type script struct {
	answers []answer
	seen    []string // Last-Event-ID of each request
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	a := s.answers[min(len(s.seen), len(s.answers)-1)]
	s.seen = append(s.seen, r.Header.Get("Last-Event-ID"))
	if a.err != nil {
		return nil, a.err
	}
	body := &slowBody{text: strings.NewReader(a.body), ctx: r.Context(), silent: a.silent}
	return &http.Response{StatusCode: a.status, Body: io.NopCloser(body), Header: make(http.Header)}, nil
}

// slowBody gives a byte at a time, fails when its request ends, and may say
// nothing after its text.
type slowBody struct {
	text   io.Reader
	ctx    context.Context
	silent bool
}

func (s *slowBody) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.text.Read(b[:1])
	if err != nil && s.silent {
		<-s.ctx.Done()
		return 0, s.ctx.Err()
	}
	return n, err
}

func scripted(s *script) *Client {
	return &Client{base: &url.URL{Scheme: "https", Host: "stint"}, http: &http.Client{Transport: s}}
}

func stream(text string) answer { return answer{status: http.StatusOK, body: text} }

func down() answer {
	return answer{err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}
}

func happened(version int, status string) string {
	return fmt.Sprintf("id: %d\nevent: execution\ndata: {\"version\":%d,\"status\":%q}\n\n", version, version, status)
}

// collect watches to the end and returns the versions and the last error.
func collect(ctx context.Context, c *Client) (versions []uint64, last error) {
	for x, err := range c.Watch(ctx, "x-1", 0) {
		if err != nil {
			last = err
			continue
		}
		versions = append(versions, x.Version)
	}
	return versions, last
}

func TestABrokenWatchGoesOnFromTheLastVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []answer{
			stream("retry: 2000\n\n" + happened(3, "queued") + happened(4, "in progress") + "id: 5\nevent: execution\ndata: {\"vers"),
			down(),
			{status: http.StatusServiceUnavailable, body: `{"code":"unavailable","message":"starting"}`},
			stream(happened(6, "in progress") + "event: error\ndata: {\"code\":\"unavailable\",\"message\":\"stopping\"}\n\n"),
			stream(": still here\n\nevent: later\ndata: {}\n\n" + happened(7, "completed") + happened(8, "completed")),
		}}
		versions, err := collect(t.Context(), scripted(s))
		if d := cmp.Diff([]uint64{3, 4, 6, 7}, versions); d != "" || err != nil {
			t.Error(d, err)
		}
		if d := cmp.Diff([]string{"", "4", "4", "4", "6"}, s.seen); d != "" {
			t.Error(d)
		}
	})
}

func TestAWatchThatNeverGotThroughFailsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		versions, err := collect(t.Context(), scripted(&script{answers: []answer{down()}}))
		if stint.CodeOf(err) != stint.Unavailable || len(versions) > 0 || time.Since(start) > 0 {
			t.Error(versions, err, time.Since(start))
		}
	})
}

func TestAWatchGivesUpAfterTwoMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		versions, err := collect(t.Context(), scripted(&script{answers: []answer{stream(happened(3, "queued")), down()}}))
		if took := time.Since(start); stint.CodeOf(err) != stint.Unavailable || len(versions) != 1 || took < patience || took > patience+10*time.Second {
			t.Error(versions, err, took)
		}
	})
}

func TestWhoFollowsKnowsOfTheSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []answer{stream(happened(3, "queued")), down(), down(), stream(happened(4, "queued")), down(), stream(happened(5, "failed"))}}
		start := time.Now()
		var since []time.Time
		silent := func(s Silence) error {
			since = append(since, s.Since)
			if s.Until.Sub(s.Since) != patience || s.Since.After(time.Now()) {
				t.Errorf("from %s to %s", s.Since, s.Until)
			}
			return nil
		}
		for _, err := range scripted(s).Follow(t.Context(), "x-1", 0, silent) {
			if err != nil {
				t.Error(err)
			}
		}
		if len(since) != 5 || !since[0].Equal(start) || since[1] != since[0] || since[2] != since[0] || !since[3].After(since[2]) || since[4] != since[3] {
			t.Errorf("silent since %v", since)
		}
		enough := errors.New("enough")
		n := 0
		for _, err := range scripted(&script{answers: []answer{stream(happened(3, "queued"))}}).Follow(t.Context(), "x-1", 0, func(Silence) error { return enough }) {
			if n++; n == 2 && !errors.Is(err, enough) {
				t.Error(err)
			}
		}
		if n != 2 {
			t.Errorf("%d elements", n)
		}
	})
}

func TestAWatchThatMakesProgressDoesNotSlowDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		for version := range 30 {
			s.answers = append(s.answers, stream(happened(version+1, "queued")))
		}
		s.answers = append(s.answers, stream(happened(31, "completed")))
		start := time.Now()
		versions, err := collect(t.Context(), scripted(s))
		if took := time.Since(start); len(versions) != 31 || err != nil || took > 15*time.Second {
			t.Error(len(versions), err, took)
		}
	})
}

func TestARefusalEndsAWatchThatWasConnected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		denied := answer{status: http.StatusUnauthorized, body: `{"code":"token_expired","message":"expired"}`}
		_, err := collect(t.Context(), scripted(&script{answers: []answer{stream(happened(3, "queued")), denied}}))
		if stint.CodeOf(err) != stint.Denied || err.Error() != "expired" {
			t.Error(err)
		}
	})
}

func TestASilentStreamIsTakenForDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		silent := answer{status: http.StatusOK, body: happened(3, "queued"), silent: true}
		versions, err := collect(t.Context(), scripted(&script{answers: []answer{silent, stream(happened(4, "failed"))}}))
		if d := cmp.Diff([]uint64{3, 4}, versions); d != "" || err != nil {
			t.Error(d, err)
		}
		if took := time.Since(start); took < silence || took > silence+time.Second {
			t.Error(took)
		}
	})
}

func TestASlowConsumerIsNotASilentStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []answer{stream(happened(3, "queued") + happened(4, "completed"))}}
		n := 0
		for _, err := range scripted(s).Watch(t.Context(), "x-1", 0) {
			if err != nil {
				t.Error(err)
			}
			n++
			<-time.After(10 * silence)
		}
		if n != 2 || len(s.seen) != 1 {
			t.Errorf("%d documents, %d connections", n, len(s.seen))
		}
	})
}

func TestEventsAreReadAsTheFormatSays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"data: a\n\n":                           {":a"},
		"data:a\r\nevent:b\r\n\r\n":             {"b:a"},
		"event: b\ndata: 1\ndata:  2\n\n":       {"b:1\n 2"},
		"event: b\n\ndata: a\n\n":               {":a"}, // an event without data is none
		"event: b\n: comment\ndata: a\n\n":      {"b:a"},
		": comment\ndata: a\n\n":                {":", ":a"},
		"data\n\n":                              {":"},
		"id: 1\nnonsense\nretry: 5\ndata: \n\n": {":"},
		"data: cut off":                         nil,
		"data: cut off\n":                       nil,
		"":                                      nil,
	} {
		var got []string
		for r := newEventReader(strings.NewReader(text)); ; {
			e, err := r.next()
			if err != nil {
				break
			}
			got = append(got, e.name+":"+string(e.data))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

// endless never ends a line.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return copy(b, bytes.Repeat([]byte("x"), len(b))), nil }

func TestALineWithoutEndIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := newEventReader(endless{}).next(); !errors.Is(err, errLongEvent) {
		t.Error(err)
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("retry: 2000\n\nid: 1\nevent: execution\ndata: {}\n\n: still here\n\n"))
	f.Add([]byte("data: a\r\ndata: b\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := newEventReader(bytes.NewReader(text))
		for n := 0; ; n++ {
			e, err := r.next()
			if err != nil {
				return
			}
			if n > len(text) || len(e.data) > len(text) {
				t.Fatalf("event %d of %d bytes out of %d", n, len(e.data), len(text))
			}
		}
	})
}
