package server

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stint"
	"stint/internal/coord"
	"stint/internal/plan"
	"stint/internal/store"
	"stint/internal/wire"
)

func TestWhatADriveDiedOfIsForTheLogAlone(t *testing.T) {
	t.Parallel()
	s := &Server{}
	s.Ready()
	d := newDrive(s, someID)
	d.trouble = d.guard(t.Context()) // without a state
	if text := logged(d.trouble).Error(); !strings.Contains(text, "nil pointer") || !strings.Contains(text, "drive.go") {
		t.Errorf("the log has %q", text)
	}
	var refused error
	d.refuse(input{released: func(err error) { refused = err }})
	if text := refused.Error(); stint.CodeOf(refused) != stint.Unavailable || strings.Contains(text, "goroutine") || strings.Contains(text, "nil pointer") {
		t.Errorf("users are told %q", text)
	}
}

// aRecorded returns a service with one execution in its record, and the drive of that,
// which has no state. The folder of the storage is the last.
func aRecorded(t *testing.T) (*Server, *drive, string) {
	t.Helper()
	list, h, path := services(t, 1)
	b, err := wire.Marshal(stint.Listing{Range: &stint.Values{First: 1, Count: 9}})
	if err != nil {
		t.Fatal(err)
	}
	entry := aDrive(t).entry
	entry.Epoch, entry.Choice = list[0].epoch, plan.Choice{SubsetSize: 1, Partitions: 1}
	if entry.Listing, _, err = h.storage.PutBlob(t.Context(), "listings", bytes.NewReader(b), 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := list[0].DB.Create(t.Context(), entry, nil); err != nil {
		t.Fatal(err)
	}
	return list[0], newDrive(list[0], entry.ID), path
}

func TestTheRecordOfAQuarantinedExecutionIsReadOnce(t *testing.T) {
	t.Parallel()
	s, d, path := aRecorded(t)
	refusal := stint.Errorf(stint.Unavailable, "refused")
	show := func() (stint.Execution, error) {
		return s.recordedOf(t.Context(), d, &noState{&panicked{value: "what it was"}}, refusal)
	}
	first, err := show()
	if err != nil || first.ID != d.id || !strings.HasPrefix(first.Waiting, "for its record") || strings.Contains(first.Waiting, "what it was") {
		t.Fatalf("%+v, %v", first, err)
	}
	if err := os.RemoveAll(filepath.Join(path, "listings")); err != nil {
		t.Fatal(err)
	}
	if again, err := show(); err != nil || again.Version != first.Version || again.Name != first.Name {
		t.Errorf("%+v, %v", again, err)
	}
	for what, end := range map[string]func(){
		"something was committed": func() { d.recorded.version++ },
		"it was replaced":         func() { d.refuse(input{reload: true}) },
	} {
		state := d.recorded.state
		end()
		if _, err := show(); err != refusal { //nolint:errorlint // it is the same
			t.Errorf("%s: %v", what, err)
		}
		d.recorded.keep(state)
	}
	if _, err := show(); err != nil {
		t.Error(err)
	}
	d.adopt(store.Entry{}, d.recorded.state, false)
	if d.recorded.state != nil {
		t.Error("kept beside the state in memory")
	}
}

func TestTimesAreShownAsTheyAreRecorded(t *testing.T) {
	t.Parallel()
	const hour = 3600_000
	d := aDrive(t)
	d.server.clock.millis(time.Now().UnixMilli()+hour, 0) // the clock was an hour ahead
	d.state.Step(coord.Event{At: d.millis(), Begin: true})
	d.server.clock.millis(time.Now().UnixMilli()+hour+20_000, 0)
	if doc := d.document(d.state); doc.Elapsed < 10 || doc.Elapsed > 1000 {
		t.Errorf("it has run for %.0f s, in %+v", doc.Elapsed, doc.Stints)
	}
	was := d.server.standingOf(d.entry, d.state, d.millis())
	if was.doc.Elapsed < 10 {
		t.Errorf("for %.0f s as who resumes it sees", was.doc.Elapsed)
	}
	next := &Server{} // it is started again, and knows nothing of the hour
	next.Ready()
	if got, want := next.millisOf(d.state), d.state.Latest(); got != want {
		t.Errorf("the time is %d ms after the latest record", got-want)
	}
	if doc := d.state.Document(time.Now().UnixMilli()); doc.Elapsed != 0 {
		t.Errorf("it has run for %.0f s", doc.Elapsed)
	}
}
