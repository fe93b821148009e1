package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"stint"
	"stint/internal/failpoint"
	"stint/internal/object"
)

// endedKey names what stays of the saved state of an execution that has ended.
const endedKey = "ended"

// savedPrefix is what the keys of an execution's saved state begin with.
func savedPrefix(x stint.ExecutionID) string { return "saved/" + string(x) + "/" }

// ownership is what long-term storage says of who owns the execution that an
// errand is for.
type ownership struct {
	storage *object.Storage
	errand  stint.Errand
	claims  map[uint64]stint.Owner
	highest uint64       // generation that is claimed; 0: none
	ended   *stint.Ended // nil: nothing says that it has ended
	// recorded: there is something to resume from, also where the claim is lost.
	recorded bool
	over     bool // nothing is left for the errand to do but to see that it is done; check finds out
}

// readOwnership looks at the claims of an execution.
func readOwnership(ctx context.Context, storage *object.Storage, e stint.Errand) (ownership, error) {
	o := ownership{storage: storage, errand: e, claims: make(map[uint64]stint.Owner)}
	list, err := storage.List(ctx, savedPrefix(e.Execution))
	if err != nil {
		return o, err
	}
	for _, entry := range list {
		name := strings.TrimPrefix(entry.Key, savedPrefix(e.Execution))
		if name == endedKey {
			if o.ended, err = readEnded(ctx, storage, entry.Key); err != nil {
				return o, err
			}
		}
		o.recorded = o.recorded || strings.HasPrefix(name, "record-")
		digits, ok := strings.CutPrefix(name, "owner-")
		n, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil {
			continue
		}
		b, err := readSmall(ctx, storage, entry.Key)
		if err != nil {
			return o, err
		}
		var owner stint.Owner
		_ = json.Unmarshal(b, &owner) // that it is there says what counts
		o.claims[n], o.highest = owner, max(o.highest, n)
	}
	return o, nil
}

// readEnded reads the word about an end; nil: it is gone again. What follows from it
// depends on whose word it is, so one that cannot be understood is waited for.
func readEnded(ctx context.Context, storage *object.Storage, key string) (*stint.Ended, error) {
	b, err := readSmall(ctx, storage, key)
	if err != nil || b == nil {
		return nil, err
	}
	var e stint.Ended
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, stint.Errorf(stint.Unavailable, "saved state %s is altered: it does not say how the execution ended: %w", key, err)
	}
	return &e, nil
}

// readSmall reads a small object of the saved state; nil: it is gone since it was
// listed.
func readSmall(ctx context.Context, storage *object.Storage, key string) ([]byte, error) {
	f, err := storage.Get(ctx, key)
	if stint.CodeOf(err) == stint.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return b, errors.Join(err, f.Close())
}

// unusedClaim is why an errand waits for the execution's own service, which has
// claimed a higher generation than the errand is of.
type unusedClaim struct {
	execution           stint.ExecutionID
	generation, claimed uint64
}

// Error says it for people.
func (u *unusedClaim) Error() string {
	return fmt.Sprintf("claim_unused: execution %s is in generation %d, and its own service has claimed generation %d", u.execution, u.generation, u.claimed)
}

// check refuses an errand of a service that is not the owner of the execution any
// more: another has claimed a higher generation since. A higher claim of the same
// service came to nothing, or is about to be recorded, or a copy of its record has
// made it: the errand is to be tried again. The first claim is always of the service
// that the execution was submitted to, and is made when that has recorded that it
// suspends, as generation 1; any other is there as long as the execution is. Without
// it the execution is over: its end has deleted the claims, this service's or that of
// another that had taken the execution over.
func (o *ownership) check() error {
	generation := o.errand.Generation
	if o.ended != nil {
		o.over = true
		return nil
	}
	if o.highest > generation {
		if own := o.claims[max(generation, 1)].Service; own != "" && own == o.claims[o.highest].Service {
			return stint.Errorf(stint.Unavailable, "%w", &unusedClaim{execution: o.errand.Execution, generation: generation, claimed: o.highest})
		}
		by := ""
		if address := o.claims[o.highest].Address; address != "" {
			by = " by the service at " + address
		}
		return stint.Errorf(stint.Conflict, "owned_elsewhere: execution %s is owned in generation %d%s, this was asked for in generation %d", o.errand.Execution, o.highest, by, generation)
	}
	_, claimed := o.claims[generation]
	o.over = generation > 1 && !claimed
	return nil
}

// turnOf says which commit of its execution an errand does, or takes back.
func turnOf(e stint.Errand) object.Turn {
	return object.Turn{Execution: e.Execution, Generation: e.Generation, Stint: e.Stint}
}

// endedByOther reports whether an owner after the one that an errand is of has brought
// the execution to its end. Claims that are gone without a word of that went with a
// commit or a clear of this very owner.
func (o ownership) endedByOther() bool {
	return o.ended != nil && o.ended.Generation != o.errand.Generation
}

// shared reports whether another service had a part in the execution, which may
// believe that it is suspended.
func (o ownership) shared() bool {
	services := make(map[string]bool)
	for _, owner := range o.claims {
		services[owner.Service] = true
	}
	return len(services) > 1
}

// defaultKeep is how long it is said that an execution has ended, at the least.
const defaultKeep = 24 * time.Hour

// end removes the saved state of an execution that is over. For other services
// that had a part in it a word about its end stays. That of a commit whose output
// was taken back is replaced.
func (o ownership) end(ctx context.Context, written int64) error {
	prefix := savedPrefix(o.errand.Execution)
	e := o.errand
	if o.ended == nil && (o.over || !o.shared()) {
		return o.storage.DeleteAll(ctx, prefix)
	}
	if o.ended == nil || e.Kind == stint.ErrandClear && !o.endedByOther() && o.ended.Status != e.Ended {
		owner := o.claims[max(e.Generation, 1)]
		if o.ended != nil { // the commit has deleted the claims
			owner = stint.Owner{Service: o.ended.Service, Address: o.ended.Address}
		}
		now := time.Now().UTC()
		b, err := json.Marshal(stint.Ended{
			Status: e.Ended, Generation: e.Generation, Service: owner.Service, Address: owner.Address,
			At: now, Until: now.Add(max(defaultKeep, time.Duration(e.Keep)*time.Second)), Output: e.Output, Parts: len(e.Parts), Bytes: written,
		})
		if err != nil {
			return err
		}
		if err := o.say(ctx, prefix+endedKey, b); err != nil {
			return err
		}
	}
	failpoint.Reach("end.after-word")
	return o.storage.DeleteAllBut(ctx, prefix, endedKey)
}

// say writes how the execution has ended. A commit that comes late does not replace
// what a clear has said.
func (o ownership) say(ctx context.Context, key string, word []byte) error {
	if o.errand.Kind != stint.ErrandCommit {
		return o.storage.Put(ctx, key, bytes.NewReader(word))
	}
	if err := o.storage.Create(ctx, key, bytes.NewReader(word)); stint.CodeOf(err) != stint.Conflict {
		return err
	}
	return nil
}

// probe tries what a commit will do. One for a suspended execution may come late, when
// that has gone on without it and come to its end: nobody else would remove then what
// the probe has made. What was staged before it stays in any case: of an execution that
// is suspended there may be nothing else left.
func (s *site) probe(ctx context.Context, e stint.Errand) error {
	made, err := s.agent.Access.Probe(ctx, e.Output, e.Execution, e.Overwrite)
	if err != nil || e.Generation == 0 {
		return err
	}
	storage, err := s.storages.open(ctx, e.Storage)
	if err != nil {
		return unavailable(err)
	}
	o, err := readOwnership(ctx, storage, e)
	if err != nil {
		return unavailable(err)
	}
	if o.ended == nil && (o.highest > 0 || o.recorded) {
		return nil
	}
	over := stint.Errorf(stint.Conflict, "execution %s has come to its end: nothing is left of generation %d", e.Execution, e.Generation)
	if !made {
		return over
	}
	return errors.Join(over, s.agent.Access.Clear(ctx, e.Output, object.Turn{Execution: e.Execution}))
}

// commit gives the chosen parts their names. Saved state goes away with the last
// reason to resume: not while something is missing that may be retried.
func (s *site) commit(ctx context.Context, e stint.Errand) (int64, error) {
	o, err := s.ownership(ctx, e)
	if err != nil {
		return 0, unavailableIfGone(err)
	}
	var written int64
	if o.over {
		written, err = o.committed(ctx, s.agent.Access)
	} else {
		written, err = s.agent.Access.Commit(ctx, e.Output, turnOf(e), e.Program, e.Parts, e.Overwrite, e.Missing...)
	}
	if stint.CodeOf(err) == stint.Denied { // it was allowed when the execution began, and may be again
		err = unavailable(err)
	}
	failpoint.Reach("end.after-output")
	retried := func(m stint.Missing) bool { return m.Operation != "" }
	if err == nil && !slices.ContainsFunc(e.Missing, retried) {
		err = o.end(ctx, written)
	}
	return written, err
}

// ownership looks whether an errand is of the owner of its execution.
func (s *site) ownership(ctx context.Context, e stint.Errand) (ownership, error) {
	storage, err := s.storages.open(ctx, e.Storage)
	if stint.CodeOf(err) == stint.Denied { // credentials may be renewed
		err = unavailable(err)
	}
	if err != nil {
		return ownership{}, err
	}
	o, err := readOwnership(ctx, storage, e)
	if err != nil {
		return o, unavailable(err)
	}
	err = o.check()
	return o, err
}

// committed is what is left of a commit in an execution that is over: to see that
// it is done.
func (o ownership) committed(ctx context.Context, access *object.Access) (int64, error) {
	e := o.errand
	written, done, err := access.Committed(ctx, e.Output, turnOf(e), e.Program, e.Parts, e.Missing...)
	switch {
	case err == nil && done && (o.ended == nil || o.ended.Generation == e.Generation):
		return written, nil
	case o.ended != nil:
		return 0, o.ended.Refusal(e.Execution)
	case err == nil:
		err = stint.Errorf(stint.Conflict, "owned_elsewhere: execution %s has come to its end elsewhere: its claim of generation %d is gone", e.Execution, e.Generation)
	}
	return 0, err
}

// unavailableIfGone keeps a storage that is not there, for now perhaps, from being
// taken for a reason never to commit.
func unavailableIfGone(err error) error {
	if isGone(err) {
		return unavailable(err)
	}
	return err
}

func unavailable(err error) error { return &stint.Error{Code: stint.Unavailable, Message: err.Error()} }

// isGone reports whether an error of opening a storage says that there is none.
func isGone(err error) bool {
	code := stint.CodeOf(err)
	return code == stint.NotFound || code == stint.Invalid
}

// clearAll removes what an execution has staged and saved. Where its storage is
// gone nothing is saved, and nobody else can have claimed it. The output of one
// that another owner has ended is what that has made of it; what a commit of this
// owner has made is taken back. What is staged and can never be
// removed keeps nothing else from being removed.
func (s *site) clearAll(ctx context.Context, e stint.Errand) error {
	o, err := s.ownership(ctx, e)
	gone := err != nil && isGone(err)
	if err != nil && !gone {
		return err
	}
	var staged error
	if e.Output != "" && !o.endedByOther() {
		staged = s.agent.Access.Clear(ctx, e.Output, turnOf(e))
	}
	if gone || mayPass(staged) { // then it is asked for again
		return staged
	}
	failpoint.Reach("clear.after-staged")
	saved := o.end(ctx, 0)
	failpoint.Reach("clear.after-saved")
	return errors.Join(staged, saved, s.discardLogs(ctx, e))
}

// discardLogs removes the logs of an execution that was terminated from storage.
func (s *site) discardLogs(ctx context.Context, e stint.Errand) error {
	if e.Ended != stint.Terminated {
		return nil
	}
	storage, err := s.storages.open(ctx, "")
	if err != nil {
		return err
	}
	return storage.DeleteAll(ctx, logsRoot+"/"+string(e.Execution)+"/")
}

// mayPass reports whether what has failed may succeed later.
func mayPass(err error) bool {
	code := stint.CodeOf(err)
	return code == stint.Unavailable || code == stint.Unknown || code == stint.Canceled
}
