package server_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stint"
	"stint/client"
	"stint/internal/api"
	"stint/internal/server"
)

// withAPI has the servers of a site serve the API, to everybody.
func (s *site) withAPI() {
	s.api = func(sv *server.Server) http.Handler {
		h, err := api.New(api.Config{
			Service: sv, Version: "test", CursorKey: make([]byte, 32),
			Allow: func(context.Context, api.Permission) bool { return true },
			Fault: func(_ context.Context, _ string, err error) { s.t.Errorf("fault: %v", err) },
		})
		check(s.t, err)
		return h
	}
}

func (s *site) client() *client.Client {
	s.t.Helper()
	c, err := client.New(client.Config{URL: "https://" + bubblePort, CA: s.ca.PEM(), Dial: s.net.DialContext})
	check(s.t, err)
	s.t.Cleanup(c.Close)
	return c
}

// step has a node perform the first job that it was granted of an execution.
func (n *node) step(id stint.ExecutionID) {
	n.with(func() {
		k := n.kept[id]
		if k == nil || len(k.waiting) == 0 {
			return
		}
		g := k.waiting[0]
		k.waiting = k.waiting[1:]
		n.report(id, stint.Report{Begun: []stint.Begun{{Job: g.Job, Ops: g.Ops}}, Done: []stint.Done{n.perform(g)}})
	})
}

// seen is what a watcher has seen.
type seen struct {
	mu   sync.Mutex
	docs []stint.Execution
	err  error
}

func (s *seen) last() stint.Execution {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.docs) == 0 {
		return stint.Execution{}
	}
	return s.docs[len(s.docs)-1]
}

// follow watches to the end.
func (s *seen) follow(ctx context.Context, c *client.Client, id stint.ExecutionID) {
	for doc, err := range c.Watch(ctx, id, 0) {
		s.mu.Lock()
		if s.err = err; err == nil {
			s.docs = append(s.docs, doc)
		}
		s.mu.Unlock()
	}
}

func TestBubbleAWatchOverABadNetworkSeesEveryVersionOnceAndTheEnd(t *testing.T) {
	t.Parallel()
	bubbles(t, 15, func(s *site) {
		t := s.t
		s.withAPI()
		r := s.serve(nil)
		n := s.node("a").idle().attach(r)
		id := r.submit(s.numbers(60))
		n.await("grants", func() bool { return n.granted(id) > 0 })
		var watcher sync.WaitGroup
		var saw seen
		c := s.client()
		watcher.Go(func() { saw.follow(t.Context(), c, id) })
		synctest.Wait()
		for range 6 {
			switch s.random.IntN(3) {
			case 0:
				s.net.Break(bubblePort)
			case 1:
				s.net.Cut(bubblePort)
			default:
				r.stop()
				at(time.Now().Add(s.between(0, 20*time.Second)))
				r = s.serve(nil)
			}
			n.attach(r)
			n.await("grants", func() bool { return n.granted(id) > 0 })
			n.step(id)
			at(time.Now().Add(time.Minute)) // a stream that is silent is taken for dead after 45 s
			doc, err := r.Show(t.Context(), id)
			check(t, err)
			if got := saw.last(); got.Version != doc.Version {
				t.Errorf("seen up to version %d of %d", got.Version, doc.Version)
			}
			if doc.Status.Final() {
				break // jobs grow: it may take fewer
			}
		}
		n.work()
		watcher.Wait()
		for i, doc := range saw.docs {
			if i > 0 && doc.Version <= saw.docs[i-1].Version {
				t.Errorf("version %d after %d", doc.Version, saw.docs[i-1].Version)
			}
		}
		if got := saw.last(); saw.err != nil || got.Status != stint.Completed {
			t.Errorf("the last is %s, %v", got.Status, saw.err)
		}
	})
}
