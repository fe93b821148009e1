package coord

import (
	"cmp"

	"stint"
	"stint/internal/plan"
)

// Numbers that the rules use. Times are milliseconds.
const (
	defaultAttempts    = 4
	mostFromCheckpoint = 3       // failures of an operation before its checkpoint is forgotten
	maxInfraFailures   = 20      // of one operation, that are not the program's fault
	backoffFirst       = 200     // before the second attempt, where nothing else is asked for; doubled for each further one
	backoffMost        = 30_000  // of any wait between attempts, unless the first is longer
	avoidFor           = 2_000   // how long after its back-off an operation waits for a node other than the one it failed on
	unreachedWait      = 2_000   // before an operation is tried again that did not reach its input, or was denied it
	coolDown           = 5_000   // of a node that said it cannot perform operations now
	stuckAfter         = 500     // that nothing has left a node's queue: what is in it may be better off elsewhere
	keptFailures       = 20      // in the document
	leastMillis        = 0.004   // duration of an operation that took less than a clock tick
	errandPause        = 1_000   // before an errand that could not be run is tried again; doubled each further time, up to backoffMost
	grantBytes         = 2 << 20 // of the subsets in one grant, so that it fits a message of the link
	stopGrace          = 60_000  // after the grace period, until what a node did not stop is taken from it
	dayMillis          = 24 * 60 * 60 * 1000
)

// opState is where an operation is in its life.
type opState uint8

const (
	pending opState = iota
	granted
	begun
	done
	failed
)

// op is one operation. 20 bytes; there may be ten million.
type op struct {
	state    opState
	counted  bool        // its usage and counters are in the sums
	attempts uint8       // begun so far, at most 255
	gone     bool        // done, and its output is on no node any more; it may be saved
	saved    bool        // done, and its output is in a pack
	reused   bool        // done, and not performed in the current stint
	node     uint16      // index into State.nodes: who has it, or who holds its output unless that is gone
	job      stint.JobID // 0: taken over from a node's announcement, awaiting its report
	end      uint32      // milliseconds since State.base
	renamed  bool        // the node holds its output under another name, see stage.origins
}

// exception is what is known of an operation that does not go smoothly.
type exception struct {
	notBefore int64    // earliest next attempt
	avoid     uint16   // node it last failed on
	failed    int      // attempts that count against the program
	infra     int      // attempts lost to machines
	unreached int      // attempts that did not reach their input, or were denied it or the place of their output
	cutOff    []uint16 // nodes on which it did not reach its input
	err       *stint.Error
}

type stage struct {
	spec       stint.StageSpec
	ops        []op
	starts     []uint32        // of operations that are begun or done, milliseconds since base
	read       []records       // by operation, where records may be left out: how many the performance that counts has read; nil otherwise
	inputSums  []uint64        // of completed operations of a stage that reads objects of the input; nil otherwise
	ready      []stint.Range   // may be granted now; retries are in State.retries
	waitingFor []uint32        // of a stage whose operations wait for some of their own: for how many each still does
	counts     [failed + 1]int // operations by state
	sums       stint.StageReport
	most       int64   // records that it can read, where records may be left out; 0: not known
	before     records // to be added to those of sums where a share of them is judged
	meanMillis float64 // of one operation, moving average; 0: none completed yet
	performed  int64
	holds      []int           // by node: done operations whose output lies there first of all
	waits      []int           // by node: operations that it was granted and has not begun
	copies     [][]stint.Range // by node: done operations whose output it holds beside another node
	packs      []pack
	origins    []originRun   // sorted; of output that was taken over under other names
	avoided    []avoidance   // operations that are to go on elsewhere
	failed     []stint.Range // for good
	saved      int           // done operations that are saved
	reused     int           // done operations that are reused
	sources    *sourceList   // cache of where the output can be had; nil: stale
	dropped    bool          // nodes were told that the output is not needed any more; not recorded
	dirty      []bool        // chunks changed since the last snapshot
}

type job struct {
	stage       int
	ops         stint.Range
	node        uint16
	incarnation stint.Incarnation
	attempt     int
	left        int   // operations neither ended nor returned
	stopBy      int64 // when what is left is to have stopped, as it is held back or moves; 0: it goes on
	moving      bool  // what is left goes on on another node
	asked       bool  // to give operations back, and not yet answered; not recorded
}

type nodeStatus uint8

const (
	nodeUnseen nodeStatus = iota // since this state was loaded
	nodeReady
	nodeAway
	nodeLost
)

type node struct {
	id          stint.NodeID
	name        string
	address     string
	incarnation stint.Incarnation
	slots       int
	status      nodeStatus // not recorded: each owner observes it anew, but for nodeLost
	lastSeq     uint64     // of its reports, in this incarnation
	jobs        []stint.JobID
	coolUntil   int64
	performed   bool // an operation of this execution was begun there
	queued      int  // granted and not begun
	begun       int
	moved       int64       // when something left its queue, or came to it while it was empty, or it was last asked for what is in it; not recorded
	session     uint64      // the latest, as this server counts; not recorded
	called      bool        // to attach anew, and not yet attached; not recorded
	voided      []voidedJob // that may still be heard of
	gap         bool        // it was told to forget reports: the next may have any higher number
	since       int64       // when it attached, or was noticed to be away; not recorded
	lostAt      int64       // when it is taken for lost, if it stays away; 0: not known. Not in snapshots
	savedAt     int64       // when it was last told to save; not recorded
	saves       int         // under way there, as counted last; not recorded
	copies      int         // that it makes, as counted last; not recorded
	outdated    bool        // it may have what operations of other input, or without others, left under the numbers of ours
}

// voidedJob is a job that was ended while its node was away, or by its start
// anew: the node may have begun operations of it, and says so when it is back.
type voidedJob struct {
	id        stint.JobID
	stage     int
	uncounted []stint.Range // operations not known to have begun
}

// State is one execution. One goroutine owns it.
type State struct {
	plan       *plan.Plan
	epoch      stint.Epoch
	version    uint64
	base       int64 // time of submission; times in ops count from it
	request    stint.Request
	status     stint.ExecutionStatus
	settled    bool // final, and nothing of it is left anywhere to be cleared
	stints     []span
	stages     []stage
	ends       []int // stages that no operation reads
	jobs       map[stint.JobID]*job
	lastJob    stint.JobID
	latest     int64 // when the latest record was made, by the clocks of those who made them
	nodes      []node
	exceptions map[opKey]*exception
	retries    []opKey // pending operations with an exception, in the order in which they became so
	failures   []stint.Failure
	causes     []cause // of failures, as they first came
	counters   map[string]map[string]int64
	parts      []stint.Part // by number; an empty name: not yet written
	output     stint.OutputReport
	err        *stint.Error
	fatal      *stint.Error // why the execution must end; turned into a status by Step
	messages   map[opKey]string
	errandAt   int64 // when an errand that could not be run is tried again; 0: none. Not recorded
	errandErr  *stint.Error

	generation  uint64 // of the ownership in long-term storage; 0: nothing was saved for a resume
	claimed     uint64 // generation under which it was brought here, until it goes on; 0: it was here
	home        string // URL of the storage of saved state; empty: the service's own
	receipts    []receipt
	stopBy      int64       // while suspending: when everything is to have stopped
	workLost    float64     // milliseconds, since the suspend began
	next        ScheduleAsk // how it resumes by itself
	renumbered  bool        // its input has changed: before, its operations had other numbers
	closed      stint.JobID // jobs up to this one were before the latest suspend or retry: nothing of them counts any more
	mostNodes   int         // as the latest resume said; 0: as the request says
	mostSlots   int
	checkpoints map[opKey]stint.Checkpoint
	held        []heldJob // sorted by id
	moved       []movedJob
	out         int // operations that are granted or begun
	volatile
}

// volatile is what of a state is not recorded: what each owner finds out or does anew.
type volatile struct {
	loaded      int64 // when this owner began, or the first event
	made        int   // errands, for their names
	savesAsked  bool  // some of them save
	flights     []flight
	unanswered  map[uint16]int // errands in a row that a node did not answer in time
	chores      *chores        // what there is to save and to copy; nil: to be found out
	pause       int64          // until when nothing is saved or copied, after an error
	pauses      int            // without a success between them
	pauseErr    *stint.Error
	errandTries int                       // in a row in which the errand of the whole could not be run
	recorded    string                    // id of the errand that writes the record, if it is under way
	draining    map[stint.NodeID]DrainAsk // nodes that are to get nothing new
}

type opKey struct {
	stage int
	op    uint32
}

func (k opKey) compare(other opKey) int {
	return cmp.Or(cmp.Compare(k.stage, other.stage), cmp.Compare(k.op, other.op))
}

type span struct{ start, end int64 }

// New makes the state of an execution that was just submitted and has not begun.
func New(p *plan.Plan, req stint.Request, epoch stint.Epoch, now int64) *State {
	s := &State{
		plan: p, epoch: epoch, base: now, latest: now, request: req, status: stint.Queued,
		jobs: make(map[stint.JobID]*job), exceptions: make(map[opKey]*exception),
		counters: make(map[string]map[string]int64), messages: make(map[opKey]string),
		output: stint.OutputReport{Location: req.Output}, checkpoints: make(map[opKey]stint.Checkpoint),
	}
	for i := range p.Spec.Stages {
		spec := p.Spec.Stages[i]
		st := stage{spec: spec, ops: make([]op, spec.Operations), dirty: make([]bool, chunks(spec.Operations))}
		st.counts[pending] = int(spec.Operations)
		st.sums.Name = spec.Name
		if s.counting(i) {
			st.waitingFor = make([]uint32, spec.Operations)
			for n := range st.waitingFor {
				st.waitingFor[n] = uint32(p.Reads(i, 0, uint32(n)).Len())
			}
		}
		st.starts = make([]uint32, spec.Operations)
		if req.SkipBadRecords > 0 {
			st.most = p.MostRecords(i) // it looks at every object
			st.read = make([]records, spec.Operations)
		}
		if p.ReadsInput(i) && spec.Values == nil {
			st.inputSums = make([]uint64, spec.Operations)
		}
		s.stages = append(s.stages, st)
		if spec.Part {
			s.parts = make([]stint.Part, spec.Operations)
		}
	}
	for i := range s.stages {
		s.stages[i].ready = s.readyOps(i)
	}
	s.ends = s.findEnds()
	return s
}

// ID returns the execution's id.
func (s *State) ID() stint.ExecutionID { return s.plan.Spec.Execution }

// Epoch returns the owner's epoch that this state was loaded under.
func (s *State) Epoch() stint.Epoch { return s.epoch }

// Listing returns the objects of the input as they were listed for the execution.
func (s *State) Listing() stint.Listing { return s.plan.Listing }

// Version returns the number of records applied so far.
func (s *State) Version() uint64 { return s.version }

// Status returns the execution's status.
func (s *State) Status() stint.ExecutionStatus { return s.status }

// Settled reports whether the execution is over and nothing is left to do for it.
func (s *State) Settled() bool { return s.settled }

// Nodes returns the nodes that the execution has met.
func (s *State) Nodes() []stint.NodeID {
	out := make([]stint.NodeID, len(s.nodes))
	for i := range s.nodes {
		out[i] = s.nodes[i].id
	}
	return out
}

// Spec returns what nodes must know of the execution.
func (s *State) Spec() stint.Spec {
	spec := s.plan.Spec
	if s.mostSlots > 0 {
		spec.Slots = s.mostSlots
	}
	return spec
}

// readyOps computes from scratch which operations of a stage may be granted,
// those with an exception left out.
func (s *State) readyOps(i int) []stint.Range {
	st := &s.stages[i]
	if !s.gatesOpen(i) {
		return nil
	}
	var out []stint.Range
	for n := range st.ops {
		if st.ops[n].state != pending || st.waitingFor != nil && st.waitingFor[n] > 0 {
			continue
		}
		if _, special := s.exceptions[opKey{i, uint32(n)}]; !special && !s.heldBack(i, uint32(n)) {
			out = stint.AddToRanges(out, uint32(n))
		}
	}
	return out
}

// complete reports whether a stage is at its end: its operations are done, or
// failed for good and others do without them.
func (s *State) complete(i int) bool {
	st := &s.stages[i]
	return st.counts[done]+st.counts[failed] == len(st.ops)
}

// keepsBlocks reports whether the output of a stage lies on nodes.
func (s *State) keepsBlocks(i int) bool {
	spec := &s.stages[i].spec
	return !spec.Part && !spec.NoOutput
}

func (s *State) nodeIndex(id stint.NodeID) (uint16, bool) {
	for i := range s.nodes {
		if s.nodes[i].id == id {
			return uint16(i), true
		}
	}
	return 0, false
}

// Latest returns when the latest record was made, in ms since 1970. What the state
// waits for follows from such times: who drives it has the time go on from there, if
// its clock is behind.
func (s *State) Latest() int64 { return s.latest }

func (s *State) since(now int64) uint32 {
	return uint32(min(max(now-s.base, 0), 1<<32-1))
}
