package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"stint"
	"stint/internal/server"
)

// records are what a server has logged.
type records struct {
	mu  sync.Mutex
	out bytes.Buffer
}

// Write takes in records.
func (r *records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(b)
}

// warnings returns those that are about an execution.
func (r *records) warnings(t *testing.T, x stint.ExecutionID) (found []map[string]any) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range bytes.Lines(r.out.Bytes()) {
		one := make(map[string]any)
		check(t, json.Unmarshal(line, &one))
		if one["level"] == "WARN" && one["execution"] == string(x) {
			found = append(found, one)
		}
	}
	return found
}

func TestBubbleAStagingFolderThatIsNotRemovedIsLoggedOnce(t *testing.T) {
	t.Parallel()
	bubbles(t, 3, func(s *site) {
		t := s.t
		log, full := &records{}, true
		r := s.serve(func(sv *server.Server) { sv.Logger = slog.New(slog.NewJSONHandler(log, nil)) })
		n := s.node("a")
		var asked []stint.ExecutionID
		n.errand = func(e stint.Errand) *stint.ErrandResult {
			switch {
			case e.Kind == stint.ErrandProbe:
				return &stint.ErrandResult{ID: e.ID, Error: stint.Errorf(stint.Unavailable, "the output location does not answer")}
			case e.Kind == stint.ErrandClear && full:
				asked = append(asked, e.Execution)
				return &stint.ErrandResult{ID: e.ID, Error: stint.Errorf(stint.Unavailable, "it still does not")}
			}
			return n.honest(e)
		}
		n.attach(r)
		if _, err := r.Submit(t.Context(), s.numbers(5)); stint.CodeOf(err) != stint.Unavailable {
			t.Fatalf("submitted: %v", err)
		}
		at(time.Now().Add(time.Hour))
		var times int
		var x stint.ExecutionID
		n.with(func() { times, x, full = len(asked), asked[0], false })
		if times < 100 {
			t.Errorf("it was tried %d times within an hour", times)
		}
		at(time.Now().Add(time.Minute))
		n.with(func() {
			if len(asked) != times {
				t.Errorf("it was tried %d times more", len(asked)-times)
			}
		})
		found := log.warnings(t, x)
		if len(found) != 1 || found[0]["path"] != s.path("out-5") || found[0]["err"] != "it still does not" {
			t.Errorf("logged %v", found)
		}
		if slices.ContainsFunc(asked, func(other stint.ExecutionID) bool { return other != x }) {
			t.Errorf("asked about %v", asked)
		}
	})
}

// A node that was stopped looks at the location long after another one has cleared it
// for the next server.
func TestBubbleAProbeThatComesLateLeavesNothing(t *testing.T) {
	t.Parallel()
	bubbles(t, 3, func(s *site) {
		t := s.t
		r := s.serve(nil)
		slow := s.node("slow")
		var late stint.Errand
		slow.errand = func(e stint.Errand) *stint.ErrandResult {
			if e.Kind != stint.ErrandProbe {
				return slow.honest(e)
			}
			late = e
			return nil
		}
		slow.attach(r)
		submitted := make(chan error, 1)
		go func() {
			_, err := r.Submit(context.WithoutCancel(t.Context()), s.numbers(5))
			submitted <- err
		}()
		at(time.Now().Add(time.Second))
		r.stop()
		slow.detach()
		if err := <-submitted; err == nil || late.Kind != stint.ErrandProbe {
			t.Fatalf("submitted: %v; the errand was %q", err, late.Kind)
		}
		r = s.serve(nil)
		s.node("quick").attach(r)
		at(time.Now().Add(time.Minute))
		if result := slow.honest(late); result.Error != nil {
			t.Fatal(result.Error)
		}
		if _, err := os.Stat(s.path("out-5")); err != nil {
			t.Fatalf("the probe has left nothing: %v", err)
		}
		at(time.Now().Add(server.DefaultLostAfter))
		if _, err := os.Stat(s.path("out-5")); !os.IsNotExist(err) {
			t.Errorf("what it has left is there still: %v", err)
		}
		at(time.Now().Add(server.DefaultLostAfter))
		if left, err := r.DB.Drafts(t.Context()); err != nil || len(left) > 0 {
			t.Errorf("%v; %d drafts are kept", err, len(left))
		}
	})
}

func TestASubmissionThatItsServerDiesOfLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a")
	probed := make(chan struct{})
	var once sync.Once
	n.errand = func(e stint.Errand) *stint.ErrandResult {
		if e.Kind != stint.ErrandProbe {
			return n.honest(e)
		}
		n.honest(e)
		once.Do(func() { close(probed) })
		return nil // nobody hears of it
	}
	n.attach(r)
	submitted := make(chan error, 1)
	go func() {
		_, err := r.Submit(t.Context(), s.numbers(5))
		submitted <- err
	}()
	<-probed
	r.stop()
	n.detach()
	if err := <-submitted; err == nil {
		t.Error("accepted")
	}
	if _, err := os.Stat(s.path("out-5")); err != nil {
		t.Fatalf("the probe has left nothing: %v", err)
	}
	n.with(func() { n.errand = nil })
	r = s.serve(func(sv *server.Server) { sv.AwayAfter, sv.LostAfter = time.Second/2, time.Second })
	n.attach(r)
	r.eventually("an output location that is free of it", func() bool {
		_, err := os.Stat(s.path("out-5"))
		return os.IsNotExist(err)
	})
	lock := s.meddle()
	r.eventually("a record without it", func() bool {
		var drafts int
		check(t, lock.QueryRowContext(t.Context(), "SELECT count(*) FROM drafts").Scan(&drafts))
		return drafts == 0
	})
	check(t, lock.Close())
	r.awaitStatus(r.submit(s.numbers(5)), stint.Completed)
}

// A server is asked to reuse an execution and loses its record to another one before
// it has taken over what that has saved: nothing of that stays in storage.
func TestASubmissionThatAnotherServerOutrunsLeavesNoPacks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").attach(r)
	id := r.mapped(s, n, 40)
	r.suspend(id)
	asked := make(chan stint.ExecutionID, 1)
	var draft stint.ExecutionID
	n.with(func() {
		n.errand = func(e stint.Errand) *stint.ErrandResult {
			if e.Kind == stint.ErrandProbe {
				draft = e.Execution
			}
			if e.Kind == stint.ErrandInventory {
				asked <- draft
				return nil // it is awaited until the server has ended
			}
			return n.honest(e)
		}
	})
	submitted := make(chan error, 1)
	go func() {
		req := s.numbers(40)
		req.Reuse, req.Output = id, s.path("out-again")
		_, err := r.Submit(t.Context(), req)
		submitted <- err
	}()
	again := <-asked
	n.with(func() { n.errand = nil })
	other := s.serve(nil)
	n.attach(other)
	other.eventually("nothing of the submission is in the record", func() bool {
		_, err := os.Stat(s.path("out-again"))
		return os.IsNotExist(err)
	})
	r.fenced()
	if err := <-submitted; err == nil {
		t.Error("accepted")
	}
	if left := s.saved(again); len(left) > 0 {
		t.Errorf("left in storage: %v", left)
	}
	if len(s.saved(id)) == 0 {
		t.Error("what the other has saved is gone")
	}
}
