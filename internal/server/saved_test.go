package server

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/object"
	"stint/internal/store"
)

const someID = stint.ExecutionID("x-aaaaaaaaaaaaaaaa")

// openRecord gives a server a record of its own.
func openRecord(t *testing.T, s *Server) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "record.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // nothing is written that is looked at
	if s.epoch, err = db.TakeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.DB = db
}

// services makes services of their own that share one long-term storage, which
// is the first one's system storage.
func services(t *testing.T, n int) (list []*Server, shared home, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "storage")
	storage, err := new(object.Access).OpenStorage(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := &Server{service: int64(i + 1), StorageURL: "file://" + path, Storage: storage}
		if i > 0 {
			s.StorageURL = "file://" + t.TempDir()
			if s.Storage, err = new(object.Access).OpenStorage(t.Context(), s.StorageURL); err != nil {
				t.Fatal(err)
			}
		}
		s.Ready()
		openRecord(t, s)
		list = append(list, s)
	}
	return list, home{storage: storage, url: "file://" + path}, path
}

func TestOfManyThatClaimAGenerationOneOwnsIt(t *testing.T) {
	t.Parallel()
	list, h, _ := services(t, 6)
	outcomes := make([]error, len(list))
	var group sync.WaitGroup
	for i, s := range list {
		group.Go(func() { outcomes[i] = s.claim(t.Context(), h, someID, 1) })
	}
	group.Wait()
	o, err := h.ownership(t.Context(), someID)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range list {
		won := s.serviceName() == o.owner.Service
		if won != (outcomes[i] == nil) || !won && (stint.CodeOf(outcomes[i]) != stint.Conflict || !strings.HasPrefix(outcomes[i].Error(), "owned_elsewhere: ")) {
			t.Errorf("service %s, owner %+v: %v", s.serviceName(), o.owner, outcomes[i])
		}
	}
}

func TestOnlyTheOwnerWritesARecord(t *testing.T) {
	t.Parallel()
	list, h, _ := services(t, 2)
	first, second := list[0], list[1]
	write := func(s *Server, generation uint64) error {
		r := aRecord()
		r.body.Request.Program, r.body.Listing = stint.Program{}, stint.Digest{}
		r.summary.Generation = generation
		b := strings.NewReader("listing")
		digest, _, err := s.Storage.PutBlob(t.Context(), "listings", b, 100)
		if err != nil {
			t.Fatal(err)
		}
		r.body.Listing = digest
		e := stint.Errand{ID: "e", Kind: stint.ErrandRecord, Execution: someID, Storage: h.url, Generation: generation}
		if got := s.writeRecord(t.Context(), e, r); got.Error != nil {
			return got.Error
		}
		return nil
	}
	state := func() ownership {
		t.Helper()
		o, err := h.ownership(t.Context(), someID)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	for range 2 { // it may be repeated
		if err := write(first, 1); err != nil {
			t.Fatal(err)
		}
	}
	if o := state(); o.owner.Service != first.serviceName() || o.record != 1 || !o.suspended() {
		t.Errorf("%+v", o)
	}
	if err := write(second, 1); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("by one who is not the owner: %v", err)
	}
	if err := second.claim(t.Context(), h, someID, 2); err != nil {
		t.Fatal(err)
	}
	if o := state(); o.suspended() {
		t.Errorf("resumed elsewhere: %+v", o)
	}
	if err := write(first, 1); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("by the earlier owner: %v", err)
	}
	if err := write(second, 2); err != nil {
		t.Error(err)
	}
	if o := state(); o.record != 2 || !o.suspended() {
		t.Errorf("%+v", o)
	}
	if err := write(second, 9); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("under a generation that nobody claimed: %v", err)
	}
	if r, err := h.readRecord(t.Context(), someID, 2); err != nil || r.summary.Generation != 2 {
		t.Errorf("%+v, %v", r.summary, err)
	}
	if _, err := h.readRecord(t.Context(), "x-bbbbbbbbbbbbbbbb", 2); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("of another execution: %v", err)
	}
}

func TestWhatARecordNamesIsCarriedWhole(t *testing.T) {
	t.Parallel()
	list, h, path := services(t, 2)
	put := func(folder, content string) stint.Digest {
		t.Helper()
		d, _, err := h.storage.PutBlob(t.Context(), folder, strings.NewReader(content), 100)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	r := store.Entry{Listing: put("listings", "objects")}
	r.Request.Program.Files = []stint.ProgramFile{{Name: "run.sh", Digest: put("files", "#!/bin/sh")}}
	to := home{storage: list[1].Storage}
	for range 2 {
		if err := list[1].carry(t.Context(), h, to, r); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"listings/" + r.Listing.String(), fileKey(r.Request.Program.Files[0].Digest)} {
		if _, err := to.storage.Stat(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
	r.Request.Program.Files[0].Digest = put("files", "another")
	bad := filepath.Join(path, fileKey(r.Request.Program.Files[0].Digest))
	if err := os.WriteFile(bad, []byte("altered"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []stint.Code{stint.Invalid, stint.NotFound} { // altered, then gone
		err := list[1].carry(t.Context(), h, to, r)
		if stint.CodeOf(err) != want || !strings.Contains(err.Error(), "run.sh") {
			t.Errorf("want %s: %v", want, err)
		}
		if err := os.Remove(bad); err != nil && want == stint.Invalid {
			t.Fatal(err)
		}
	}
	all, err := to.storage.List(t.Context(), "files/")
	if err != nil || len(all) != 1 {
		t.Errorf("%v, %v: what is altered is not kept", all, err)
	}
}

func TestSavedListsWhatCanBeResumed(t *testing.T) {
	t.Parallel()
	list, h, path := services(t, 2)
	put := func(key, content string) {
		t.Helper()
		if err := h.storage.Put(t.Context(), key, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	whole, resumed, broken, empty := someID, stint.ExecutionID("x-bbbbbbbbbbbbbbbb"), stint.ExecutionID("x-cccccccccccccccc"), stint.ExecutionID("x-dddddddddddddddd")
	for _, id := range []stint.ExecutionID{whole, resumed} {
		if err := list[0].claim(t.Context(), h, id, 3); err != nil {
			t.Fatal(err)
		}
		put(recordKey(id, 3), string(encoded(t, aRecord())))
	}
	if err := list[1].claim(t.Context(), h, resumed, 4); err != nil {
		t.Fatal(err)
	}
	put(recordKey(broken, 1), "stint")
	put(savedPrefix(empty)+"pack-1-1-1", "pack")
	put(savedRoot+"something/else", "")
	got, err := list[1].Saved(t.Context(), "file://"+path)
	if err != nil || len(got) != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
	want := aRecord().summary
	if x := got[0]; x.ID != whole || x.Name != want.Name || x.Generation != 3 || x.Suspended.UnixMilli() != want.Written || x.Operations != want.Operations || x.Owner != nil || x.Error != nil {
		t.Errorf("%+v", x)
	}
	if x := got[1]; x.Owner == nil || x.Owner.Service != list[1].serviceName() || x.Owner.Generation != 4 {
		t.Errorf("resumed elsewhere: %+v", x)
	}
	codes := []stint.Code{got[2].Error.Code, got[3].Error.Code}
	if d := cmp.Diff([]stint.Code{stint.Invalid, stint.NotFound}, codes); d != "" {
		t.Errorf("a truncated record, and none: (-want +got)\n%s", d)
	}
	own, err := list[0].Saved(t.Context(), "")
	if err != nil || len(own) != 4 {
		t.Errorf("the service's own storage: %+v, %v", own, err)
	}
	if _, err := list[1].Saved(t.Context(), "file:///nowhere/at/all"); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("a storage that is not there: %v", err)
	}
}

func TestAnAlteredClaimIsRefusedByName(t *testing.T) {
	t.Parallel()
	list, h, _ := services(t, 1)
	key := ownerKey(someID, 2)
	for _, content := range []string{"", "{", `{"generation":1}`} {
		if err := h.storage.Put(t.Context(), key, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if _, err := h.ownership(t.Context(), someID); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), key) {
			t.Errorf("%q: %v", content, err)
		}
		if err := list[0].claim(t.Context(), h, someID, 2); err == nil {
			t.Errorf("%q: claimed again", content)
		}
	}
}

func TestOneRequestAtATimeResumes(t *testing.T) {
	t.Parallel()
	list, _, _ := services(t, 1)
	f := &list[0].fleet
	release, err := f.seize(someID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.seize(someID); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("while another does: %v", err)
	}
	if _, err := f.seize("x-bbbbbbbbbbbbbbbb"); err != nil {
		t.Errorf("another execution: %v", err)
	}
	release()
	if _, err := f.seize(someID); err != nil {
		t.Errorf("when the other has ended: %v", err)
	}
}

func TestAVerificationIsCutToFitMessages(t *testing.T) {
	t.Parallel()
	was := standing{id: someID, entry: store.Entry{Listing: stint.Digest{3}, Request: stint.Request{Inputs: []string{"range:1..9"}, Output: "file:///out"}}}
	const packs, checkpoints, parts = 2500, 1000, 3000
	for range packs {
		was.packs = append(was.packs, stint.Pack{Key: "p", Ops: make([]stint.Range, 30)})
	}
	was.packs = append(was.packs, stint.Pack{Key: "scattered", Ops: make([]stint.Range, 3*mostRanges)})
	was.checkpoints = make([]stint.Checkpoint, checkpoints)
	was.parts = make([]stint.Part, parts)
	var got [3]int
	for i, e := range verifications(home{url: "file:///home"}, was) {
		if first := i == 0; first != (len(e.Inputs) == 1) || first == e.Listing.IsZero() {
			t.Errorf("errand %d: inputs %v, listing %s", i, e.Inputs, e.Listing)
		}
		if e.Kind != stint.ErrandVerify || e.Execution != someID || e.Output != "file:///out" || e.Storage != "file:///home" {
			t.Errorf("errand %d: %+v", i, e)
		}
		ranges := 0
		for _, p := range e.Packs {
			ranges += len(p.Ops)
		}
		if n := len(e.Packs) + len(e.Checkpoints) + len(e.Parts); n > mostVerified || ranges > mostRanges && len(e.Packs) > 1 {
			t.Errorf("errand %d: %d objects, %d ranges", i, n, ranges)
		}
		got[0], got[1], got[2] = got[0]+len(e.Packs), got[1]+len(e.Checkpoints), got[2]+len(e.Parts)
	}
	if want := [3]int{packs + 1, checkpoints, parts}; got != want {
		t.Errorf("%v objects are verified, want %v", got, want)
	}
}

func TestAClaimIsWorthNothingWithoutItsRecord(t *testing.T) {
	t.Parallel()
	list, h, _ := services(t, 1)
	s := list[0]
	was := standing{id: someID, generation: 1}
	if err := s.claimRecord(t.Context(), h, was, 2); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("its record was deleted meanwhile: %v", err)
	}
	if o, err := h.ownership(t.Context(), someID); err != nil || o.owner.Generation != 0 {
		t.Errorf("the claim is left: %+v, %v", o, err)
	}
	if err := h.storage.Put(t.Context(), recordKey(someID, 1), strings.NewReader("record")); err != nil {
		t.Fatal(err)
	}
	if err := s.claimRecord(t.Context(), h, was, 2); err != nil {
		t.Error(err)
	}
}

func TestWhatHasEndedElsewhereIsNotClaimedForTheFirstTimeAgain(t *testing.T) {
	t.Parallel()
	list, h, _ := services(t, 1)
	s := list[0]
	r := aRecord()
	r.summary.Generation, r.standsOn = 1, []string{savedPrefix(someID) + "pack-1", savedPrefix(someID) + "pack-2"}
	if err := s.assertOwner(t.Context(), h, r); stint.CodeOf(err) != stint.Conflict {
		t.Errorf("all it stands on is gone: %v", err)
	}
	if err := h.storage.Put(t.Context(), r.standsOn[1], strings.NewReader("pack")); err != nil {
		t.Fatal(err)
	}
	if err := s.assertOwner(t.Context(), h, r); err != nil {
		t.Errorf("something it stands on is there: %v", err)
	}
}

// A process whose time is over leaves the claim that the one after it has made, and
// goes on from.
func TestAClaimOfTheProcessThatHasTakenOverStays(t *testing.T) {
	t.Parallel()
	list, h, _ := services(t, 1)
	before := list[0]
	after := &Server{service: before.service, StorageURL: before.StorageURL, Storage: before.Storage, DB: before.DB}
	after.Ready()
	var err error
	if after.epoch, err = after.DB.TakeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := after.claim(t.Context(), h, someID, 2); err != nil {
		t.Fatal(err)
	}
	if err := before.withdraw(t.Context(), h, someID, 2); err != nil {
		t.Error(err)
	}
	if o, err := h.ownership(t.Context(), someID); err != nil || o.owner.Generation != 2 {
		t.Fatalf("%v: generation %d", err, o.owner.Generation)
	}
	if err := after.withdraw(t.Context(), h, someID, 2); err != nil {
		t.Error(err)
	}
	if o, err := h.ownership(t.Context(), someID); err != nil || o.owner.Generation != 0 {
		t.Errorf("%v: generation %d, after its own has withdrawn it", err, o.owner.Generation)
	}
}

// A claim that was given up and has come all the same is nobody else's.
func TestAClaimOfAnEarlierTryIsNoOtherOwner(t *testing.T) {
	t.Parallel()
	list, h, _ := services(t, 1)
	if err := list[0].claim(t.Context(), h, someID, 1); err != nil {
		t.Fatal(err)
	}
	if err := list[0].claim(t.Context(), h, someID, 1); stint.CodeOf(err) != stint.Unknown {
		t.Errorf("%s: %v", stint.CodeOf(err), err)
	}
}
