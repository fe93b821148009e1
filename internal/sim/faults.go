package sim

import (
	"cmp"
	"math/rand/v2"

	"stint"
)

// fault is a kind of thing that goes wrong, or that must be seen to happen.
type fault int

// The faults, and after them what must be seen to happen because of them.
const (
	sessionCut fault = iota
	linkDown
	peersCut
	agentKilled
	machineCrashed
	folderGone
	agentPaused
	serverKilled
	commitUnknown
	workerKilled
	diskFull
	slowNode
	messageLate
	messageRepeated
	attemptFailed
	operationCursed
	errandUnavailable
	errandUnanswered
	terminated
	blockRotten
	packRotten
	packTaken
	storageLate
	storageRefuses
	storageUnknown
	runSuspended
	jobSuspended
	jobMoved
	nodeDrained
	resumedElsewhere
	takenAway // an execution in progress, by another service
	leftSuspended
	kinds // of faults

	commitLost = iota - 1 // a commit under way when the server was killed: not in the record
	commitKept            // the same, in the record
	snapshotRead
	grantRepeated
	retracted
	superseded
	takenOver
	toldLate // an attempt of a voided job was told of
	outputLost
	outputNotNeeded
	performedAgain
	reattached
	blockTorn
	completedRuns
	failedRuns
	terminatedRuns
	suspendedRuns
	resumedRuns
	resumedAtTime
	replacedRuns
	staleEnded
	heldJobs
	drainedNodes
	nodeAskedToStop
	interrupted
	checkpointSaved
	checkpointRestored
	packWritten
	packRead
	blockCopied
	outputSaved
	outputDropped
	badCopyFound
	recordWritten
	claimRefused
	verifyRefused
	fenced
	leftBehind
	savesIssued
	copiesIssued
	otherErrands
	joins
	broadcasts
	oneToOnes
	programGathers
	readTwice
	counted
)

// errandIssued is what counts errands of a kind.
func errandIssued(k stint.ErrandKind) fault {
	counted := map[stint.ErrandKind]fault{stint.ErrandSave: savesIssued, stint.ErrandCopy: copiesIssued}
	return cmp.Or(counted[k], otherErrands)
}

// counters says how often each thing happened.
type counters [counted]int

// add adds the counts of o.
func (c *counters) add(o *counters) {
	for i := range c {
		c[i] += o[i]
	}
}

// names returns what the counters count.
func (*counters) names() [counted]string {
	return [counted]string{
		sessionCut: "session cut", linkDown: "link down", peersCut: "peers cut off", agentKilled: "agent killed",
		machineCrashed: "machine crashed", folderGone: "folder gone", agentPaused: "agent paused", serverKilled: "server killed",
		commitUnknown: "commit unknown", workerKilled: "worker killed", diskFull: "disk full", slowNode: "slow node",
		messageLate: "message late", messageRepeated: "message repeated", attemptFailed: "attempt failed",
		operationCursed: "operation cursed", errandUnavailable: "errand unavailable", errandUnanswered: "errand unanswered",
		terminated: "terminated", blockRotten: "block rotten", packRotten: "pack rotten", packTaken: "pack taken away",
		storageLate: "storage late", storageRefuses: "storage refuses", storageUnknown: "storage does not answer",
		runSuspended: "execution to be suspended", jobSuspended: "job to be suspended", jobMoved: "job to be moved", nodeDrained: "node to be drained",
		resumedElsewhere: "resumed elsewhere", takenAway: "taken from its owner", leftSuspended: "left suspended",
		suspendedRuns: "executions suspended", resumedRuns: "executions resumed", resumedAtTime: "resume tried at its time", replacedRuns: "taken back", staleEnded: "ended where it was not owned",
		heldJobs: "jobs suspended", drainedNodes: "nodes drained", nodeAskedToStop: "node asked to stop", interrupted: "operation interrupted",
		checkpointSaved: "checkpoint saved", checkpointRestored: "checkpoint restored", packWritten: "pack written", packRead: "block read from a pack",
		blockCopied: "block copied", outputSaved: "output recorded as saved", outputDropped: "output dropped", badCopyFound: "bad copy found",
		recordWritten: "record written", claimRefused: "claim refused", verifyRefused: "resume refused for damage", fenced: "owner fenced off",
		leftBehind: "left behind in storage", savesIssued: "save errands", copiesIssued: "copy errands", otherErrands: "other errands",
		joins: "stages that join", broadcasts: "broadcasts", oneToOnes: "one-to-one edges", programGathers: "gathers of programs", readTwice: "stages read more than once",
		commitLost: "commit lost by a kill", commitKept: "commit kept by a kill", snapshotRead: "snapshot read",
		grantRepeated: "grant repeated", retracted: "operations given back", superseded: "completion superseded", takenOver: "completion taken over",
		toldLate: "attempt of a voided job told", outputLost: "needed output lost", outputNotNeeded: "output lost, not needed", performedAgain: "performed again",
		reattached: "told to attach anew", blockTorn: "block torn",
		completedRuns: "executions completed", failedRuns: "executions failed", terminatedRuns: "executions terminated",
	}
}

// faults is the mix of one seed.
type faults struct {
	enabled  [kinds]bool
	rate     [kinds]float64 // of those that come by time: per second; of others: a probability
	delay    int64          // the longest of an ordinary message, in microseconds
	counters counters
}

// draw chooses a mix: each kind in about half of the seeds.
func (f *faults) draw(rng *rand.Rand) {
	most := [kinds]float64{
		sessionCut: 1, linkDown: 0.3, peersCut: 0.3, agentKilled: 0.5, machineCrashed: 0.2, folderGone: 0.1, agentPaused: 0.3, serverKilled: 0.3,
		commitUnknown: 0.02, workerKilled: 0.5, diskFull: 0.1, slowNode: 1, messageLate: 1, messageRepeated: 0.05, attemptFailed: 0.05,
		operationCursed: 0.3, errandUnavailable: 0.4, errandUnanswered: 0.3, terminated: 0.3,
		blockRotten: 0.3, packRotten: 0.2, packTaken: 0.05, storageLate: 0.1, storageRefuses: 0.2, storageUnknown: 0.05,
		runSuspended: 0.15, jobSuspended: 0.15, jobMoved: 0.2, nodeDrained: 0.15, resumedElsewhere: 1, takenAway: 1, leftSuspended: 0.1,
	}
	for k := range f.enabled {
		f.enabled[k] = rng.IntN(2) == 0
		if f.enabled[k] {
			f.rate[k] = most[k] * (0.2 + 0.8*rng.Float64())
		}
	}
	f.delay = []int64{200, 2 * millisecond, 20 * millisecond, 300 * millisecond}[rng.IntN(4)]
}

// schedule lets the faults come that come by time.
func (f *faults) schedule(w *world) {
	for _, s := range []struct {
		kind   fault
		strike func() bool
	}{
		{sessionCut, w.cutSession},
		{linkDown, w.takeLinkDown},
		{peersCut, w.cutPeers},
		{agentKilled, w.killAgent},
		{machineCrashed, w.crashMachine},
		{folderGone, w.loseFolder},
		{agentPaused, w.pauseAgent},
		{serverKilled, w.killServer},
		{workerKilled, w.killWorker},
		{diskFull, w.fillDisk},
		{blockRotten, w.rotBlock},
		{packRotten, w.rotPack},
		{packTaken, w.takePack},
		{storageRefuses, w.refuseStorage},
		{runSuspended, w.suspendRun},
		{jobSuspended, w.suspendJob},
		{jobMoved, w.moveJob},
		{nodeDrained, w.drainNode},
	} {
		if f.enabled[s.kind] {
			f.again(w, s.kind, s.strike)
		}
	}
}

func (f *faults) again(w *world, k fault, strike func() bool) {
	w.after(int64(w.rng.ExpFloat64()/f.rate[k]*float64(second)), "fault", func() {
		if w.healed {
			return
		}
		if strike() {
			f.counters[k]++
			w.note("strike", uint64(k))
		}
		f.again(w, k, strike)
	})
}

// happens draws whether a fault that comes by chance happens now.
func (w *world) happens(k fault) bool {
	if w.healed || !w.chance(w.faults.rate[k]) {
		return false
	}
	w.faults.counters[k]++
	return true
}

func (w *world) count(k fault) { w.faults.counters[k]++ }

// anyMachine returns some machine.
func (w *world) anyMachine() *machine { return w.machines[w.rng.IntN(len(w.machines))] }

func (w *world) cutSession() bool {
	m := w.anyMachine()
	if m.agent == nil || m.agent.session == nil {
		return false
	}
	m.agent.session.cut()
	return true
}

func (w *world) takeLinkDown() bool {
	m := w.anyMachine()
	if m.linkUp > w.now {
		return false
	}
	m.linkUp = w.now + w.outage()
	if a := m.agent; a != nil && a.session != nil && m.linkUp > w.now+silence {
		s := a.session
		w.after(silence, "silent", s.cut)
	}
	return true
}

// outage draws a duration: mostly short, sometimes long enough to be away, or
// lost. It ends when everything is healed.
func (w *world) outage() int64 {
	d := w.between(10*millisecond, 3*second)
	switch w.rng.IntN(6) {
	case 0:
		d = w.between(lostAfter, lostAfter+8*second)
	case 1, 2:
		d = w.between(awayAfter, 10*second)
	}
	return min(d, faultTime-w.now)
}

func (w *world) cutPeers() bool {
	a, b := w.anyMachine(), w.anyMachine()
	if a == b {
		return false
	}
	until := w.now + w.outage()
	a.peerUp[b.index], b.peerUp[a.index] = until, until
	return true
}

func (w *world) killAgent() bool {
	m := w.anyMachine()
	if m.agent == nil {
		return false
	}
	m.kill()
	w.after(w.between(10*millisecond, w.outage()), "restart", m.start)
	return true
}

func (w *world) crashMachine() bool {
	m := w.anyMachine()
	m.kill()
	m.folder.loseUnsynced(w)
	w.after(w.between(500*millisecond, w.outage()+second), "restart", m.start)
	return true
}

func (w *world) loseFolder() bool {
	m := w.anyMachine()
	m.kill()
	m.replaceFolder()
	w.after(w.between(500*millisecond, w.outage()+second), "restart", m.start)
	return true
}

func (w *world) pauseAgent() bool {
	m := w.anyMachine()
	if m.agent == nil || m.pausedUntil > w.now {
		return false
	}
	m.pausedUntil = w.now + w.outage()
	if s := m.agent.session; s != nil {
		w.after(silence, "silent", func() {
			if m.pausedUntil > w.now {
				s.serverSide()
			}
		})
	}
	return true
}

// killServer kills the server: now, or while the next commit is under way.
func (w *world) killServer() bool {
	v := w.anyService()
	if v.server == nil || v.killing {
		return false
	}
	if w.chance(0.7) {
		v.killing = true
		return true
	}
	v.killNow()
	return true
}

func (v *service) killNow() {
	v.killing = false
	v.server.kill()
	v.world.after(v.world.between(10*millisecond, 6*second), "restart server", v.start)
}

func (w *world) killWorker() bool {
	m := w.anyMachine()
	if m.agent == nil {
		return false
	}
	m.agent.killWorker(w.rng.IntN(len(m.agent.slots)))
	return true
}

func (w *world) fillDisk() bool {
	m := w.anyMachine()
	m.fullUntil = w.now + w.between(100*millisecond, 8*second)
	return true
}
