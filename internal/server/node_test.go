package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/auth"
	"stint/internal/link"
	"stint/internal/memnet"
	"stint/internal/object"
	"stint/internal/wire"
)

// node is a node as a test scripts it: it does errands, and performs what it is
// granted at once. What it knows outlives its sessions.
type node struct {
	t       *testing.T
	hello   link.Hello
	keys    *auth.NodeIdentity
	storage *object.Storage
	net     *memnet.Network // in a bubble; nil: the machine's

	mu      sync.Mutex
	session *link.AgentSession
	ended   chan struct{} // closed when the session's messages were all taken in
	why     error         // the session ended
	upTo    int           // grants of later stages are kept and not performed; -1: all are
	heard   []link.ServerMessage
	hearing func(link.ServerMessage) // what else is done about a message; nil: nothing
	specs   map[stint.ExecutionID]*stint.Spec
	kept    map[stint.ExecutionID]*kept
	said    map[stint.ExecutionID]uint64           // reports made, of executions that were forgotten too
	begun   map[string]int                         // performances by operation
	output  map[stint.ExecutionID][]stint.StageOps // kept as a cache
	errand  func(stint.Errand) *stint.ErrandResult
	refuse  func(stint.Grant) *stint.Error // why a job is not performed; nil: it is
}

// kept is what a node knows of one execution.
type kept struct {
	grants  []stint.Grant // of this incarnation
	waiting []stint.Grant // not performed
	reports []stint.Report
}

func (s *site) node(name string) *node {
	s.t.Helper()
	id := newNodeID()
	key, csr, err := auth.NewNodeRequest(name)
	check(s.t, err)
	certificate, err := s.ca.SignNode(csr, id)
	check(s.t, err)
	dir := s.path(string(id))
	check(s.t, os.Mkdir(dir, 0o700))
	check(s.t, auth.SaveNode(dir, key, certificate, s.ca.PEM()))
	keys, err := auth.LoadNode(dir)
	check(s.t, err)
	storage, err := new(object.Access).OpenStorage(s.t.Context(), s.url)
	check(s.t, err)
	n := &node{
		t: s.t, keys: keys, storage: storage, net: s.net,
		hello: link.Hello{Version: "test", Node: id, Name: name, Incarnation: 1, Slots: 2, Cores: 2, Address: "127.0.0.1:9"},
		begun: make(map[string]int), output: make(map[stint.ExecutionID][]stint.StageOps), upTo: lastStage,
	}
	n.forgetAll()
	s.t.Cleanup(n.detach)
	return n
}

// lastStage is beyond every stage.
const lastStage = 100

// idle has the node perform nothing until work is called.
func (n *node) idle() *node {
	n.with(func() { n.upTo = -1 })
	return n
}

// wide gives the node slots for all that a test asks of it.
func (n *node) wide() *node {
	n.hello.Slots = 16
	return n
}

// work has the node perform what it was granted, and whatever it will be.
func (n *node) work() {
	n.with(func() {
		n.upTo = lastStage
		n.performAll()
	})
}

func (n *node) id() stint.NodeID { return n.hello.Node }

func (n *node) forgetAll() {
	n.specs, n.kept = make(map[stint.ExecutionID]*stint.Spec), make(map[stint.ExecutionID]*kept)
	n.said = make(map[stint.ExecutionID]uint64)
}

// dial makes a session with what the node holds, and sends what is not acknowledged.
func (n *node) dial(r *running) error {
	n.detach()
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hello
	for _, id := range n.executions() {
		k := n.kept[id]
		holding := stint.Holding{Execution: id, LastSeq: n.said[id]}
		for _, g := range k.grants {
			holding.Jobs = append(holding.Jobs, g.Job)
		}
		h.Holdings = append(h.Holdings, holding)
	}
	dialer := link.Dialer{URL: "https://" + r.address, TLS: n.keys.LinkTLS()}
	if n.net != nil {
		dialer.DialContext = n.net.DialContext
	}
	session, _, err := dialer.Dial(context.WithoutCancel(n.t.Context()), h)
	if err != nil {
		return err
	}
	n.session, n.ended, n.why = session, make(chan struct{}), nil
	for _, id := range n.executions() {
		for i := range n.kept[id].reports {
			n.say(link.AgentMessage{Report: &n.kept[id].reports[i]})
		}
	}
	go n.listen(session, n.ended)
	go beat(session, n.ended)
	return nil
}

func (n *node) executions() []stint.ExecutionID {
	var out []stint.ExecutionID
	for id := range n.kept {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// attach makes a session that must be welcome, and waits until the server counts it
// or has ended it: the welcome comes before that. In a bubble no time passes.
func (n *node) attach(r *running) *node {
	n.t.Helper()
	before, _ := r.LatestSession(n.id())
	check(n.t, n.dial(r))
	for end := time.After(patience); ; {
		latest, arrived := r.LatestSession(n.id())
		if latest != before {
			return n
		}
		select {
		case <-arrived:
		case <-n.ended:
			return n
		case <-end:
			n.t.Fatalf("node %s is welcome and does not attach", n.id())
		}
	}
}

// detach ends the session, if there is one, as a cut cable would.
func (n *node) detach() {
	n.mu.Lock()
	session, ended := n.session, n.ended
	n.session = nil
	n.mu.Unlock()
	if session != nil {
		session.Close()
		<-ended
	}
}

// restart starts the node anew: what it was granted is void.
func (n *node) restart() {
	n.detach()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hello.Incarnation++
	n.forgetAll()
}

func (n *node) listen(session *link.AgentSession, ended chan<- struct{}) {
	defer close(ended)
	for {
		m, err := session.Receive()
		n.mu.Lock()
		if err != nil {
			n.why = err
			n.mu.Unlock()
			return
		}
		n.heard = append(n.heard, m)
		if n.hearing != nil {
			n.hearing(m)
		}
		n.take(m)
		n.mu.Unlock()
	}
}

// beat says that a node lives until its session ends.
func beat(session *link.AgentSession, ended <-chan struct{}) {
	tick := time.NewTicker(link.BeatInterval)
	defer tick.Stop()
	for session.Send(link.AgentMessage{Beat: &link.Beat{}}) == nil {
		select {
		case <-tick.C:
		case <-ended:
			return
		}
	}
}

// take does what a message asks for. n.mu is held.
func (n *node) take(m link.ServerMessage) {
	switch {
	case m.Spec != nil:
		n.specs[m.Spec.Execution] = m.Spec
	case m.Grant != nil:
		n.accept(*m.Grant)
	case m.Ack != nil:
		if k := n.kept[m.Ack.Execution]; k != nil {
			k.reports = slices.DeleteFunc(k.reports, func(r stint.Report) bool { return r.Seq <= m.Ack.Seq })
		}
	case m.Forget != nil:
		delete(n.specs, m.Forget.Execution)
		delete(n.kept, m.Forget.Execution)
	case m.Suspend != nil:
		n.suspend(*m.Suspend)
	case m.Errand != nil:
		if result := n.run(*m.Errand); result != nil {
			n.say(link.AgentMessage{Result: result})
		}
	}
}

// accept takes a grant, unless it has it or it is of another incarnation.
func (n *node) accept(g stint.Grant) {
	k := n.kept[g.Execution]
	if k == nil {
		k = &kept{}
		n.kept[g.Execution] = k
	}
	if g.Incarnation != n.hello.Incarnation || slices.ContainsFunc(k.grants, func(o stint.Grant) bool { return o.Job == g.Job }) {
		return
	}
	if n.specs[g.Execution] == nil {
		n.t.Errorf("job %s of %s was granted before the spec came", g.Job, g.Execution)
		return
	}
	k.grants = append(k.grants, g)
	k.waiting = append(k.waiting, g)
	n.performAll()
}

// performAll performs what was granted and reports it. n.mu is held.
func (n *node) performAll() {
	for _, id := range n.executions() {
		k := n.kept[id]
		waiting := k.waiting
		k.waiting = nil
		for _, g := range waiting {
			if g.Stage > n.upTo {
				k.waiting = append(k.waiting, g)
				continue
			}
			r := stint.Report{Begun: []stint.Begun{{Job: g.Job, Ops: g.Ops}}}
			if why := n.refusal(g); why != nil {
				for op := g.Ops.From; op < g.Ops.To; op++ {
					r.Failures = append(r.Failures, stint.Failure{Job: g.Job, Stage: g.Stage, Op: op, Attempt: g.Attempt, Node: n.id(), Error: why})
				}
			} else {
				r.Done = []stint.Done{n.perform(g)}
			}
			n.report(id, r)
		}
	}
}

func (n *node) refusal(g stint.Grant) *stint.Error {
	if n.refuse == nil {
		return nil
	}
	return n.refuse(g)
}

// suspend returns what was granted and not performed. n.mu is held.
func (n *node) suspend(m stint.Suspend) {
	k := n.kept[m.Execution]
	if k == nil {
		return
	}
	var r stint.Report
	k.waiting = slices.DeleteFunc(k.waiting, func(g stint.Grant) bool {
		stops := len(m.Jobs) == 0 || slices.Contains(m.Jobs, g.Job)
		if stops {
			r.Returned = append(r.Returned, stint.Returned{Job: g.Job, Ops: []stint.Range{g.Ops}})
		}
		return stops
	})
	if len(r.Returned) > 0 {
		n.report(m.Execution, r)
	}
}

// perform makes what the operations of a job make.
func (n *node) perform(g stint.Grant) stint.Done {
	spec := n.specs[g.Execution]
	d := stint.Done{Job: g.Job, Stage: g.Stage}
	now := time.Now().UnixMilli()
	n.output[g.Execution] = append(n.output[g.Execution], stint.StageOps{Stage: g.Stage, Ops: []stint.Range{g.Ops}})
	for op := g.Ops.From; op < g.Ops.To; op++ {
		n.begun[fmt.Sprintf("%s %d/%d", g.Execution, g.Stage, op)]++
		u := stint.OpDone{Op: op, Start: now, End: now, RecordsIn: 1}
		if len(g.Subsets) > 0 {
			u.InputSum = n.sum(g.Subsets[op-g.Ops.From])
		}
		d.Ops = append(d.Ops, u)
		d.Counters = append(d.Counters, stint.CounterDelta{Op: op, Group: "test", Name: "performed", Value: 1})
		if spec.Stages[g.Stage].Part {
			d.Parts = append(d.Parts, n.part(spec, op))
		}
	}
	return d
}

// sum reads a subset of whole objects.
func (n *node) sum(subset stint.Subset) uint64 {
	var all []byte
	for _, p := range subset.Pieces {
		f, err := object.Open(context.WithoutCancel(n.t.Context()), p.Object)
		if err != nil {
			n.t.Errorf("read input: %v", err)
			continue
		}
		b, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			n.t.Errorf("read input: %v", err)
		}
		all = append(all, b...)
	}
	return xxh3.Hash(all)
}

func (n *node) part(spec *stint.Spec, op uint32) stint.Part {
	content := fmt.Appendf(nil, "part %d\n", op)
	name := fmt.Sprintf("%d-%s", op, n.id())
	f, err := object.CreatePart(spec.Output, spec.Execution, name)
	if err == nil {
		_, err = f.Write(content)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		n.t.Errorf("write part: %v", err)
	}
	return stint.Part{Op: op, Name: name, Bytes: int64(len(content)), Sum: xxh3.Hash(content)}
}

// report sends a report and keeps it until it is acknowledged. n.mu is held.
func (n *node) report(id stint.ExecutionID, r stint.Report) {
	k := n.kept[id]
	r.Execution, r.Node, r.Incarnation = id, n.id(), n.hello.Incarnation
	n.said[id]++
	r.Seq = n.said[id]
	k.reports = append(k.reports, r)
	n.say(link.AgentMessage{Report: &r})
}

// say sends a message if there is a session. n.mu is held.
func (n *node) say(m link.AgentMessage) {
	if n.session != nil {
		_ = n.session.Send(m) // what does not arrive is sent again in the next session
	}
}

// run does an errand; nil: it is never answered.
func (n *node) run(e stint.Errand) *stint.ErrandResult {
	if n.errand != nil {
		return n.errand(e)
	}
	return n.honest(e)
}

// honest does an errand as a real node does.
func (n *node) honest(e stint.Errand) *stint.ErrandResult {
	ctx := context.WithoutCancel(n.t.Context())
	result := &stint.ErrandResult{ID: e.ID}
	var err error
	switch e.Kind {
	case stint.ErrandList:
		var listing stint.Listing
		var b []byte
		if listing, err = new(object.Access).List(ctx, object.Inputs{Locations: e.Inputs}); err == nil {
			b, err = wire.Marshal(listing)
		}
		if err == nil {
			result.Digest, _, err = n.storage.PutBlob(ctx, "listings", bytes.NewReader(b), 1<<20)
		}
	case stint.ErrandProbe:
		_, err = new(object.Access).Probe(ctx, e.Output, e.Execution, e.Overwrite)
	case stint.ErrandCommit:
		if err = n.checkOwner(ctx, e, result); err != nil {
			break
		}
		result.Bytes, err = new(object.Access).Commit(ctx, e.Output, object.Turn{Execution: e.Execution, Generation: e.Generation, Stint: e.Stint}, e.Program, e.Parts, e.Overwrite)
		if err == nil {
			err = n.storageOf(ctx, e).DeleteAll(ctx, "saved/"+string(e.Execution)+"/")
		}
	case stint.ErrandClear:
		if err = n.checkOwner(ctx, e, result); err != nil {
			break
		}
		err = new(object.Access).Clear(ctx, e.Output, object.Turn{Execution: e.Execution, Generation: e.Generation, Stint: e.Stint})
		if err == nil {
			err = n.storageOf(ctx, e).DeleteAll(ctx, "saved/"+string(e.Execution)+"/")
		}
	case stint.ErrandLog:
		for _, r := range e.Ops {
			result.Logs = append(result.Logs, stint.KeptLog{Stage: e.Stage, Op: r.From, Entry: stint.LogEntry{Node: n.id(), Text: "log", Status: stint.OpCompleted, End: time.Now().UTC()}})
		}
	case stint.ErrandSave:
		err = n.save(ctx, e, result)
	case stint.ErrandCopy:
		result.Ops = e.Ops
	case stint.ErrandVerify:
		err = n.verify(ctx, e, result)
	case stint.ErrandInventory:
		result.Held = n.output[e.Execution]
	case stint.ErrandAdopt:
		for _, p := range e.Parts {
			staged, failed := new(object.Access).Adopt(ctx, e.From, e.Output, e.Execution, p)
			if failed == nil {
				result.Parts = append(result.Parts, staged)
			}
			err = errors.Join(err, failed)
		}
	case stint.ErrandCompare:
		for i, subset := range e.Subsets {
			if n.sum(subset) == e.Sums[i] {
				result.Ops = stint.AddToRanges(result.Ops, uint32(i))
			}
		}
	case stint.ErrandRecord:
		err = stint.Errorf(stint.Invalid, "errand %s: the server does it", e.Kind)
	}
	result.Error = stint.AsError(err)
	return result
}

// checkOwner refuses an errand under a generation that is not the latest.
func (n *node) checkOwner(ctx context.Context, e stint.Errand, result *stint.ErrandResult) error {
	list, err := n.storageOf(ctx, e).List(ctx, "saved/"+string(e.Execution)+"/")
	if err != nil {
		return err
	}
	for _, there := range list {
		digits, ok := strings.CutPrefix(there.Key, "saved/"+string(e.Execution)+"/owner-")
		if generation, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && generation > e.Generation {
			if n.serviceOf(ctx, e, generation) == n.serviceOf(ctx, e, max(e.Generation, 1)) {
				result.Claimed = generation
				return stint.Errorf(stint.Unavailable, "generation %d is claimed and not used", generation)
			}
			return stint.Errorf(stint.Conflict, "owned_elsewhere: generation %d was claimed", generation)
		}
	}
	return nil
}

// serviceOf returns who has claimed a generation.
func (n *node) serviceOf(ctx context.Context, e stint.Errand, generation uint64) string {
	f, err := n.storageOf(ctx, e).Get(ctx, fmt.Sprintf("saved/%s/owner-%06d", e.Execution, generation))
	if err != nil {
		return err.Error()
	}
	defer f.Close() //nolint:errcheck // only read
	var owner stint.Owner
	if err := json.NewDecoder(f).Decode(&owner); err != nil {
		return err.Error()
	}
	return owner.Service
}

func (n *node) storageOf(ctx context.Context, e stint.Errand) *object.Storage {
	if e.Storage == "" {
		return n.storage
	}
	storage, err := new(object.Access).FindStorage(ctx, e.Storage)
	if err != nil {
		n.t.Errorf("storage of errand %s: %v", e.Kind, err)
		return n.storage
	}
	return storage
}

// save makes a pack that names the operations, as if it had their output.
func (n *node) save(ctx context.Context, e stint.Errand, result *stint.ErrandResult) error {
	content := fmt.Sprint(e.Stage, e.Ops)
	key := e.Prefix + "-0"
	result.Packs = []stint.Pack{{Key: key, Bytes: int64(len(content)), Sum: xxh3.HashString(content), Stage: e.Stage, Ops: e.Ops}}
	return n.storageOf(ctx, e).Put(ctx, key, strings.NewReader(content))
}

// verify looks for what an execution resumes from, as a real node does but for
// the contents of packs.
func (n *node) verify(ctx context.Context, e stint.Errand, result *stint.ErrandResult) error {
	for _, p := range e.Packs {
		if found, err := n.storageOf(ctx, e).Stat(ctx, p.Key); err != nil || found.Size != p.Bytes {
			result.Faults = append(result.Faults, "a pack is missing: "+path.Base(p.Key))
			result.Bad = append(result.Bad, stint.BadCopy{Pack: p.Key, Stage: p.Stage})
		}
	}
	for _, p := range e.Parts {
		path, err := object.Path(e.Output + "/_stint/" + string(e.Execution) + "/" + p.Name)
		if err != nil {
			return err
		}
		if info, err := os.Stat(path); err != nil || info.Size() != p.Bytes {
			result.Faults = append(result.Faults, "a staged part is missing")
			result.Parts = append(result.Parts, p)
		}
	}
	if e.Listing.IsZero() {
		return nil
	}
	f, err := n.storageOf(ctx, e).Get(ctx, "listings/"+e.Listing.String())
	if stint.CodeOf(err) == stint.NotFound {
		result.Faults = append(result.Faults, "the listing is missing")
		return nil
	}
	if err != nil {
		return err
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	var was stint.Listing
	if err := wire.Unmarshal(b, &was); err != nil {
		return err
	}
	now, err := new(object.Access).List(ctx, object.Inputs{Locations: e.Inputs})
	if err != nil {
		return err
	}
	for _, o := range now.Objects {
		if !slices.Contains(was.Objects, o) {
			result.Changes = append(result.Changes, stint.Change{Kind: stint.ObjectChanged, URL: o.URL})
		}
	}
	for _, o := range was.Objects {
		if !slices.ContainsFunc(now.Objects, func(there stint.Object) bool { return there.URL == o.URL }) {
			result.Changes = append(result.Changes, stint.Change{Kind: stint.ObjectMissing, URL: o.URL})
		}
	}
	result.Changed = int64(len(result.Changes))
	return nil
}

// with does something while nothing else happens at the node.
func (n *node) with(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
}

// await waits until something holds of the node, which it is asked while nothing
// else happens there.
func (n *node) await(what string, holds func() bool) {
	n.t.Helper()
	eventually(n.t, string(n.id())+": "+what, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return holds()
	})
}

// granted counts operations that were granted and not performed. n.mu is held.
func (n *node) granted(id stint.ExecutionID) int {
	count := 0
	if k := n.kept[id]; k != nil {
		for _, g := range k.waiting {
			count += g.Ops.Len()
		}
	}
	return count
}

// was reports whether the server sent a message that holds. n.mu is held.
func (n *node) was(holds func(link.ServerMessage) bool) bool {
	return slices.ContainsFunc(n.heard, holds)
}

// forgot reports whether the server had the node forget an execution. n.mu is held.
func (n *node) forgot(id stint.ExecutionID) bool {
	return n.was(func(m link.ServerMessage) bool { return m.Forget != nil && m.Forget.Execution == id })
}

// closed reports whether the server ended the session. n.mu is held.
func (n *node) closed() bool { return n.why != nil }

// once fails the test if an operation was performed more than once.
func (n *node) once() {
	n.t.Helper()
	n.with(func() {
		for op, times := range n.begun {
			if times != 1 {
				n.t.Errorf("operation %s was performed %d times", op, times)
			}
		}
	})
}
