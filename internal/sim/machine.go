package sim

import (
	"fmt"
	"slices"

	"stint"
	"stint/internal/agent"
)

// machine is one computing node: a disk, and the agent that runs on it now and
// then.
type machine struct {
	world       *world
	service     *service
	index       int // in the world
	slots       int
	slow        float64 // how much longer everything takes here
	folder      *folder
	agent       *agentProcess // nil: not running
	linkUp      int64         // to the server
	upCut       int64         // until when nothing comes from here to the server
	downCut     int64         // nor from the server
	skew        int64         // of its clock, in milliseconds
	name        string
	twin        bool      // it runs on a copy of another's folder
	peerUp      [16]int64 // to other machines, by index
	pausedUntil int64
	fullUntil   int64 // the disk
	remains     fault // that stays when all else is healed: neverBack, staysCut, staysSlow or none
}

// folder is the node's data folder: what survives the death of its agent.
type folder struct {
	node        stint.NodeID
	incarnation stint.Incarnation
	logs        []*slotLog
	blocks      map[blockKey]*block
	copies      []blockKey                  // of blocks that were made elsewhere
	synced      int                         // of these, that survive the machine
	kept        map[stint.ExecutionID]int64 // executions whose blocks are cache, and until when
}

// slotLog is the log of one slot in one incarnation and execution.
type slotLog struct {
	execution stint.ExecutionID
	records   []logRecord
	synced    int  // records that survive the machine
	named     bool // its name does
	damaged   bool // nothing is read of it from record bad on
	bad       int
}

// logRecord is what a worker writes: begun, and then done, failed or interrupted.
type logRecord struct {
	begun  bool
	grant  *stint.Grant
	op     uint32
	done   *stint.OpDone
	part   *stint.Part
	failed *stint.Failure
}

type blockKey struct {
	execution stint.ExecutionID
	stage     int
	op        uint32
}

// block is the output of an operation as it lies here.
type block struct {
	content content
	torn    bool // the machine crashed before it was on disk: it is seen when the agent starts
	rotten  bool // it was altered: it is seen when it is read
}

// whole reports whether a block is there and what was written.
func (b *block) whole() bool { return b != nil && !b.torn && !b.rotten }

// replaceFolder gives the machine an empty folder: another node.
func (m *machine) replaceFolder() {
	m.folder = &folder{node: m.world.nodeID(), blocks: make(map[blockKey]*block), kept: make(map[stint.ExecutionID]int64)}
}

// start boots the agent on its folder: it reads the logs, says what is whole,
// and dials.
func (m *machine) start() {
	if m.agent != nil || m.remains == neverBack {
		return
	}
	if m.world.happens(syncFailed) { // of the number of this start
		m.world.after(m.world.between(100*millisecond, second), "restart", m.start)
		return
	}
	m.incarnate()
	a := &agentProcess{
		world: m.world, machine: m, incarnation: m.folder.incarnation, forgotten: make(map[stint.ExecutionID]bool), specs: make(map[stint.ExecutionID]*planned), forgot: make(map[stint.ExecutionID]int),
		ledger: agent.NewLedger(m.folder.node, m.folder.incarnation, 1000),
	}
	for range m.slots {
		a.slots = append(a.slots, &slot{agent: a})
	}
	m.agent = a
	m.recover(a.ledger)
	a.dial()
}

// recover enters what the logs say, as the agent does when it starts.
func (m *machine) recover(l *agent.Ledger) {
	for _, log := range m.folder.logs {
		log.records, log.damaged = log.readable(), false
	}
	m.folder.dropUnknown()
	for _, x := range m.folder.executions() {
		if m.folder.isKept(x) {
			m.folder.keepUntil(m.world, x, m.folder.kept[x])
			continue
		}
		var completed, bad []stint.StageOps
		var begun []stint.Begun
		var latest stint.JobID
		done := make(map[attempt]bool)
		for _, r := range m.folder.records(x) {
			if r.done == nil {
				continue
			}
			done[attempt{uint32(r.grant.Job), r.op}] = true
			b := m.folder.blocks[blockKey{x, r.grant.Stage, r.op}]
			if b == nil && r.part == nil {
				continue // it was dropped
			}
			completed, latest = addOp(completed, r.grant.Stage, r.op), max(latest, r.grant.Job)
			if b != nil && b.torn {
				bad = addOp(bad, r.grant.Stage, r.op)
			}
		}
		for _, r := range m.folder.records(x) {
			if r.begun && !done[attempt{uint32(r.grant.Job), r.op}] {
				begun = append(begun, stint.Begun{Job: r.grant.Job, Ops: stint.Range{From: r.op, To: r.op + 1}})
			}
		}
		l.Restore(x, completed, latest, begun)
		if copies := m.folder.copiesOf(x); copies != nil {
			l.RestoreCopies(x, copies)
		}
		for _, key := range m.folder.copies {
			if key.execution == x && m.folder.blocks[key].torn {
				bad = addOp(bad, key.stage, key.op)
			}
		}
		if bad != nil {
			l.Lost(x, bad)
			m.folder.drop(x, bad)
		}
	}
}

// records are all that the logs say of an execution.
func (f *folder) records(x stint.ExecutionID) (list []logRecord) {
	for _, log := range f.logs {
		if log.execution == x {
			list = append(list, log.readable()...)
		}
	}
	return list
}

func addOp(sets []stint.StageOps, stage int, op uint32) []stint.StageOps {
	i := slices.IndexFunc(sets, func(s stint.StageOps) bool { return s.Stage == stage })
	if i < 0 {
		return append(sets, stint.StageOps{Stage: stage, Ops: []stint.Range{{From: op, To: op + 1}}})
	}
	sets[i].Ops = stint.AddToRanges(sets[i].Ops, op)
	return sets
}

func hasOp(sets []stint.StageOps, stage int, op uint32) bool {
	return slices.ContainsFunc(sets, func(s stint.StageOps) bool { return s.Stage == stage && stint.RangesContain(s.Ops, op) })
}

func (f *folder) executions() (list []stint.ExecutionID) {
	for _, log := range f.logs {
		if !slices.Contains(list, log.execution) {
			list = append(list, log.execution)
		}
	}
	for _, key := range f.copies {
		if !slices.Contains(list, key.execution) {
			list = append(list, key.execution)
		}
	}
	return list
}

// copiesOf lists the blocks of an execution that were made elsewhere.
func (f *folder) copiesOf(x stint.ExecutionID) (list []stint.StageOps) {
	for _, key := range f.copies {
		if key.execution == x {
			list = addOp(list, key.stage, key.op)
		}
	}
	return list
}

// write puts out a block that was made here.
func (f *folder) write(key blockKey, c content) {
	f.blocks[key] = &block{content: c}
	f.uncopy(func(k blockKey) bool { return k == key })
}

// free removes blocks that are not needed any more.
func (f *folder) free(x stint.ExecutionID, sets []stint.StageOps) {
	for key := range f.blocks {
		if key.execution == x && hasOp(sets, key.stage, key.op) {
			delete(f.blocks, key)
		}
	}
	f.uncopy(func(key blockKey) bool { return key.execution == x && hasOp(sets, key.stage, key.op) })
}

// uncopy takes copies off the list.
func (f *folder) uncopy(which func(blockKey) bool) {
	for i, key := range slices.Backward(f.copies) {
		if which(key) {
			f.copies = slices.Delete(f.copies, i, i+1)
			if i < f.synced {
				f.synced--
			}
		}
	}
}

// keep takes in a copy of a block.
func (f *folder) keep(key blockKey, c content) {
	f.blocks[key] = &block{content: c}
	if !slices.Contains(f.copies, key) {
		f.copies = append(f.copies, key)
	}
}

// drop forgets completions whose blocks are not whole.
func (f *folder) drop(x stint.ExecutionID, bad []stint.StageOps) {
	for _, log := range f.logs {
		if log.execution == x {
			log.records = slices.DeleteFunc(log.records, func(r logRecord) bool { return r.done != nil && hasOp(bad, r.grant.Stage, r.op) })
			log.records = slices.DeleteFunc(log.records, func(r logRecord) bool { return r.begun && hasOp(bad, r.grant.Stage, r.op) })
			log.synced = min(log.synced, len(log.records))
		}
	}
	f.free(x, bad)
}

// remove removes everything of an execution.
func (f *folder) remove(x stint.ExecutionID) {
	f.logs = slices.DeleteFunc(f.logs, func(l *slotLog) bool { return l.execution == x })
	for key := range f.blocks {
		if key.execution == x {
			delete(f.blocks, key)
		}
	}
	f.uncopy(func(key blockKey) bool { return key.execution == x })
	delete(f.kept, x)
}

// kill ends the agent and its workers.
func (m *machine) kill() {
	a := m.agent
	if a == nil {
		return
	}
	if s := a.session; s != nil { // which the server notices at once, or by its silence
		m.world.after(m.world.between(0, 1+int64(m.world.rng.IntN(2))*silence), "silent", s.cut)
	}
	a.dead = true
	m.agent, m.pausedUntil = nil, 0
}

// heal ends the faults of a machine, but what remains.
func (m *machine) heal() {
	m.pausedUntil, m.fullUntil, m.upCut, m.downCut = 0, 0, 0, 0
	if m.remains != staysCut {
		m.linkUp = 0
	}
	if m.remains != staysSlow {
		m.slow = 1
	}
	if m.remains == neverBack {
		m.kill()
	}
	for i := range m.peerUp {
		if m.peerUp[i] != forever {
			m.peerUp[i] = 0
		}
	}
	m.start()
}

// millis is the time as its processes see it.
func (a *agentProcess) millis() int64 { return a.world.millis() + a.machine.skew }

// address is where peers find what runs on the machine.
func (m *machine) address() string { return fmt.Sprintf("node%d:1", m.index) }

func (m *machine) document() stint.Node {
	return stint.Node{
		ID: m.folder.node, Name: m.name, Incarnation: m.folder.incarnation, Status: stint.NodeReady,
		Slots: m.slots, Address: m.address(),
	}
}
