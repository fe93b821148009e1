package sim

import (
	"cmp"
	"slices"

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
	cacheEvicted
	inputChanged  // while the execution is suspended
	inputReplaced // while it is in progress
	reuseAsked
	askedElsewhere  // to resume, in another service
	takenAway       // an execution in progress, by another service
	killedAtSuspend // the server
	endedAtSuspend  // by people, while its record is on its way
	leftSuspended
	neverBack // a node, even when all is healed
	staysCut  // the link of a node to the server
	peersStay // cut off from each other
	staysSlow // a node

	serverPaused
	serverSecond // takes over the record of one that lives
	serverSlow
	clockJumped // of the server
	nodeClockJumped
	killedAmid // the server, between two effects of a commit
	storeFull
	commitSyncFailed
	commitSlow
	recordUnread // when it was to be read again
	cutUp        // from a node to the server, and not back
	cutDown
	peersCutOneWay
	halfOpen // a session of which one end has not noticed that the other has ended it
	answerLost
	logRotten
	writeTorn // of a log, on a disk without room
	syncFailed
	readFailed
	readDamaged // once
	foldersSwapped
	folderRestored // an older copy
	folderCloned   // and in use twice
	storageDenies
	storageFixed // read-only
	removalHalf  // of what is saved
	kinds        // of faults

	commitLost = iota - 1 // a commit under way when the server was killed: not in the record
	commitKept            // the same, in the record
	snapshotRead
	grantRepeated
	retracted
	superseded
	takenOver
	toldLate    // an attempt of a voided job was told of
	toldTooLate // the same, when that did not count any more
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
	resumedElsewhere
	broughtForLater
	cameOld
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
	claimWithdrawn
	verifyRefused
	fenced
	leftBehind
	errandHeld
	savesIssued
	copiesIssued
	otherErrands
	joins
	broadcasts
	oneToOnes
	programGathers
	readTwice
	tookOver
	serverFenced
	commitFenced
	commitNoRoom
	copyNoRoom
	nameTaken
	incarnationStale
	folderBack
	untold
	tailBroken
	namesLost
	copiesLost
	gaveUpOperations
	errorRuns
	retriedRuns
	cursesLifted
	partialOutputs
	didWithout
	failedForRecords
	failedForInput
	recordsLeftOut
	cacheKept
	cacheRead
	objectsChanged
	objectsTouched
	objectsRemoved
	objectsAdded
	inputFoundChanged
	redoRefused
	redoneRuns
	reusedRuns
	reuseRefused
	reusedOperations
	reusedParts
	reusedPacks
	reusedSuspended
	comparedInputs
	takenBack
	committedTooLate
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
		cacheEvicted: "cache evicted", inputChanged: "input changed while suspended", inputReplaced: "input replaced while in progress", reuseAsked: "asked to reuse",
		gaveUpOperations: "operations failed for good", errorRuns: "executions completed with errors", retriedRuns: "executions retried", cursesLifted: "cursed operations mended",
		partialOutputs: "partial outputs compared", didWithout: "failed operation done without", failedForRecords: "executions failed for bad records",
		failedForInput: "executions failed for replaced input", recordsLeftOut: "executions completed without bad records", cacheKept: "output kept as cache", cacheRead: "block read under another name",
		objectsChanged: "objects changed", objectsTouched: "objects touched", objectsRemoved: "objects removed", objectsAdded: "objects added", inputFoundChanged: "input found changed by an attempt",
		redoRefused: "resume refused for changed input", redoneRuns: "resumed with another input", reusedRuns: "executions that reuse another", reuseRefused: "reuse refused or failed",
		reusedOperations: "operations reused", reusedParts: "parts reused", reusedPacks: "packs reused", reusedSuspended: "reused of one suspended", comparedInputs: "touched input compared",
		takenBack: "output taken back", committedTooLate: "commit came too late",
		askedElsewhere: "asked to resume elsewhere", takenAway: "taken from its owner", killedAtSuspend: "server killed at a suspend", endedAtSuspend: "terminated at a suspend", leftSuspended: "left suspended",
		neverBack: "node never back", staysCut: "link stays cut", peersStay: "peers stay cut off", staysSlow: "node stays slow", resumedElsewhere: "resumed elsewhere", broughtForLater: "brought for a later time", cameOld: "attached with what it should have forgotten",
		suspendedRuns: "executions suspended", resumedRuns: "executions resumed", resumedAtTime: "resume tried at its time", replacedRuns: "taken back", staleEnded: "ended where it was not owned",
		heldJobs: "jobs suspended", drainedNodes: "nodes drained", nodeAskedToStop: "node asked to stop", interrupted: "operation interrupted",
		checkpointSaved: "checkpoint saved", checkpointRestored: "checkpoint restored", packWritten: "pack written", packRead: "block read from a pack",
		blockCopied: "block copied", outputSaved: "output recorded as saved", outputDropped: "output dropped", badCopyFound: "bad copy found",
		recordWritten: "record written", claimRefused: "claim refused", claimWithdrawn: "claim withdrawn", verifyRefused: "resume refused for damage", fenced: "owner fenced off",
		leftBehind: "left behind in storage", errandHeld: "errands that waited for a record", savesIssued: "save errands", copiesIssued: "copy errands", otherErrands: "other errands",
		joins: "stages that join", broadcasts: "broadcasts", oneToOnes: "one-to-one edges", programGathers: "gathers of programs", readTwice: "stages read more than once",
		commitLost: "commit lost by a kill", commitKept: "commit kept by a kill", snapshotRead: "snapshot read",
		grantRepeated: "grant repeated", retracted: "operations given back", superseded: "completion superseded", takenOver: "completion taken over",
		toldLate: "attempt of a voided job told", toldTooLate: "attempt told too late", outputLost: "needed output lost", outputNotNeeded: "output lost, not needed", performedAgain: "performed again",
		reattached: "told to attach anew", blockTorn: "block torn",
		serverPaused: "server paused", serverSecond: "second server", serverSlow: "server slow", clockJumped: "clock of server jumped", nodeClockJumped: "clock of node jumped",
		killedAmid: "server killed between two effects", storeFull: "disk of record full", commitSyncFailed: "sync of commit failed", commitSlow: "commit slow",
		recordUnread: "record not read", cutUp: "cut towards server", cutDown: "cut from server", peersCutOneWay: "peers cut off one way",
		halfOpen: "session half open", answerLost: "answer lost", tookOver: "record taken over", serverFenced: "server fenced off", commitFenced: "commit fenced off",
		commitNoRoom: "commit without room", copyNoRoom: "copy without room", nameTaken: "node refused for its name", incarnationStale: "node refused for its incarnation",
		logRotten: "log rotten", writeTorn: "write torn", syncFailed: "sync failed", readFailed: "read failed", readDamaged: "read damaged once", foldersSwapped: "folders swapped",
		folderRestored: "folder copied to be restored", folderCloned: "folder in use twice", storageDenies: "storage denies", storageFixed: "storage read-only", removalHalf: "removal half done",
		folderBack: "older folder back", untold: "completion not told again", tailBroken: "tail of log broken", namesLost: "names lost", copiesLost: "copies lost by a crash",
		completedRuns: "executions completed", failedRuns: "executions failed", terminatedRuns: "executions terminated",
	}
}

// faults is the mix of one seed, and what has come of it.
type faults struct {
	script   schedule
	names    [counted]string
	salt     [kinds]uint64  // what the streams of a kind are made of, with the seed
	rate     [kinds]float64 // of those that come by time: per second; of others: a probability
	chances  [kinds]int     // that there were of each kind
	delay    int64          // the longest of an ordinary message, in microseconds
	counters counters
	happened []instance
	forced   [kinds]int    // how often a kind that comes by chance is to come next, because a fault was placed
	passed   map[phase]int // how often each phase was passed; nil: nobody asks
	placed   int           // faults that were placed and have been felt
	lasts    int64         // until when the latest of them does
}

// draw chooses a mix: each kind in about half of the seeds.
func (f *faults) draw(w *world, s schedule) {
	f.script = s
	f.names = f.counters.names()
	most := [kinds]float64{
		sessionCut: 1, linkDown: 0.3, peersCut: 0.3, agentKilled: 0.5, machineCrashed: 0.2, folderGone: 0.1, agentPaused: 0.3, serverKilled: 0.3,
		commitUnknown: 0.02, workerKilled: 0.5, diskFull: 0.1, slowNode: 1, messageLate: 1, messageRepeated: 0.05, attemptFailed: 0.05,
		operationCursed: 0.3, errandUnavailable: 0.4, errandUnanswered: 0.3, terminated: 0.3,
		blockRotten: 0.3, packRotten: 0.2, packTaken: 0.05, storageLate: 0.1, storageRefuses: 0.2, storageUnknown: 0.05,
		runSuspended: 0.15, jobSuspended: 0.15, jobMoved: 0.2, nodeDrained: 0.15, askedElsewhere: 0.8, takenAway: 0.2, leftSuspended: 0.2,
		cacheEvicted: 0.3, inputChanged: 0.5, inputReplaced: 0.02, reuseAsked: 0.7,
		killedAtSuspend: 0.8, endedAtSuspend: 0.2,
		serverPaused: 0.1, serverSecond: 0.05, serverSlow: 0.1, clockJumped: 0.1, nodeClockJumped: 0.1, killedAmid: 0.004, storeFull: 0.08,
		commitSyncFailed: 0.01, commitSlow: 0.01, recordUnread: 0.4, cutUp: 0.1, cutDown: 0.1, peersCutOneWay: 0.2, halfOpen: 0.3, answerLost: 0.3,
		logRotten: 0.8, writeTorn: 0.3, syncFailed: 0.02, readFailed: 0.02, readDamaged: 0.02, foldersSwapped: 0.04, folderRestored: 0.06, folderCloned: 0.04,
		storageDenies: 0.1, storageFixed: 0.1, removalHalf: 0.3,
	}
	for k := range most {
		f.salt[k] = saltOf(f.names[k])
		w.apart(mix(f.salt[k], 0), func() {
			if w.rng.IntN(2) == 0 {
				f.rate[k] = most[k] * (0.2 + 0.8*w.rng.Float64())
			}
		})
	}
	w.apart(saltOf("delay"), func() {
		f.delay = []int64{200, 2 * millisecond, 20 * millisecond, 300 * millisecond}[w.rng.IntN(4)]
	})
}

// saltOf makes a number of a name, so that a kind of fault keeps its streams when
// others are added.
func saltOf(name string) uint64 {
	c := clock{trace: 14695981039346656037}
	c.note(name)
	return c.trace
}

// id is what the stream of an instance is made of.
func (f *faults) id(i instance) uint64 { return mix(f.salt[i.kind], 1+uint64(i.ordinal)) }

// next numbers a chance that there is of a kind of fault.
func (f *faults) next(k fault) instance {
	f.chances[k]++
	return instance{k, f.chances[k] - 1}
}

// comes reports whether the schedule has an instance, or, if it lists none, whether
// the rate of its kind brings it.
func (f *faults) comes(i instance, probability float64) bool {
	if f.script.chosen {
		_, listed := slices.BinarySearchFunc(f.script.only, i, instance.compare)
		return listed
	}
	return probability > 0 && float64(mix(f.script.seed, f.id(i))>>11)/(1<<53) < probability
}

// befell enters an instance that has happened.
func (f *faults) befell(i instance) {
	f.counters[i.kind]++
	f.happened = append(f.happened, i)
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
		{serverPaused, w.pauseServer},
		{serverSecond, w.secondServer},
		{serverSlow, w.slowServer},
		{clockJumped, w.jumpClock},
		{nodeClockJumped, w.jumpNodeClock},
		{storeFull, w.fillStore},
		{cutUp, w.cutUpwards},
		{cutDown, w.cutDownwards},
		{peersCutOneWay, w.cutPeersOneWay},
		{logRotten, w.rotLog},
		{foldersSwapped, w.swapFolders},
		{folderRestored, w.restoreFolder},
		{folderCloned, w.cloneMachine},
		{storageDenies, w.denyStorage},
		{storageFixed, w.fixStorage},
		{cacheEvicted, w.evict},
	} {
		if f.rate[s.kind] > 0 {
			f.again(w, s.kind, s.strike)
		}
	}
}

// again lets the next fault of a kind come, at a time of its own, and those after it.
func (f *faults) again(w *world, k fault, strike func() bool) {
	i := f.next(k)
	w.apart(f.id(i), func() {
		w.after(int64(w.rng.ExpFloat64()/f.rate[k]*float64(second)), "fault", func() {
			if w.healed {
				return
			}
			f.again(w, k, strike)
			if f.comes(i, 1) && strike() {
				f.befell(i)
				w.note("strike", f.salt[k])
			}
		})
	})
}

// happens reports whether a fault that comes by chance happens now.
func (w *world) happens(k fault) bool {
	if w.healed {
		return false
	}
	f := &w.faults
	i := f.next(k)
	forced := f.forced[k] > 0
	if !forced && !f.comes(i, f.rate[k]) {
		return false
	}
	if forced {
		f.forced[k]--
		w.felt()
		f.counters[k]++
		return true
	}
	f.befell(i)
	return true
}

// befalls has a fault that comes by chance do what it does, if it happens now. What
// it draws is its own.
func (w *world) befalls(k fault, strike func()) bool {
	if !w.happens(k) {
		return false
	}
	w.apart(w.faults.id(instance{k, w.faults.chances[k] - 1}), strike)
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
	return min(d, w.healAt-w.now)
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
			if m.pausedUntil > w.now && !s.server.dead {
				s.server.awake(s.serverSide)
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
