package server

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"stint"
	"stint/internal/coord"
	"stint/internal/link"
	"stint/internal/object"
	"stint/internal/store"
)

func TestADriveThatEndsUnsettledStaysKnownAndRefuses(t *testing.T) {
	t.Parallel()
	for over, want := range map[bool]stint.Code{true: stint.NotFound, false: stint.Unavailable} {
		s := &Server{}
		s.Ready()
		d := newDrive(s, "x-1")
		s.fleet.add(d)
		refused := make(chan error, 1)
		if err := d.post(t.Context(), input{released: func(err error) { refused <- err }}); err != nil {
			t.Fatal(err)
		}
		d.over = over
		s.retire(d)
		if known := s.fleet.drive(d.id) != nil; known == over {
			t.Errorf("over %v: known %v; nodes forget what is not known", over, known)
		}
		if err := <-refused; stint.CodeOf(err) != want {
			t.Errorf("over %v: what waited: %v, want %s", over, err, want)
		}
		if err := d.post(t.Context(), input{}); stint.CodeOf(err) != want {
			t.Errorf("over %v: what comes later: %v, want %s", over, err, want)
		}
	}
}

// What is said of a node names the session it is about, so that the state
// machines can tell a late word from news.
func TestWhatIsSaidOfANodeNamesItsSession(t *testing.T) {
	t.Parallel()
	var f fleet
	f.init(time.Second, time.Minute)
	first, second := &link.Session{}, &link.Session{}
	doc := stint.Node{ID: "n-1", Status: stint.NodeReady, Incarnation: 1}
	start := time.Unix(1000, 0)
	a, _, err := f.attach(doc, first)
	if err != nil {
		t.Fatal(err)
	}
	f.detach("n-1", first, start)
	gone := f.silent(start.Add(time.Second))
	if len(gone) != 1 || gone[0].session != a.session || a.event(stint.Holding{}).Attach.Session != a.session {
		t.Fatal(gone, a)
	}
	b, _, err := f.attach(doc, second)
	if err != nil {
		t.Fatal(err)
	}
	if late := gone[0].event().Gone; b.session <= late.Session {
		t.Errorf("session %d began after the node was gone since session %d", b.session, late.Session)
	}
	if gone := f.silent(start.Add(time.Hour)); len(gone) != 0 {
		t.Errorf("%v is gone and has a session", gone)
	}
}

func TestALostNodeIsDeclaredOnceAndASilentOneInEveryRound(t *testing.T) {
	t.Parallel()
	var f fleet
	f.init(time.Second, time.Minute)
	start := time.Unix(1000, 0)
	f.remember([]store.KnownNode{
		{Node: stint.Node{ID: "n-1", Status: stint.NodeReady}}, {Node: stint.Node{ID: "n-2", Status: stint.NodeLost}},
	}, start)
	for _, c := range []struct {
		after time.Duration
		want  []goneNode
	}{
		{0, nil},
		{time.Second, []goneNode{{id: "n-1", lostAt: start.Add(time.Minute)}}},
		{2 * time.Second, []goneNode{{id: "n-1", lostAt: start.Add(time.Minute)}}},
		{time.Minute, []goneNode{{id: "n-1", lost: true, lostAt: start.Add(time.Minute)}}},
		{2 * time.Minute, nil},
	} {
		got := f.silent(start.Add(c.after))
		if len(got) != len(c.want) || len(got) > 0 && got[0] != c.want[0] {
			t.Errorf("after %v: %v, want %v", c.after, got, c.want)
		}
		for _, g := range got {
			lostAt := start.Add(time.Minute).UnixMilli()
			if g.lost {
				lostAt = 0
			}
			if got := g.event().Gone.LostAt; got != lostAt {
				t.Errorf("after %v: drives are told that it is lost at %d, want %d", c.after, got, lostAt)
			}
		}
	}
	if lost := f.lost(); len(lost) != 2 {
		t.Errorf("lost %v: drives that begin are told of both", lost)
	}
}

func TestSuspendedExecutionsDoNotFillTheQueue(t *testing.T) {
	t.Parallel()
	s := &Server{}
	s.Ready()
	for i, status := range append(stint.ExecutionStatuses(), "") { // "": its record could not be read yet
		d := newDrive(s, stint.ExecutionID(rune('a'+i)))
		d.public.status = status
		s.fleet.add(d)
	}
	if got, want := s.fleet.working(), len(stint.ExecutionStatuses()); got != want {
		t.Errorf("%d, want %d", got, want)
	}
}

func TestBlocksAreKeptAsLongAsTheRequestSays(t *testing.T) {
	t.Parallel()
	const now = int64(5_000_000)
	for _, c := range []struct {
		keep int64
		want int64
	}{{0, now + 86_400_000}, {60, now + 60_000}, {-1, 0}} {
		d := aDrive(t)
		d.entry.Request.Keep = c.keep
		f := &d.server.fleet
		f.add(d)
		f.removeDrive(d, d.keepUntil(now), now)
		if got := f.forget(d.id).Forget.Keep; got != c.want {
			t.Errorf("keep %d: until %d, want %d", c.keep, got, c.want)
		}
		f.removeDrive(newDrive(d.server, "x-other"), now+c.want+2, now+c.want+1)
		if got := f.forget(d.id).Forget.Keep; got != 0 {
			t.Errorf("keep %d: still known when its time is over: %d", c.keep, got)
		}
	}
}

func TestANodeIsShownAsDrainedWhenThatIsCommitted(t *testing.T) {
	t.Parallel()
	d := aDrive(t)
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "record.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	d.server.DB = db // nobody runs it: what is committed stays under way
	f := &d.server.fleet
	f.remember([]store.KnownNode{{Node: stint.Node{ID: "n-1", Status: stint.NodeReady}}}, time.Now())
	f.setDrain(coord.DrainAsk{Node: "n-1"})
	step := func(ev coord.Event) {
		t.Helper()
		d.step(input{event: &ev})
		d.looked = time.Time{}
		d.publish()
		if err := d.commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d.flying == nil {
			t.Fatalf("%+v led to no record", ev)
		}
	}
	holding := stint.Holding{Execution: d.id}
	node := stint.Node{ID: "n-1", Name: "a", Incarnation: 1, Slots: 4, Address: "a:1"}
	for _, ev := range []coord.Event{
		{Begin: true},
		{Attach: &coord.Attach{Node: node, Holding: holding, Session: 1}},
		{Assign: &coord.Assign{Node: "n-1", Incarnation: 1, Count: 1}},
	} {
		step(ev)
		if err := d.land(nil); err != nil {
			t.Fatal(err)
		}
	}
	if d.public.isDrained("n-1") {
		t.Fatal("it is to perform an operation")
	}
	step(coord.Event{Report: &stint.Report{
		Execution: d.id, Node: "n-1", Incarnation: 1, Seq: 1, Returned: []stint.Returned{{Job: 1, Ops: []stint.Range{{To: 1}}}},
	}})
	if d.public.isDrained("n-1") {
		t.Error("shown before it is committed")
	}
	if err := d.land(nil); err != nil || !d.public.isDrained("n-1") {
		t.Errorf("not shown when it is committed: %v", err)
	}
}

func TestTheOutcomeOfWhatWasTakenInWhenADriveEndsIsUnknown(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		event *coord.Event
		want  stint.Code
	}{
		"a wish, which may be committed yet":     {&coord.Event{Begin: true}, stint.Unknown},
		"a question, of which nothing can be so": {nil, stint.Unavailable},
	} {
		d := aDrive(t)
		d.server.fleet.add(d)
		answer := make(chan error, 1)
		go func() {
			_, err := d.ask(t.Context(), c.event)
			answer <- err
		}()
		d.step(<-d.inbox)
		d.server.retire(d)
		if err := <-answer; stint.CodeOf(err) != c.want {
			t.Errorf("%s: %s %v", what, stint.CodeOf(err), err)
		}
	}
}

func TestWhatCannotBeSaidOfAnExecutionThatIsEnteredIsUnknown(t *testing.T) {
	t.Parallel()
	d := aDrive(t)
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "record.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	d.server.DB = db
	if d.entry.Epoch, err = db.TakeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(d.server.ending)
	_, err = d.server.enter(t.Context(), home{}, rebased{entry: d.entry, state: d.state})
	if stint.CodeOf(err) != stint.Unknown {
		t.Errorf("%s %v", stint.CodeOf(err), err)
	}
	if _, err := db.Load(t.Context(), d.id); err != nil {
		t.Errorf("it is not recorded: %v", err)
	}
}

// Records that are on their way at the same time are written in their order.
func TestTheLatestRecordIsTheOneThatStays(t *testing.T) {
	t.Parallel()
	for range 20 {
		d := aDrive(t)
		s := d.server
		url, err := object.ParseLocation(filepath.Join(t.TempDir(), "storage"))
		if err != nil {
			t.Fatal(err)
		}
		if s.Storage, err = new(object.Access).OpenStorage(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		h := home{storage: s.Storage}
		if err := s.claim(t.Context(), h, d.id, 1); err != nil {
			t.Fatal(err)
		}
		var tasks errgroup.Group
		for i := range 2 {
			node := stint.Node{ID: stint.NodeID([]string{"n-1", "n-2"}[i]), Incarnation: 1}
			d.step(input{event: &coord.Event{Attach: &coord.Attach{Node: node, Session: 1}}})
			go d.dispatch(coord.Dispatch{Errand: stint.Errand{ID: "record", Kind: stint.ErrandRecord, Execution: d.id, Generation: 1}})
			task := <-s.tasks
			tasks.Go(func() error { return task(t.Context()) })
		}
		if err := tasks.Wait(); err != nil {
			t.Fatal(err)
		}
		r, err := h.readRecord(t.Context(), d.id, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.body.Snapshot.Version, d.state.Version(); got != want {
			t.Fatalf("the record is of version %d, the latest of %d", got, want)
		}
	}
}

// A drive that fails is one execution's matter: it is read again, and who waited
// for it is told.
func TestADriveThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := aDrive(t)
	s := d.server
	s.Logger = slog.New(slog.DiscardHandler)
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "record.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s.DB = db
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.runDrive(ctx, d) }()
	_, err = question(ctx, d, input{}, func(*coord.State) int { panic("no execution should do this") })
	if err == nil {
		t.Error("what was asked was answered")
	}
	// It is not recorded, so that reading it again fails: it refuses and stays.
	if _, err := d.ask(ctx, nil); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("%s %v", stint.CodeOf(err), err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// recordingDrive has the record of a suspend on its way to storage. write has it come there.
func recordingDrive(t *testing.T) (d *drive, write func()) {
	t.Helper()
	d = aDrive(t)
	s := d.server
	url, err := object.ParseLocation(filepath.Join(t.TempDir(), "storage"))
	if err == nil {
		s.Storage, err = new(object.Access).OpenStorage(t.Context(), url)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.errands = map[string]bool{"record": true}
	go d.dispatch(coord.Dispatch{Errand: stint.Errand{ID: "record", Kind: stint.ErrandRecord, Execution: d.id, Generation: 1}})
	task := <-s.tasks
	return d, func() {
		t.Helper()
		if err := task(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A record that is written when its suspend was taken back does not stay. That of an
// execution that comes to its end is removed with all that is saved of it.
func TestARecordThatCameTooLateDoesNotStay(t *testing.T) {
	t.Parallel()
	for status, want := range map[stint.ExecutionStatus]uint64{
		stint.Suspending: 1, stint.Suspended: 1, stint.InProgress: 0, stint.Terminating: 1,
	} {
		d, write := recordingDrive(t)
		d.public.status = status // while it is on its way
		write()
		o, err := home{storage: d.server.Storage}.ownership(t.Context(), d.id)
		if err != nil || o.record != want || o.owner.Generation != 1 {
			t.Errorf("%s: the record of generation %d is there, want %d, claim %d, %v", status, o.record, want, o.owner.Generation, err)
		}
	}
}

// What removes all that is saved of an execution is not begun while a record is on its
// way, which would come after it and stay for ever.
func TestWhatEndsAnExecutionWaitsForARecordOnItsWay(t *testing.T) {
	t.Parallel()
	for kind, waits := range map[stint.ErrandKind]bool{stint.ErrandCommit: true, stint.ErrandClear: true, stint.ErrandSave: false} {
		d, write := recordingDrive(t)
		submitted := func(id string) bool {
			d.server.fleet.mu.Lock()
			defer d.server.fleet.mu.Unlock()
			return d.server.fleet.errands[id] != nil
		}
		for _, id := range []string{"wanted", "given up"} {
			d.errands[id] = true
			d.dispatch(coord.Dispatch{Errand: stint.Errand{ID: id, Kind: kind, Execution: d.id}})
		}
		if submitted("wanted") == waits {
			t.Errorf("%s: submitted while the record is on its way: %v", kind, waits)
		}
		delete(d.errands, "given up")
		write()
		<-d.written
		d.letGo()
		if !submitted("wanted") || submitted("given up") == waits {
			t.Errorf("%s: submitted after the record: %v, and what was given up: %v", kind, submitted("wanted"), submitted("given up"))
		}
		d.errands["next"] = true
		d.dispatch(coord.Dispatch{Errand: stint.Errand{ID: "next", Kind: kind, Execution: d.id}})
		if !submitted("next") {
			t.Errorf("%s: not submitted although no record is on its way", kind)
		}
	}
}

// Whether a node is drained may take a look at every operation: not with every
// event while there are many.
func TestDrainedNodesAreNotLookedForWithEveryEvent(t *testing.T) {
	t.Parallel()
	d := aDrive(t)
	f := &d.server.fleet
	f.remember([]store.KnownNode{{Node: stint.Node{ID: "n-1", Status: stint.NodeReady}}}, time.Now())
	f.setDrain(coord.DrainAsk{Node: "n-1"})
	for _, ev := range []*coord.Event{{Begin: true}, {Suspend: &coord.SuspendAsk{}}} {
		d.step(input{event: ev})
		d.looked = time.Now().Add(time.Hour)
		if got := d.drained(); got != nil {
			t.Errorf("%s: it was looked for: %v", d.state.Status(), got)
		}
		d.looked = time.Time{}
		if got := d.drained(); !got["n-1"] {
			t.Errorf("%s: %v", d.state.Status(), got)
		}
	}
}
