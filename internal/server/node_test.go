package server_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"stint"
	"stint/internal/auth"
	"stint/internal/link"
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

	mu      sync.Mutex
	session *link.AgentSession
	ended   chan struct{} // closed when the session's messages were all taken in
	why     error         // the session ended
	upTo    int           // grants of later stages are kept and not performed; -1: all are
	heard   []link.ServerMessage
	specs   map[stint.ExecutionID]*stint.Spec
	kept    map[stint.ExecutionID]*kept
	begun   map[string]int // performances by operation
	errand  func(stint.Errand) *stint.ErrandResult
}

// kept is what a node knows of one execution.
type kept struct {
	grants  []stint.Grant // of this incarnation
	waiting []stint.Grant // not performed
	reports []stint.Report
	acked   uint64
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
	storage, err := object.OpenStorage(s.url)
	check(s.t, err)
	n := &node{
		t: s.t, keys: keys, storage: storage,
		hello: link.Hello{Version: "test", Node: id, Name: name, Incarnation: 1, Slots: 2, Cores: 2, Address: "127.0.0.1:9"},
		begun: make(map[string]int), upTo: lastStage,
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
}

// dial makes a session with what the node holds, and sends what is not acknowledged.
func (n *node) dial(r *running) error {
	n.detach()
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hello
	for _, id := range n.executions() {
		k := n.kept[id]
		holding := stint.Holding{Execution: id, LastSeq: k.acked + uint64(len(k.reports))}
		for _, g := range k.grants {
			holding.Jobs = append(holding.Jobs, g.Job)
		}
		h.Holdings = append(h.Holdings, holding)
	}
	dialer := link.Dialer{URL: "https://" + r.address, TLS: n.keys.LinkTLS()}
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

// attach makes a session that must be welcome.
func (n *node) attach(r *running) *node {
	n.t.Helper()
	check(n.t, n.dial(r))
	return n
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
		n.take(m)
		n.mu.Unlock()
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
			k.acked = max(k.acked, m.Ack.Seq)
			k.reports = slices.DeleteFunc(k.reports, func(r stint.Report) bool { return r.Seq <= m.Ack.Seq })
		}
	case m.Forget != nil:
		delete(n.specs, m.Forget.Execution)
		delete(n.kept, m.Forget.Execution)
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
			r := stint.Report{Begun: []stint.Begun{{Job: g.Job, Ops: g.Ops}}, Done: []stint.Done{n.perform(g)}}
			n.report(id, r)
		}
	}
}

// perform makes what the operations of a job make.
func (n *node) perform(g stint.Grant) stint.Done {
	spec := n.specs[g.Execution]
	d := stint.Done{Job: g.Job, Stage: g.Stage}
	now := time.Now().UnixMilli()
	for op := g.Ops.From; op < g.Ops.To; op++ {
		n.begun[fmt.Sprintf("%s %d/%d", g.Execution, g.Stage, op)]++
		d.Ops = append(d.Ops, stint.OpDone{Op: op, Start: now, End: now, RecordsIn: 1})
		d.Counters = append(d.Counters, stint.CounterDelta{Op: op, Group: "test", Name: "performed", Value: 1})
		if spec.Stages[g.Stage].Part {
			d.Parts = append(d.Parts, n.part(spec, op))
		}
	}
	return d
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
	r.Seq = k.acked + uint64(len(k.reports)) + 1
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
		if listing, err = object.List(ctx, e.Inputs); err == nil {
			b, err = wire.Marshal(listing)
		}
		if err == nil {
			result.Digest, _, err = n.storage.PutBlob(ctx, "listings", bytes.NewReader(b), 1<<20)
		}
	case stint.ErrandProbe:
		err = object.Probe(ctx, e.Output, e.Execution, e.Overwrite)
	case stint.ErrandCommit:
		result.Bytes, err = object.Commit(ctx, e.Output, e.Execution, e.Program, e.Parts, e.Overwrite)
	case stint.ErrandClear:
		err = object.Clear(ctx, e.Output, e.Execution)
	case stint.ErrandLog:
		result.Text = "log of " + string(e.Operation)
	}
	result.Error = stint.AsError(err)
	return result
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
