package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/blake3"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/object"
	"stint/internal/store"
)

// What lies in long-term storage below saved/<execution>/: claims of generations
// and the records that their owners wrote when they suspended.
const (
	savedRoot    = "saved/"
	ownerPrefix  = "owner-"
	recordPrefix = "record-"
)

func savedPrefix(id stint.ExecutionID) string { return savedRoot + string(id) + "/" }

func ownerKey(id stint.ExecutionID, generation uint64) string {
	return fmt.Sprintf("%s%s%06d", savedPrefix(id), ownerPrefix, generation)
}

func recordKey(id stint.ExecutionID, generation uint64) string {
	return fmt.Sprintf("%s%s%06d", savedPrefix(id), recordPrefix, generation)
}

// home is the long-term storage that the saved state of an execution lies in.
type home struct {
	storage *object.Storage
	url     string // empty: the service's own
}

// openHome opens the storage of a URL; empty is the service's own.
func (s *Server) openHome(ctx context.Context, url string) (home, error) {
	if url == "" || s.isOwnStorage(url) {
		return home{storage: s.Storage}, nil
	}
	canonical, err := object.ParseLocation(url)
	if err != nil {
		return home{}, err
	}
	storage, err := s.Access.FindStorage(ctx, canonical)
	return home{storage: storage, url: canonical}, err
}

func (s *Server) isOwnStorage(url string) bool {
	theirs, err := object.ParseLocation(url)
	ours, own := object.ParseLocation(s.StorageURL)
	return err == nil && own == nil && theirs == ours
}

// name returns what people call the storage.
func (s *Server) name(h home) string {
	if h.url == "" {
		return s.StorageURL
	}
	return h.url
}

// ownership is what a storage says of who owns an execution.
type ownership struct {
	owner  stint.Owner  // of the current generation; zero: none was claimed
	record uint64       // the latest generation that has a record; 0: none
	ended  *stint.Ended // nil: nothing says that it has ended
}

// suspended reports whether the owner has suspended the execution, so that
// anybody may take it up.
func (o ownership) suspended() bool { return o.record >= o.owner.Generation }

// ownership looks at an execution's saved state.
func (h home) ownership(ctx context.Context, id stint.ExecutionID) (ownership, error) {
	var o ownership
	list, err := h.storage.List(ctx, savedPrefix(id))
	if err != nil {
		return o, err
	}
	for _, e := range list {
		name := strings.TrimPrefix(e.Key, savedPrefix(id))
		if n, ok := generationOf(name, ownerPrefix); ok {
			o.owner.Generation = max(o.owner.Generation, n)
		}
		if n, ok := generationOf(name, recordPrefix); ok {
			o.record = max(o.record, n)
		}
		if name == endedName {
			if o.ended, err = h.ended(ctx, id); err != nil {
				return o, err
			}
		}
	}
	if o.owner.Generation == 0 {
		return o, nil
	}
	o.owner, err = h.owner(ctx, id, o.owner.Generation)
	return o, err
}

func generationOf(name, prefix string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil
}

const maxOwner = 64 << 10

// owner reads who claimed a generation.
func (h home) owner(ctx context.Context, id stint.ExecutionID, generation uint64) (stint.Owner, error) {
	key := ownerKey(id, generation)
	f, err := h.storage.Get(ctx, key)
	if err != nil {
		return stint.Owner{}, err
	}
	b, err := readAll(f, maxOwner)
	if err = errors.Join(err, f.Close()); err != nil {
		return stint.Owner{}, fmt.Errorf("read %s: %w", key, err)
	}
	var o stint.Owner
	if err := json.Unmarshal(b, &o); err != nil || o.Generation != generation {
		return o, stint.Errorf(stint.Invalid, "saved state %s is altered: it is not the claim of generation %d", key, generation)
	}
	return o, nil
}

// claim makes this service the owner of an execution in a generation. Of two
// that try, one succeeds.
func (s *Server) claim(ctx context.Context, h home, id stint.ExecutionID, generation uint64) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	owner := stint.Owner{Generation: generation, Service: s.serviceName(), Address: host, At: time.Now().UTC(), Word: rand.Text()}
	b, err := json.Marshal(owner)
	if err != nil {
		return err
	}
	// It is refused to a process that another has taken over from, in whose way the claim would be.
	if err := s.DB.SaveClaim(ctx, s.epoch, id, owner.Word); err != nil {
		return err
	}
	failpoint.Reach("claim.before-create")
	err = h.storage.Create(ctx, ownerKey(id, generation), bytes.NewReader(b))
	failpoint.Reach("claim.after-create")
	if stint.CodeOf(err) != stint.Conflict {
		return err
	}
	other, read := h.owner(ctx, id, generation)
	if read != nil || other.Word == owner.Word {
		return read
	}
	if ours, err := s.made(ctx, id, other); err != nil || ours { // it was given up, and has come all the same
		return errors.Join(err, stint.Errorf(stint.Unknown, "generation %d of execution %s was claimed by an earlier try of this service", generation, id))
	}
	return s.ownedElsewhere(h, id, other)
}

// made reports whether a claim is of this service, and of this record: a copy of it
// that goes on elsewhere is another owner.
func (s *Server) made(ctx context.Context, id stint.ExecutionID, o stint.Owner) (bool, error) {
	if o.Service != s.serviceName() || o.Word == "" {
		return o.Service == s.serviceName(), nil
	}
	return s.DB.Claimed(ctx, s.epoch, id, o.Word)
}

// withdraw takes back a claim of this service under which nothing was done.
func (s *Server) withdraw(ctx context.Context, h home, id stint.ExecutionID, generation uint64) error {
	o, err := h.ownership(ctx, id)
	if err != nil || o.owner.Generation != generation {
		return err
	}
	if ours, err := s.made(ctx, id, o.owner); err != nil || !ours {
		return err
	}
	failpoint.Reach("claim.before-withdrawal")
	return h.storage.Delete(ctx, ownerKey(id, generation))
}

func (s *Server) serviceName() string { return strconv.FormatUint(uint64(s.service), 36) }

// ownedElsewhere refuses what only the owner of an execution may do.
func (s *Server) ownedElsewhere(h home, id stint.ExecutionID, o stint.Owner) error {
	return stint.Errorf(stint.Conflict, "owned_elsewhere: execution %s in storage %s belongs to service %.40s on %.80s in generation %d since %s",
		id, s.name(h), o.Service, o.Address, o.Generation, o.At.Format(time.RFC3339))
}

// makeRecord makes the record that a suspend leaves in long-term storage. It runs
// in the drive's goroutine.
func (d *drive) makeRecord(e stint.Errand) savedRecord {
	now := d.millis()
	doc := d.state.Document(now)
	r := savedRecord{
		summary: summary{
			Execution: d.id, Name: doc.Name, Program: doc.Program, Generation: max(e.Generation, 1), Written: now, Operations: doc.Operations,
			Storage: e.Storage,
		},
		body: recordBody{
			Created: d.entry.Created, Request: d.entry.Request, Choice: d.entry.Choice, Listing: d.entry.Listing, Snapshot: d.state.SnapshotAll(),
		},
	}
	if r.summary.Storage == "" {
		r.summary.Storage = d.server.StorageURL
	}
	for _, p := range d.state.Packs() {
		r.standsOn = append(r.standsOn, p.Key)
	}
	for _, c := range d.state.Checkpoints() {
		r.standsOn = append(r.standsOn, c.Key)
	}
	d.saved = false // the store's next snapshot cannot leave out what this one has
	return r
}

// writeRecord does the errand [stint.ErrandRecord]: it makes sure that this
// service owns the execution, and writes all that a fresh one needs.
func (s *Server) writeRecord(ctx context.Context, e stint.Errand, r savedRecord) stint.ErrandResult {
	err := func() error {
		h, err := s.openHome(ctx, e.Storage)
		if err != nil {
			return err
		}
		if err := s.assertOwner(ctx, h, r); err != nil {
			return err
		}
		failpoint.Reach("suspend.after-claim-before-record")
		entry := store.Entry{Request: r.body.Request, Listing: r.body.Listing}
		if err := s.carry(ctx, home{storage: s.Storage}, h, entry); err != nil {
			return err
		}
		b, err := r.encode()
		if err != nil {
			return err
		}
		if err := s.checkOwner(ctx); err != nil { // of this service another process may write it, from a later state
			return err
		}
		return h.storage.Put(ctx, recordKey(e.Execution, r.summary.Generation), bytes.NewReader(b))
	}()
	return stint.ErrandResult{ID: e.ID, Error: stint.AsError(err)}
}

// withdrawUnused takes back a claim of this record that is higher than what the
// execution is in, which nobody will use any more. One of an execution that is
// suspended may be what it is to go on under; one that a copy of this record has made
// is noted.
func (d *drive) withdrawUnused(ctx context.Context, generation uint64) error {
	release, err := d.server.fleet.seize(d.id)
	if err != nil {
		return nil // somebody is about to use it
	}
	defer release()
	was, err := d.standing(ctx)
	if err != nil || was.doc.Status == stint.Suspended || was.generation != generation {
		return err
	}
	h, err := d.server.openHome(ctx, was.home)
	if err != nil {
		return err
	}
	o, err := h.ownership(ctx, d.id)
	if err != nil {
		return err
	}
	ours, err := d.server.made(ctx, d.id, o.owner)
	switch {
	case err != nil:
		return err
	case o.owner.Generation > was.generation && !ours:
		d.foreign.Store(o.owner.Generation)
		return nil
	}
	d.foreign.Store(0)
	if o.owner.Generation <= was.generation {
		return nil
	}
	return d.server.withdraw(ctx, h, d.id, o.owner.Generation)
}

// assertOwner claims the first generation if nobody has, and refuses if somebody
// else owns the execution, or has owned it until its end. A higher claim of this
// service is Unavailable: the suspend is being taken back, or the server ended
// before that was recorded.
func (s *Server) assertOwner(ctx context.Context, h home, r savedRecord) error {
	id, generation := r.summary.Execution, r.summary.Generation
	o, err := h.ownership(ctx, id)
	ours, known := s.made(ctx, id, o.owner)
	switch {
	case err != nil || known != nil:
		return errors.Join(err, known)
	case o.ended != nil:
		return o.ended.Refusal(id)
	case o.owner.Generation == 0 && generation == 1:
		gone, err := h.lacksAll(ctx, r.standsOn)
		if err != nil {
			return err
		}
		if gone {
			return stint.Errorf(stint.Conflict, "owned_elsewhere: execution %s: nothing of its saved state is left in storage %s: it has come to its end elsewhere", id, s.name(h))
		}
		return s.claim(ctx, h, id, generation)
	case o.owner.Generation > generation && ours:
		return stint.Errorf(stint.Unavailable, "execution %s: this service has claimed generation %d, and not yet recorded that", id, o.owner.Generation)
	case o.owner.Generation != generation || !ours:
		return s.ownedElsewhere(h, id, o.owner)
	}
	return nil
}

// lacksAll reports whether none of some objects is there.
func (h home) lacksAll(ctx context.Context, keys []string) (bool, error) {
	for _, key := range keys {
		if _, err := h.storage.Stat(ctx, key); stint.CodeOf(err) != stint.NotFound {
			return false, err
		}
	}
	return len(keys) > 0, nil
}

// carry brings what is kept of an execution by its digest from one storage to
// another.
func (*Server) carry(ctx context.Context, from, to home, e store.Entry) error {
	if from.storage == to.storage {
		return nil
	}
	if err := carryBlob(ctx, from, to, "listings", e.Listing); err != nil {
		return fmt.Errorf("listing of the input: %w", err)
	}
	for _, f := range e.Request.Program.Files {
		if err := carryBlob(ctx, from, to, "files", f.Digest); err != nil {
			return fmt.Errorf("program file %.80q: %w", f.Name, err)
		}
	}
	return nil
}

const maxBlob = 1 << 40

func carryBlob(ctx context.Context, from, to home, folder string, digest stint.Digest) error {
	key := folder + "/" + digest.String()
	here, missing := to.storage.Stat(ctx, key)
	there, err := from.storage.Stat(ctx, key)
	if missing == nil && (stint.CodeOf(err) == stint.NotFound || err == nil && here.Size == there.Size) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := from.storage.Get(ctx, key)
	if err != nil {
		return err
	}
	hash := blake3.New()
	_, err = io.Copy(hash, f)
	if got := stint.Digest(hash.Sum(nil)); err == nil && got != digest { // what it is may be somebody's, and there
		err = stint.Errorf(stint.Invalid, "%s is altered: its digest is %s", key, got)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, _, err = to.storage.PutBlob(ctx, folder, f, maxBlob)
	}
	return errors.Join(err, f.Close())
}

// readRecord reads the record of a generation.
func (h home) readRecord(ctx context.Context, id stint.ExecutionID, generation uint64) (savedRecord, error) {
	key := recordKey(id, generation)
	f, err := h.storage.Get(ctx, key)
	if err != nil {
		return savedRecord{}, err
	}
	b, err := readAll(f, maxRecord)
	if err = errors.Join(err, f.Close()); err != nil {
		return savedRecord{}, fmt.Errorf("read %s: %w", key, err)
	}
	r, err := decodeRecord(b)
	if err == nil && (r.summary.Execution != id || r.summary.Generation != generation) {
		err = stint.Errorf(stint.Invalid, "it is of execution %.80s in generation %d", r.summary.Execution, r.summary.Generation)
	}
	if err != nil {
		return r, fmt.Errorf("saved state %s: %w", key, err)
	}
	return r, nil
}

// Saved lists the executions that can be resumed from a storage, by their ids;
// an empty location is the service's own.
func (s *Server) Saved(ctx context.Context, from string) ([]stint.SavedExecution, error) {
	h, err := s.openHome(ctx, from)
	if err != nil {
		return nil, err
	}
	names, err := h.storage.Folders(ctx, savedRoot)
	if err != nil {
		return nil, err
	}
	out := []stint.SavedExecution{}
	for _, name := range names {
		id, err := stint.ParseExecutionID(name)
		if err != nil {
			continue // not ours
		}
		if e, err := h.ended(ctx, id); err == nil && e != nil {
			continue
		}
		x, err := h.savedExecution(ctx, id)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		x.ID, x.Error = id, stint.AsError(err)
		out = append(out, x)
	}
	return out, nil
}

// savedExecution looks at one execution without reading all of its record.
func (h home) savedExecution(ctx context.Context, id stint.ExecutionID) (stint.SavedExecution, error) {
	o, err := h.ownership(ctx, id)
	if err != nil {
		return stint.SavedExecution{}, err
	}
	if o.record == 0 {
		return stint.SavedExecution{}, noRecord(id)
	}
	key := recordKey(id, o.record)
	f, err := h.storage.Get(ctx, key)
	if err != nil {
		return stint.SavedExecution{}, err
	}
	sum, err := readSummary(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return stint.SavedExecution{}, fmt.Errorf("saved state %s: %w", key, err)
	}
	x := stint.SavedExecution{
		Name: sum.Name, Program: sum.Program, Generation: o.record, Suspended: time.UnixMilli(sum.Written).UTC(), Operations: sum.Operations,
	}
	if !o.suspended() {
		x.Owner = &o.owner
	}
	return x, nil
}

func noRecord(id stint.ExecutionID) error {
	return stint.Errorf(stint.NotFound, "no saved state of execution %s: there is no %s%s…", id, savedPrefix(id), recordPrefix)
}
