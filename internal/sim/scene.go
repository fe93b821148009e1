package sim

import (
	"slices"

	"stint"
	"stint/internal/plan"
)

// scene is a run that is always the same but for the faults that are placed in it: one
// small execution on three nodes, with nothing else going wrong.
type scene struct {
	name   string
	copies int  // replication
	long   bool // operations take up to a second and a half
	joins  bool // a stage reads a second one beside its input
	act    func(w *world, r *run)
}

// sceneTime is within what a scene must be over.
const sceneTime = 150 * second

// scenes lists them. What they do happens in the middle of the execution.
func scenes() []scene {
	return []scene{
		{name: "plain"},
		{name: "slow", long: true},
		{name: "copies", copies: 2, joins: true},
		{name: "suspend", long: true, act: func(w *world, _ *run) { w.suspendPlaced() }},
		{name: "terminate", long: true, act: func(w *world, r *run) { w.terminate(r) }},
		{name: "drain", long: true, copies: 2, act: func(w *world, _ *run) { w.drainPlaced() }},
	}
}

// perform performs a scene to its end.
func (w *world) perform(name string) result {
	i := slices.IndexFunc(scenes(), func(s scene) bool { return s.name == name })
	if i < 0 {
		w.breaks("simulation", "there is no scene %q", name)
		return result{err: w.broken}
	}
	sc := scenes()[i]
	w.healAt, w.faults.script.chosen, w.faults.delay = sceneTime, true, 2*millisecond
	w.newService(3)
	for _, m := range w.machines {
		m.slots = 2
	}
	w.after(200*millisecond, "scene", func() { w.raise(&sc) })
	w.after(second, "look", w.lookForReasons)
	for w.broken == nil && (!w.over() || w.now < w.faults.lasts) && w.anyBefore(sceneTime) && w.next() {
	}
	for quiet := w.now + 2*second; w.broken == nil && w.anyBefore(quiet) && w.next(); {
	}
	w.healAt = w.now
	r := w.run()
	r.scene = w.ending()
	return r
}

// ending is how a scene ended.
type ending struct {
	status     stint.ExecutionStatus
	operations int
	begun      int // attempts
	reasons    int // records that say why an operation is performed again
}

func (w *world) ending() (end ending) {
	if len(w.books.all) == 0 {
		return end
	}
	e := w.books.all[0]
	end.status, end.begun = e.status, len(e.attempts)
	for _, ops := range e.ops {
		end.operations += len(ops)
	}
	for _, rec := range e.row.history {
		switch {
		case rec.Gone != nil, rec.Void != nil, rec.Bad != nil, rec.Attach != nil && rec.Attach.Node.Incarnation > 1:
			end.reasons++
		case rec.Report != nil && (rec.Report.Failures != nil || rec.Report.Interrupted != nil || rec.Report.Bad != nil || rec.Report.Verified != nil):
			end.reasons++
		}
	}
	return end
}

// raise submits the execution of a scene.
func (w *world) raise(sc *scene) {
	v := w.services[0]
	if v.server == nil || v.store.isDown() {
		w.after(100*millisecond, "scene", func() { w.raise(sc) })
		return
	}
	r := &run{id: "x-0000000000000000", staged: make(map[string]content), long: sc.long, saves: true}
	r.request = stint.Request{Output: "file:///out", Attempts: 4, Replication: sc.copies, Program: stint.Program{Name: "sim"}}
	r.request.Program.Stages = []stint.Stage{
		{Name: "map", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput}},
		{Name: "mid", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.Shuffle, From: "map", Partitions: 4}},
		{Name: "last", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.Shuffle, From: "mid", Partitions: 3}},
	}
	if sc.joins {
		r.request.Program.Stages[2].Beside = []stint.Edge{{Kind: stint.Broadcast, From: "side"}}
		r.request.Program.Stages = slices.Insert(r.request.Program.Stages, 1,
			stint.Stage{Name: "side", Action: stint.Action{Native: "identity"}, Input: stint.Edge{Kind: stint.FromInput}})
	}
	w.enrol(v, r, stint.Listing{Range: &stint.Values{First: 7, Count: 8}}, plan.Choice{SubsetSize: 1, Exact: true, Partitions: 4})
	if sc.act != nil {
		w.after(900*millisecond, "act", func() { sc.act(w, r) })
	}
}

// suspendPlaced suspends the execution of a scene, as soon as that can be.
func (w *world) suspendPlaced() {
	if !w.suspendRun() && !w.over() {
		w.after(50*millisecond, "act", w.suspendPlaced)
	}
}

// drainPlaced drains a node, as soon as that can be.
func (w *world) drainPlaced() {
	if !w.drainNode() && !w.over() {
		w.after(50*millisecond, "act", w.drainPlaced)
	}
}

// lookForReasons looks at what is shown of executions: one in which nothing is in
// progress says what it waits for.
func (w *world) lookForReasons() {
	if w.healed {
		return
	}
	w.after(500*millisecond, "look", w.lookForReasons)
	for _, v := range w.services {
		if v.server == nil {
			continue
		}
		for _, d := range v.server.drives {
			if d.state == nil || d.flying != nil || len(d.inbox)+len(d.next.records) > 0 {
				continue
			}
			doc := d.state.Document(w.millis())
			if out := doc.Operations.InProgress + doc.Operations.Queued; !doc.Status.Final() && out == 0 && doc.Waiting == "" {
				w.breaks("waits", "%s is %s, nothing of it is in progress, and it does not say what it waits for", d.id, doc.Status)
			}
		}
	}
}
