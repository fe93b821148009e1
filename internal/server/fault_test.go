package server_test

import (
	"database/sql"
	"os"
	"testing"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/link"
	"stint/internal/server"
	"stint/internal/store"
	"stint/internal/wire"
)

// meddle opens a second connection to the record.
func (s *site) meddle() *sql.DB {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.record+"?_pragma=busy_timeout(10000)")
	check(s.t, err)
	db.SetMaxOpenConns(1)
	s.t.Cleanup(func() { check(s.t, db.Close()) })
	return db
}

func (s *site) exec(db *sql.DB, statement string, args ...any) {
	s.t.Helper()
	_, err := db.ExecContext(s.t.Context(), statement, args...)
	check(s.t, err)
}

func TestAReportIsAcknowledgedOnlyWhenItIsCommitted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").idle().attach(r)
	id := r.submit(s.numbers(2))
	n.await("grants", func() bool { return n.granted(id) == 2 })
	lock := s.meddle()
	s.exec(lock, "BEGIN IMMEDIATE")
	n.with(func() { n.heard = nil })
	n.work()
	// The session carries errands there and back meanwhile.
	other := make(chan error, 1)
	go func() {
		_, err := r.Submit(t.Context(), s.numbers(3))
		other <- err
	}()
	n.await("an errand", func() bool {
		return n.was(func(m link.ServerMessage) bool { return m.Errand != nil && m.Errand.Kind == stint.ErrandList })
	})
	n.with(func() {
		if n.was(func(m link.ServerMessage) bool { return m.Ack != nil || m.Grant != nil }) || len(n.kept[id].reports) != 1 {
			t.Errorf("before the commit the node heard %+v", n.heard)
		}
	})
	s.exec(lock, "COMMIT")
	n.await("an acknowledgement", func() bool { return n.was(func(m link.ServerMessage) bool { return m.Ack != nil }) })
	r.awaitStatus(id, stint.Completed)
	check(t, <-other)
}

func TestARestartedServerGoesOnWithNodesInTheSameIncarnation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").wide().idle().attach(r)
	unseen, reported, unacked := r.submit(s.numbers(2)), r.submit(s.numbers(3)), r.submit(s.numbers(4))
	n.await("grants", func() bool { return n.granted(unseen) == 2 && n.granted(reported) == 3 && n.granted(unacked) == 4 })
	var report stint.Report
	n.with(func() { // a report that is committed, and whose acknowledgement is lost
		g := n.kept[unacked].waiting[0]
		n.kept[unacked].waiting = n.kept[unacked].waiting[1:]
		n.report(unacked, stint.Report{Begun: []stint.Begun{{Job: g.Job, Ops: g.Ops}}, Done: []stint.Done{n.perform(g)}})
		report = n.kept[unacked].reports[0]
	})
	n.await("an acknowledgement", func() bool { return len(n.kept[unacked].reports) == 0 })
	r.stop()
	n.detach()
	n.with(func() {
		if n.was(func(m link.ServerMessage) bool { return m.Forget != nil }) {
			t.Errorf("a server that stops has nodes forget: %+v", n.heard)
		}
		n.kept[unacked].reports = append([]stint.Report{report}, n.kept[unacked].reports...)
		delete(n.kept, unseen)
		delete(n.specs, unseen)
		n.upTo = 0
		n.performAll() // nobody hears of it
	})
	r = s.serve(nil)
	n.attach(r)
	n.work()
	for id, want := range map[stint.ExecutionID]int64{unseen: 3, reported: 4, unacked: 5} {
		doc := r.awaitStatus(id, stint.Completed)
		if doc.Counters["test"]["performed"] != want || doc.Operations.Performed != want {
			t.Errorf("%s: %v, %+v; want %d", id, doc.Counters, doc.Operations, want)
		}
	}
	n.once()
}

func TestTheGrantsOfAnEarlierIncarnationAreVoid(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").idle().attach(r)
	id := r.submit(s.numbers(6))
	n.await("grants", func() bool { return n.granted(id) == 4 })
	n.restart()
	n.with(func() { n.heard = nil })
	n.attach(r)
	n.work()
	doc := r.awaitStatus(id, stint.Completed)
	n.with(func() {
		for _, m := range n.heard {
			if m.Grant != nil && (m.Grant.Incarnation != 2 || m.Grant.Job == 1) {
				t.Errorf("granted again: %+v", m.Grant)
			}
		}
	})
	if doc.Operations.Performed != 7 {
		t.Errorf("performed %d", doc.Operations.Performed)
	}
	n.once()
	old := n.hello
	old.Incarnation = 1
	n.with(func() { n.hello = old })
	if err := n.dial(r); err == nil {
		n.await("a session of the older process is ended", n.closed)
	}
}

func TestAnOwnerWhoseRecordWasTakenOverIsFenced(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").idle().attach(r)
	id := r.submit(s.numbers(6))
	n.await("grants", func() bool { return n.granted(id) == 4 })
	n.with(func() { n.heard = nil })
	next, err := store.Open(t.Context(), s.record)
	check(t, err)
	_, err = next.TakeOver(t.Context())
	check(t, err)
	check(t, next.Close())
	n.work() // the report cannot be committed any more
	r.fenced()
	n.await("the session is ended", n.closed)
	n.with(func() {
		if n.was(func(m link.ServerMessage) bool { return m.Ack != nil || m.Grant != nil || m.Forget != nil }) {
			t.Errorf("after the takeover the node heard %+v", n.heard)
		}
	})
	if err := n.dial(r); err == nil {
		t.Error("the old owner takes in nodes")
	}
	if _, err := r.Submit(t.Context(), s.numbers(3)); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("the old owner takes in executions: %v", err)
	}
	r.stop()
	n.detach()
	r = s.serve(nil)
	n.attach(r)
	if doc := r.awaitStatus(id, stint.Completed); doc.Operations.Performed != 7 {
		t.Errorf("performed %d", doc.Operations.Performed)
	}
	n.once()
}

func TestAnOwnerWithNothingToDoNoticesThatItWasReplaced(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.serve(nil)
	second := s.serve(nil)
	first.fenced()
	s.node("a").attach(second)
	second.awaitStatus(second.submit(s.numbers(3)), stint.Completed)
}

func TestTheWorkOfASilentNodeIsDoneElsewhereAndWhatItHeldWhenItIsLost(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(func(sv *server.Server) { sv.AwayAfter, sv.LostAfter = time.Millisecond, 1500*time.Millisecond })
	a := s.node("a")
	a.upTo = 0
	a.attach(r)
	held, begun := r.submit(s.numbers(4)), stint.ExecutionID("")
	a.await("the first stage is done, the second granted", func() bool { return len(a.begun) == 4 && a.granted(held) == 1 })
	a.idle()
	begun = r.submit(s.numbers(3))
	a.await("grants", func() bool { return a.granted(begun) == 3 })
	a.detach()
	b := s.node("b").attach(r)
	r.awaitStatus(begun, stint.Completed)
	status := func(want stint.NodeStatus) func() bool {
		return func() bool {
			for _, n := range r.Nodes(t.Context()) {
				if n.ID == a.id() && n.Status == want {
					return true
				}
			}
			return false
		}
	}
	r.eventually("a is lost", status(stint.NodeLost))
	if doc := r.awaitStatus(held, stint.Completed); doc.Operations.Performed != 9 {
		t.Errorf("performed %d, want 4 twice and 1", doc.Operations.Performed)
	}
	b.once()
	a.attach(r) // it was believed lost and is not
	r.eventually("a is ready", status(stint.NodeReady))
}

func TestAnotherNodeOfTheNameTakesThePlaceOfTheFirstAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	first := s.node("a").idle().attach(r)
	id := r.submit(s.numbers(4))
	first.await("grants", func() bool { return first.granted(id) == 4 })
	second := s.node("a").attach(r)
	first.await("its session is ended", first.closed)
	r.awaitStatus(id, stint.Completed)
	second.once()
	r.eventually("the first is lost", func() bool {
		for _, n := range r.Nodes(t.Context()) {
			if n.ID == first.id() {
				return n.Status == stint.NodeLost
			}
		}
		return false
	})
	if err := first.dial(r); stint.CodeOf(err) != stint.Conflict && stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("the first again: %v", err)
	}
	second.with(func() {
		if second.closed() {
			t.Errorf("the second was sent away: %v", second.why)
		}
	})
}

// senseless is a batch of records that can be decoded and cannot be meant.
func senseless(t *testing.T) []byte {
	t.Helper()
	b, err := wire.Marshal([]coord.Record{{At: 1, Grant: &coord.GrantRecord{Job: 1, Stage: 99, Node: "n-?"}}})
	check(t, err)
	return b
}

func TestARecordThatCannotBeReadIsInNobodysWay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule, damage string
		value        any
	}{
		{"bytes of the journal", "UPDATE journal SET records = $2 WHERE execution = $1", []byte{0xff, 0x00}},
		{"senseless journal", "UPDATE journal SET records = $2 WHERE execution = $1", senseless(t)},
		{"short journal", "DELETE FROM journal WHERE execution = $1 AND $2 = 0", 0},
		{"request", "UPDATE executions SET request = $2 WHERE id = $1", []byte("x")},
		{"listing", "UPDATE executions SET listing = $2 WHERE id = $1", stint.Digest{1}.String()},
		{"document", "UPDATE executions SET document = $2, core = $2 WHERE id = $1", []byte("x")},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			quarantine(t, s, func(id stint.ExecutionID) {
				db := s.meddle()
				s.exec(db, c.damage, string(id), c.value)
				check(t, db.Close())
			})
		})
	}
}

// quarantine damages one of two executions while no server runs.
func quarantine(t *testing.T, s *site, damage func(stint.ExecutionID)) {
	t.Helper()
	r := s.serve(nil)
	n := s.node("a").wide().idle().attach(r)
	bad, good := r.submit(s.numbers(2)), r.submit(s.numbers(3))
	n.await("grants", func() bool { return n.granted(bad) == 2 && n.granted(good) == 3 })
	r.stop()
	n.detach()
	record, err := os.ReadFile(s.record)
	check(t, err)
	check(t, os.WriteFile(s.path("copy.db"), record, 0o600))
	damage(bad)
	r = s.serve(nil)
	n.attach(r)
	n.work() // reports of both
	r.awaitStatus(good, stint.Completed)
	if _, err := r.Show(t.Context(), bad); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("show: %v", err)
	}
	list, _, err := r.List(t.Context(), stint.ExecutionFilter{Limit: 9})
	if err != nil || len(list) != 2 || list[1].ID != bad || list[1].Error == nil || list[1].Name != "" {
		t.Errorf("list: %+v, %v", list, err)
	}
	n.with(func() {
		if n.forgot(bad) || len(n.kept[bad].reports) != 1 {
			t.Errorf("of what cannot be read the node was told %+v", n.heard)
		}
	})
	s.mend(bad)
	n.await("the session is ended", n.closed)
	n.attach(r)
	r.awaitStatus(bad, stint.Completed)
	n.once()
}

// mend puts back what a copy of the record has of an execution.
func (s *site) mend(id stint.ExecutionID) {
	s.t.Helper()
	db := s.meddle()
	s.exec(db, "ATTACH $1 AS copy", s.path("copy.db"))
	s.exec(db, "BEGIN IMMEDIATE")
	s.exec(db, "DELETE FROM journal WHERE execution = $1", string(id))
	s.exec(db, "INSERT INTO journal SELECT * FROM copy.journal WHERE execution = $1", string(id))
	s.exec(db, `UPDATE executions SET (request, listing, core, document) =
		(SELECT request, listing, core, document FROM copy.executions WHERE id = $1) WHERE id = $1`, string(id))
	s.exec(db, "COMMIT")
}

func TestAStateWhoseCommitIsRefusedIsDroppedAndReadAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").wide().idle().attach(r)
	id, other := r.submit(s.numbers(4)), r.submit(s.numbers(3))
	n.await("grants", func() bool { return n.granted(id) == 4 && n.granted(other) == 3 })
	db := s.meddle()
	s.exec(db, "UPDATE executions SET version = version + 1 WHERE id = $1", string(id))
	n.work()
	r.awaitStatus(other, stint.Completed)
	r.eventually("it cannot be read", func() bool {
		_, err := r.Show(t.Context(), id)
		return stint.CodeOf(err) == stint.Unavailable
	})
	n.with(func() {
		if len(n.kept[id].reports) != 1 || n.closed() {
			t.Errorf("reports %v, session %v", n.kept[id].reports, n.why)
		}
	})
	s.exec(db, "UPDATE executions SET version = version - 1 WHERE id = $1", string(id))
	n.await("the session is ended", n.closed)
	n.attach(r)
	r.awaitStatus(id, stint.Completed)
	n.once()
}

func TestARetryWhoseCommitFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.serve(nil)
	n := s.node("a").wide().idle().attach(r)
	req := s.numbers(3)
	req.CompleteErrors = new(true)
	id := r.submit(req)
	n.await("grants", func() bool { return n.granted(id) == 3 })
	n.with(func() {
		k := n.kept[id]
		for _, g := range k.waiting {
			for op := g.Ops.From; op < g.Ops.To; op++ {
				n.report(id, stint.Report{Failures: []stint.Failure{{Job: g.Job, Op: op, Error: stint.Errorf(stint.Invalid, "no")}}})
			}
		}
		k.waiting = nil
	})
	n.work()
	r.awaitStatus(id, stint.CompletedErrors)
	r.stop()
	n.detach()
	r = s.serve(nil) // in another epoch than the execution's last
	n.attach(r)
	db := s.meddle()
	s.exec(db, "CREATE TRIGGER full BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'full'); END")
	if _, err := r.Retry(t.Context(), id); stint.CodeOf(err) != stint.Unknown {
		t.Errorf("a retry that is not committed: %s %v", stint.CodeOf(err), err)
	}
	s.exec(db, "DROP TRIGGER full")
	n.await("the session is ended", n.closed)
	n.idle().attach(r)
	r.awaitStatus(id, stint.InProgress)
}
