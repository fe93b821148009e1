package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/zeebo/blake3"

	"stint"
	"stint/internal/coord"
	"stint/internal/failpoint"
	"stint/internal/plan"
	"stint/internal/store"
	"stint/internal/wire"
)

// Bounds of a request.
const (
	maxName    = 200
	maxInputs  = 10_000
	maxEnviron = 128 << 10
	maxKey     = 200
)

// Submit records a request and returns the new execution, or the one that was
// made for the same key. The input is listed, the plan made and the output
// location probed first; when Submit returns without an error, the record is
// committed.
func (s *Server) Submit(ctx context.Context, req stint.Request) (stint.Execution, error) {
	if err := s.check(ctx, req); err != nil {
		return stint.Execution{}, err
	}
	digest, err := requestDigest(req)
	if err != nil {
		return stint.Execution{}, err
	}
	if req.Key != "" {
		id, err := s.DB.ByKey(ctx, req.Key, digest)
		if err == nil {
			return s.Show(ctx, id)
		}
		if stint.CodeOf(err) != stint.NotFound {
			return stint.Execution{}, err
		}
	}
	id := newID()
	if req.Output != "" {
		holder := s.fleet.reserve(req.Output, id)
		if s.fleet.drive(holder) != nil { // another submission that is not recorded yet may be this one again: the key will tell
			if same, err := s.DB.ByKey(ctx, req.Key, digest); err == nil && same == holder {
				return s.Show(ctx, holder)
			}
			return stint.Execution{}, s.fleet.outputTaken(req.Output, holder)
		}
	}
	doc, err := s.accept(ctx, id, digest, req)
	if s.fleet.drive(id) == nil {
		s.fleet.free(id)
	}
	return doc, err
}

// accept prepares and records a request under an id.
func (s *Server) accept(ctx context.Context, id stint.ExecutionID, digest stint.Digest, req stint.Request) (stint.Execution, error) {
	made, err := s.prepare(ctx, id, req)
	if err != nil {
		return stint.Execution{}, err
	}
	made.entry.Digest = digest
	return s.record(ctx, made)
}

// prepare lists the input, makes the plan and probes the output, which lies in
// system storage if the request names none. What an earlier execution has
// completed is taken over then.
func (s *Server) prepare(ctx context.Context, id stint.ExecutionID, req stint.Request) (draft, error) {
	if err := s.fleet.awaitNode(ctx); err != nil {
		return draft{}, err
	}
	made, err := s.draft(ctx, id, req)
	if err != nil {
		return made, err
	}
	req = made.entry.Request
	failpoint.Reach("submit.after-list-before-probe")
	// Its outcome is waited for even if the caller has left: it leaves a folder.
	if err = s.probe(context.WithoutCancel(ctx), id, req); err != nil {
		return made, err
	}
	if made.was != nil {
		made.state, _, err = s.adopt(ctx, made, *made.was)
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		s.discard(ctx, made.entry)
		return made, err
	}
	return made, nil
}

// draft is a plan and what is kept of it.
type draft struct {
	entry store.Entry
	plan  *plan.Plan
	was   *earlier     // whose completed operations it takes over; nil: nobody's
	state *coord.State // that it begins with; nil: nothing done
}

// draft lists the input and makes the plan.
func (s *Server) draft(ctx context.Context, id stint.ExecutionID, req stint.Request) (draft, error) {
	if err := s.fleet.checkPlaceable(req.Program); err != nil {
		return draft{}, err
	}
	req = withPolicy(req)
	params, err := req.Program.CheckParams(req.Params)
	if err != nil {
		return draft{}, err
	}
	req.Params = params
	list := listing(string(id)+"/list", id, req)
	if req.Output == "" {
		var err error
		if req.Output, err = s.Storage.Location(ownOutput(id)); err != nil {
			return draft{}, err
		}
	}
	made := draft{entry: store.Entry{ID: id, Created: s.millis(), Epoch: s.epoch, Request: req}}
	listed, err := s.runErrand(ctx, list, "")
	if err != nil {
		return made, err
	}
	made.entry.Listing = listed.Digest
	found, err := readListing(ctx, s.Storage, listed.Digest)
	if err != nil {
		return made, err
	}
	if made.entry.Choice, err = plan.Choose(req, found); err != nil {
		return made, err
	}
	if req.Reuse != "" {
		was, err := s.earlier(ctx, req.Reuse)
		if err != nil {
			return made, err
		}
		made.was, made.entry.Choice = &was, was.cutLike(req, found, made.entry.Choice)
	}
	made.plan, err = plan.Make(id, req, found, made.entry.Choice)
	return made, err
}

// withPolicy fills in what a request leaves open of how errors are treated, from
// its program and from the template of the program's type.
func withPolicy(req stint.Request) stint.Request {
	policy := req.Program.OnError
	req.Attempts = cmp.Or(req.Attempts, policy.Attempts, plan.TemplateOf(req.Program.Type).Attempts)
	req.Backoff = cmp.Or(req.Backoff, policy.Backoff)
	req.SkipBadRecords = cmp.Or(req.SkipBadRecords, policy.SkipBadRecords)
	if req.CompleteErrors == nil && policy.CompleteErrors {
		req.CompleteErrors = &policy.CompleteErrors
	}
	return req
}

// listing makes the errand that lists the input of a request.
func listing(id string, x stint.ExecutionID, req stint.Request) stint.Errand {
	return stint.Errand{
		ID: id, Kind: stint.ErrandList, Execution: x, Inputs: req.Inputs, NamedInputs: req.NamedInputs,
		Lines: plan.Lines(req.Program), Delimiters: plan.Delimiters(req.Program), Compression: req.Compression, Output: req.Output,
	}
}

// record commits a submission and starts driving it.
func (s *Server) record(ctx context.Context, made draft) (stint.Execution, error) {
	entry, state := made.entry, made.state
	var begun *store.Begun
	if state != nil {
		b := begunAt(state, s.millisOf(state))
		begun = &b
	} else {
		state = coord.New(made.plan, entry.Request, s.epoch, entry.Created)
	}
	failpoint.Reach("submit.before-record")
	created, err := s.create(context.WithoutCancel(ctx), entry, begun)
	if stint.CodeOf(err) == stint.Unknown {
		return stint.Execution{}, err
	}
	if err != nil || created != entry.ID {
		s.discard(ctx, entry)
		if err != nil {
			return stint.Execution{}, err
		}
		return s.Show(ctx, created)
	}
	s.Logger.InfoContext(ctx, "execution accepted", "execution", string(entry.ID))
	queued := state.Document(entry.Created)
	d := newDrive(s, entry.ID)
	d.adopt(entry, state, begun != nil)
	failpoint.Reach("submit.before-begin")
	if doc, err := s.begin(ctx, d); err == nil {
		failpoint.Reach("submit.before-answer")
		return doc, nil
	}
	return queued, nil // it is recorded; if not here, it begins with the next server
}

func (s *Server) begin(ctx context.Context, d *drive) (stint.Execution, error) {
	if err := s.start(context.WithoutCancel(ctx), d); err != nil {
		return stint.Execution{}, err
	}
	return d.ask(ctx, &coord.Event{Begin: true})
}

// create commits a submission. If the outcome is unknown, the record is read.
func (s *Server) create(ctx context.Context, entry store.Entry, begun *store.Begun) (stint.ExecutionID, error) {
	created, err := s.DB.Create(ctx, entry, begun)
	if stint.CodeOf(err) != stint.Unknown {
		return created.ID, err
	}
	_, found := s.DB.Load(ctx, entry.ID)
	if found == nil {
		return entry.ID, nil
	}
	if stint.CodeOf(found) == stint.NotFound {
		return "", stint.Errorf(stint.Unavailable, "the submission was not recorded: %w", err)
	}
	return "", err
}

// check refuses what can be refused without looking at any data.
func (s *Server) check(ctx context.Context, req stint.Request) error {
	if err := plan.CheckProgram(req.Program); err != nil {
		return err
	}
	if err := s.Validate(req.Program, req.Params); err != nil {
		return err
	}
	if _, err := req.Program.CheckParams(req.Params); err != nil {
		return err
	}
	switch {
	case req.Nodes < 0 || req.Slots < 0 || req.Attempts < 0 || req.Attempts > 100:
		return stint.Errorf(stint.Invalid, "nodes %d, slots %d, attempts %d: expected 0 or more, attempts at most 100", req.Nodes, req.Slots, req.Attempts)
	case req.Backoff < 0 || req.Backoff > plan.MaxBackoff:
		return stint.Errorf(stint.Invalid, "back-off of %d ms: expected 0 to %d", req.Backoff, plan.MaxBackoff)
	case !(req.SkipBadRecords <= 1): // also what is no number
		return stint.Errorf(stint.Invalid, "a share of %v of bad records: expected 0 to 1", req.SkipBadRecords)
	case req.Compression != "" && req.Compression != "none":
		return stint.Errorf(stint.Invalid, "compression %.80q: expected none", req.Compression)
	case s.fleet.working() >= maxLive:
		return stint.Errorf(stint.Unavailable, "queue_full: %d executions are neither over nor suspended; at most %d", maxLive, maxLive)
	}
	if err := checkInputs(req); err != nil {
		return err
	}
	if err := checkDurability(req); err != nil {
		return err
	}
	if err := checkText("name", req.Name, maxName); err != nil {
		return err
	}
	if err := checkText("key", req.Key, maxKey); err != nil {
		return err
	}
	if err := checkEnvironment(req.Environment); err != nil {
		return err
	}
	return s.checkFiles(ctx, req.Program.Files)
}

// checkInputs refuses a request that does not say where each input is that its
// program has.
func checkInputs(req stint.Request) error {
	names, total := req.Program.Inputs, len(req.Inputs)
	switch {
	case len(names) == 0 && len(req.NamedInputs) > 0:
		return stint.Errorf(stint.Invalid, "inputs with names: the inputs of the program have none")
	case len(names) > 0 && len(req.Inputs) > 0:
		return stint.Errorf(stint.Invalid, "inputs without names: the inputs of the program are %s: give each as NAME=LOCATION", strings.Join(names, ", "))
	case len(names) == 0 && len(req.Inputs) == 0:
		return stint.Errorf(stint.Invalid, "no input: give at least one location, or range:FIRST..LAST")
	}
	for name, locations := range req.NamedInputs {
		if total += len(locations); !slices.Contains(names, name) {
			return stint.Errorf(stint.Invalid, "unknown_reference: input %.80q: the inputs of the program are %s", name, strings.Join(names, ", "))
		}
	}
	for _, name := range names {
		if len(req.NamedInputs[name]) == 0 {
			return stint.Errorf(stint.Invalid, "no input %s: give %s=LOCATION", name, name)
		}
	}
	if total > maxInputs {
		return stint.Errorf(stint.Invalid, "%d input locations; at most %d: use a folder or a glob", total, maxInputs)
	}
	return nil
}

// mostCopies bounds the replication of an execution.
const mostCopies = 16

// checkDurability refuses what is asked for the keeping of output and cannot be.
func checkDurability(req stint.Request) error {
	if req.Replication < 0 || req.Replication > mostCopies {
		return stint.Errorf(stint.Invalid, "replication %d: expected 1 to %d", req.Replication, mostCopies)
	}
	switch req.Save {
	case "", stint.SaveOnSuspend, stint.SaveContinuous:
	default:
		return stint.Errorf(stint.Invalid, "save %.80q: expected %s or %s", string(req.Save), stint.SaveOnSuspend, stint.SaveContinuous)
	}
	if req.Keep > maxKeepSeconds {
		return stint.Errorf(stint.Invalid, "keep %d seconds: expected at most %d", req.Keep, int64(maxKeepSeconds))
	}
	if req.Reuse == "" {
		return nil
	}
	_, err := stint.ParseExecutionID(string(req.Reuse))
	return err
}

// maxKeepSeconds is ten years.
const maxKeepSeconds = 10 * 366 * 24 * 3600

func checkText(what, text string, most int) error {
	if len(text) > most {
		return stint.Errorf(stint.Invalid, "%s: %d bytes; at most %d", what, len(text), most)
	}
	for i, r := range text {
		if r < ' ' || r == 0x7f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return stint.Errorf(stint.Invalid, "%s: control character U+%04X at %d", what, r, i)
		}
	}
	return nil
}

func checkEnvironment(env map[string]string) error {
	size := 0
	for name, value := range env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return stint.Errorf(stint.Invalid, "environment %.80q: a name has no = and neither has a NUL", name)
		}
		size += len(name) + len(value) + 2
	}
	if size > maxEnviron {
		return stint.Errorf(stint.Invalid, "environment: %d bytes; at most %d", size, maxEnviron)
	}
	return nil
}

func (s *Server) checkFiles(ctx context.Context, files []stint.ProgramFile) error {
	for _, f := range files {
		stored, err := s.Storage.Get(ctx, fileKey(f.Digest))
		if err != nil {
			return fmt.Errorf("program file %.80q, digest %s: %w", f.Name, f.Digest, err)
		}
		if err := stored.Close(); err != nil {
			return err
		}
	}
	return nil
}

func fileKey(d stint.Digest) string { return "files/" + d.String() }

func requestDigest(req stint.Request) (stint.Digest, error) {
	b, err := wire.Marshal(req)
	if err != nil {
		return stint.Digest{}, err
	}
	return blake3.Sum256(b), nil
}

// runErrand has a node run an errand and waits for the result. One that any node
// could do is given up when none has been there at two looks.
func (s *Server) runErrand(ctx context.Context, e stint.Errand, target stint.NodeID) (stint.ErrandResult, error) {
	ctx, cancel := context.WithTimeout(ctx, errandWait)
	defer cancel()
	reply := newMailbox()
	s.fleet.submitErrand(e, target, reply)
	defer s.fleet.cancelErrand(e.ID)
	looks := time.NewTicker(nodeWait)
	defer looks.Stop()
	for alone := false; ; alone = s.fleet.unattended(e.ID) {
		select {
		case <-reply.came:
			r := reply.take()[0]
			if r.Error != nil {
				return r, r.Error
			}
			return r, nil
		case <-looks.C:
			if alone && s.fleet.unattended(e.ID) {
				return stint.ErrandResult{}, s.fleet.noNode()
			}
		case <-s.done:
			return stint.ErrandResult{}, errStopping()
		case <-ctx.Done():
			return stint.ErrandResult{}, stint.Errorf(stint.Unavailable, "%s: no node answered in time", e.Kind)
		}
	}
}

// PutFile keeps the bytes of r under their digest; r fails at its end if the
// bytes have another one.
func (s *Server) PutFile(ctx context.Context, digest stint.Digest, r io.Reader) error {
	err := s.Storage.Put(ctx, fileKey(digest), r)
	failpoint.Reach("file.before-answer")
	return err
}

func readAll(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = stint.Errorf(stint.Invalid, "longer than %d bytes", most)
	}
	return b, err
}

// watchEvery is the least time between two documents of one watch, but the last.
const watchEvery = 100 * time.Millisecond
