package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync"
	"testing"
	"time"

	"stint"
	"stint/internal/link"
	"stint/internal/server"
)

// stopGrace is how long after a grace period a node has to say what it did.
const stopGrace = time.Minute

// begin has a node say that it has begun all that it was granted of an execution.
// It never ends.
func (n *node) begin(id stint.ExecutionID) {
	n.with(func() {
		k := n.kept[id]
		for _, g := range k.waiting {
			n.report(id, stint.Report{Begun: []stint.Begun{{Job: g.Job, Ops: g.Ops}}})
		}
		k.waiting = nil
	})
}

// heardAt has a node note when it hears a message that holds.
func (n *node) heardAt(holds func(link.ServerMessage) bool) func() (time.Time, bool) {
	var when time.Time
	n.with(func() {
		n.hearing = func(m link.ServerMessage) {
			if when.IsZero() && holds(m) {
				when = time.Now()
			}
		}
	})
	return func() (t time.Time, heard bool) {
		n.with(func() { t, heard = when, !when.IsZero() })
		return t, heard
	}
}

func TestBubbleAGracePeriodIsKeptToTheMillisecond(t *testing.T) {
	t.Parallel()
	bubbles(t, 20, func(s *site) {
		t := s.t
		r := s.serve(nil)
		n := s.node("a").idle().attach(r)
		id := r.submit(s.numbers(2))
		n.await("grants", func() bool { return n.granted(id) == 2 })
		n.begin(id)
		n.await("acknowledgements", func() bool { return len(n.kept[id].reports) == 0 })
		grace := s.between(0, 3*time.Minute).Truncate(time.Millisecond)
		retracted := n.heardAt(func(m link.ServerMessage) bool { return m.Retract != nil && m.Retract.Execution == id })
		asked := time.Now()
		_, err := r.Suspend(t.Context(), id, stint.SuspendRequest{Grace: new(grace.Seconds())})
		check(t, err)
		n.await("it is told", func() bool {
			return n.was(func(m link.ServerMessage) bool { return m.Suspend != nil && m.Suspend.Grace == grace.Milliseconds() })
		})
		at(asked.Add(grace + stopGrace - time.Millisecond))
		if when, heard := retracted(); heard {
			t.Errorf("what it performs was taken from it after %v, in a grace period of %v", when.Sub(asked), grace)
		}
		at(asked.Add(grace + stopGrace + time.Millisecond))
		if when, heard := retracted(); !heard || when.Sub(asked).Truncate(time.Millisecond) != grace+stopGrace {
			t.Errorf("what it performs was taken from it after %v, in a grace period of %v", when.Sub(asked), grace)
		}
		r.awaitStatus(id, stint.Suspended)
	})
}

// unanswered is how long a node may say nothing to what it is to save: three times
// in a row, of which each is twice as long as the one before.
const unanswered = (10 + 20 + 40) * time.Minute

func TestBubbleASuspendComesToAnEndThoughNoNodeAnswers(t *testing.T) {
	t.Parallel()
	bubbles(t, 2, func(s *site) {
		t := s.t
		r := s.serve(nil)
		silent := s.node("a").attach(r)
		id := r.mapped(s, silent, 4)
		silent.with(func() { silent.errand = func(stint.Errand) *stint.ErrandResult { return nil } })
		other := s.node("b")
		other.upTo = 0
		other.attach(r)
		began := time.Now()
		_, err := r.Suspend(t.Context(), id, stint.SuspendRequest{})
		check(t, err)
		at(began.Add(unanswered + time.Minute))
		if doc := r.awaitStatus(id, stint.Suspended); doc.Operations.Completed > 4 {
			t.Errorf("%+v", doc.Operations)
		}
		silent.detach()
		other.work()
		r.mustResume(id, stint.ResumeRequest{})
		at(time.Now().Add(10 * time.Minute))
		r.awaitStatus(id, stint.Completed)
	})
}

func TestBubbleAScheduledResumeHappensAtItsTimeThoughTheServerWasStartedAgain(t *testing.T) {
	t.Parallel()
	bubbles(t, 3, func(s *site) {
		t := s.t
		r := s.serve(nil)
		n := s.node("a").attach(r)
		id := r.mapped(s, n, 4)
		r.suspend(id)
		when := time.Now().Add(24 * time.Hour).Truncate(time.Second)
		r.mustResume(id, stint.ResumeRequest{At: when})
		at(time.Now().Add(s.between(0, 5*time.Minute)))
		r.stop()
		n.detach()
		at(when.Add(-s.between(time.Second, 5*time.Minute)))
		r = s.serve(nil)
		n.attach(r)
		at(when.Add(-time.Millisecond))
		if doc, err := r.Show(t.Context(), id); err != nil || doc.Status != stint.Suspended {
			t.Errorf("before its time it is %s, %v", doc.Status, err)
		}
		n.work()
		at(when.Add(time.Second))
		if doc, err := r.Show(t.Context(), id); err != nil || doc.Status == stint.Suspended {
			t.Errorf("a second after its time it is %s, %v", doc.Status, err)
		}
		if doc := r.awaitStatus(id, stint.Completed); doc.Operations.Performed != 5 {
			t.Errorf("%+v", doc.Operations)
		}
	})
}

func TestBubbleWhatIsInProgressOnADrainedNodeGoesElsewhereInTimeAndNotBefore(t *testing.T) {
	t.Parallel()
	const ahead = 30 * time.Second
	bubbles(t, 20, func(s *site) {
		t := s.t
		r := s.serve(nil)
		drained := s.node("a").idle().attach(r)
		id := r.submit(s.numbers(2))
		drained.await("grants", func() bool { return drained.granted(id) == 2 })
		drained.begin(id)
		drained.await("acknowledgements", func() bool { return len(drained.kept[id].reports) == 0 })
		other := s.node("b").attach(r)
		told := drained.heardAt(func(m link.ServerMessage) bool { return m.Suspend != nil })
		by := time.Now().Add(s.between(time.Minute, 4*time.Minute)).Truncate(time.Millisecond)
		_, err := r.Drain(t.Context(), drained.id(), stint.DrainRequest{By: by})
		check(t, err)
		at(by.Add(-ahead - time.Millisecond))
		if when, heard := told(); heard {
			t.Errorf("it was interrupted %v before it is to be gone", by.Sub(when))
		}
		at(by.Add(-ahead + time.Second))
		if _, heard := told(); !heard {
			t.Errorf("it is not interrupted %v before it is to be gone", time.Until(by))
		}
		at(by)
		drained.detach()
		at(by.Add(server.DefaultAwayAfter + 5*time.Second))
		r.awaitStatus(id, stint.Completed)
		other.once()
	})
}

func TestBubbleAServerStopsInTimeWhoeverDoesNotAnswer(t *testing.T) {
	t.Parallel()
	bubbles(t, 15, func(s *site) {
		t := s.t
		s.withAPI()
		r := s.serve(nil)
		n := s.node("a").wide().idle().attach(r)
		ids := []stint.ExecutionID{r.submit(s.numbers(2)), r.submit(s.numbers(3)), r.submit(s.numbers(4))}
		for i, id := range ids {
			n.await("grants", func() bool { return n.granted(id) == i+2 })
		}
		n.with(func() { n.errand = func(stint.Errand) *stint.ErrandResult { return nil } })
		s.deaf("b", r)
		s.say("GET /v1/executions/" + string(ids[0]) + "/events HTTP/1.1\r\nHost: x\r\n\r\n") // and never reads
		s.say("POST /v1/executions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{")
		var callers sync.WaitGroup
		callers.Go(func() { // it waits for an errand that is never done
			if _, err := r.Submit(t.Context(), s.numbers(5)); err == nil {
				t.Error("a submission that no node has looked at was accepted")
			}
		})
		release := make(chan struct{})
		callers.Go(func() { // a caller that does not come back for more
			for range r.Watch(t.Context(), ids[0], 0) { //nolint:errcheck // it is told that the server stops, or not
				<-release
			}
		})
		at(time.Now().Add(time.Second))
		go n.work() // commits are under way
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		close(release)
		callers.Wait()
		n.detach()
		r = s.serve(nil)
		n.with(func() { n.errand = nil })
		n.attach(r)
		n.work()
		for _, id := range ids {
			r.awaitStatus(id, stint.Completed)
		}
		n.once()
	})
}

// deaf attaches a node that never reads what it is told, and does not beat.
func (s *site) deaf(name string, r *running) {
	s.t.Helper()
	n := s.node(name)
	n.hello.Slots = 1
	dialer := link.Dialer{URL: "https://" + r.address, TLS: n.keys.LinkTLS(), DialContext: s.net.DialContext}
	session, _, err := dialer.Dial(context.WithoutCancel(s.t.Context()), n.hello)
	check(s.t, err)
	s.t.Cleanup(session.Close)
}

// say connects to the server and says something; what is answered is not read.
func (s *site) say(text string) {
	s.t.Helper()
	raw, err := s.net.DialContext(s.t.Context(), "tcp", bubblePort)
	check(s.t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.ca.PEM())
	c := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13})
	s.t.Cleanup(func() { check(s.t, raw.Close()) })
	_, err = c.Write([]byte(text))
	check(s.t, err)
}

func TestBubbleAWatcherThatDoesNotComeBackHoldsNothingUp(t *testing.T) {
	t.Parallel()
	bubbles(t, 10, func(s *site) {
		t := s.t
		r := s.serve(nil)
		n := s.node("a").idle().attach(r)
		id := r.submit(s.numbers(30))
		slow := make(chan struct{})
		var watchers sync.WaitGroup
		var last []stint.Execution
		for range 20 {
			watchers.Go(func() {
				var doc stint.Execution
				for d, err := range r.Watch(t.Context(), id, 0) {
					if err != nil {
						t.Error(err)
					}
					if doc.Version >= d.Version && doc.Version > 0 {
						t.Errorf("version %d after %d", d.Version, doc.Version)
					}
					doc = d
					<-slow
				}
				n.with(func() { last = append(last, doc) })
			})
		}
		n.work()
		began := time.Now()
		r.awaitStatus(id, stint.Completed)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		close(slow)
		watchers.Wait()
		if slices.ContainsFunc(last, func(d stint.Execution) bool { return d.Status != stint.Completed }) || len(last) != 20 {
			t.Errorf("of %d watchers not all saw the end", len(last))
		}
	})
}
