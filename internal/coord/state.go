package coord

import (
	"stint"
	"stint/internal/plan"
)

// Numbers that the rules use. Times are milliseconds.
const (
	defaultAttempts  = 4
	maxInfraFailures = 20      // of one operation, that are not the program's fault
	backoffFirst     = 200     // before the second attempt; doubled for each further one
	backoffMost      = 30_000  // of any wait between attempts
	avoidFor         = 2_000   // how long after its back-off an operation waits for a node other than the one it failed on
	coolDown         = 5_000   // of a node that said it cannot perform operations now
	keptFailures     = 20      // in the document
	leastMillis      = 0.004   // duration of an operation that took less than a clock tick
	errandPause      = 1_000   // before an errand that could not be run is tried again
	grantBytes       = 2 << 20 // of the subsets in one grant, so that it fits a message of the link
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

// op is one operation. 16 bytes; there may be ten million.
type op struct {
	state    opState
	counted  bool   // its usage and counters are in the sums
	attempts uint8  // begun so far, at most 255
	gone     bool   // done, and its output is nowhere any more
	node     uint16 // index into State.nodes: who has it, or who holds its output
	_        uint16
	job      stint.JobID // 0: taken over from a node's announcement, awaiting its report
	end      uint32      // milliseconds since State.base
}

// exception is what is known of an operation that does not go smoothly.
type exception struct {
	notBefore int64  // earliest next attempt
	avoid     uint16 // node it last failed on
	failed    int    // attempts that count against the program
	infra     int    // attempts lost to machines
	err       *stint.Error
}

type stage struct {
	spec       stint.StageSpec
	ops        []op
	starts     []uint32        // of completed operations, milliseconds since base
	ready      []stint.Range   // may be granted now; retries are in State.retries
	waitingFor []uint32        // gather: how many operations each of ours still waits for
	counts     [failed + 1]int // operations by state
	sums       stint.StageReport
	meanMillis float64 // of one operation, moving average; 0: none completed yet
	performed  int64
	sources    []stint.Source // cache of who holds the output; nil: stale
	dirty      []bool         // chunks changed since the last snapshot
}

type job struct {
	stage       int
	ops         stint.Range
	node        uint16
	incarnation stint.Incarnation
	attempt     int
	left        int  // operations neither ended nor returned
	asked       bool // to give operations back, and not yet answered; not recorded
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
	session     uint64      // the latest, as this server counts; not recorded
	called      bool        // to attach anew, and not yet attached; not recorded
	voided      []voidedJob // that may still be heard of
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
	jobs       map[stint.JobID]*job
	lastJob    stint.JobID
	nodes      []node
	exceptions map[opKey]*exception
	retries    []opKey // pending operations with an exception, in the order in which they became so
	failures   []stint.Failure
	counters   map[string]map[string]int64
	parts      []stint.Part // by number; an empty name: not yet written
	output     stint.OutputReport
	err        *stint.Error
	fatal      *stint.Error // why the execution must end; turned into a status by Step
	messages   map[opKey]string
	errandAt   int64 // when an errand that could not be run is tried again; 0: none. Not recorded
	errandErr  *stint.Error
}

type opKey struct {
	stage int
	op    uint32
}

type span struct{ start, end int64 }

// New makes the state of an execution that was just submitted and has not begun.
func New(p *plan.Plan, req stint.Request, epoch stint.Epoch, now int64) *State {
	s := &State{
		plan: p, epoch: epoch, base: now, request: req, status: stint.Queued,
		jobs: make(map[stint.JobID]*job), exceptions: make(map[opKey]*exception),
		counters: make(map[string]map[string]int64), messages: make(map[opKey]string),
		output: stint.OutputReport{Location: req.Output},
	}
	for i := range p.Spec.Stages {
		spec := p.Spec.Stages[i]
		st := stage{spec: spec, ops: make([]op, spec.Operations), dirty: make([]bool, chunks(spec.Operations))}
		st.counts[pending] = int(spec.Operations)
		st.sums.Name = spec.Name
		if spec.Gather != nil {
			st.waitingFor = make([]uint32, spec.Operations)
			for g := range st.waitingFor {
				st.waitingFor[g] = spec.Gather[g+1] - spec.Gather[g]
			}
		}
		st.starts = make([]uint32, spec.Operations)
		s.stages = append(s.stages, st)
		if spec.Part {
			s.parts = make([]stint.Part, spec.Operations)
		}
	}
	for i := range s.stages {
		s.stages[i].ready = s.readyOps(i)
	}
	return s
}

// ID returns the execution's id.
func (s *State) ID() stint.ExecutionID { return s.plan.Spec.Execution }

// Epoch returns the owner's epoch that this state was loaded under.
func (s *State) Epoch() stint.Epoch { return s.epoch }

// Version returns the number of records applied so far.
func (s *State) Version() uint64 { return s.version }

// Status returns the execution's status.
func (s *State) Status() stint.ExecutionStatus { return s.status }

// Settled reports whether the execution is over and nothing is left to do for it.
func (s *State) Settled() bool { return s.settled }

// Spec returns what nodes must know of the execution.
func (s *State) Spec() stint.Spec { return s.plan.Spec }

// readyOps computes from scratch which operations of a stage may be granted,
// those with an exception left out.
func (s *State) readyOps(i int) []stint.Range {
	st := &s.stages[i]
	if i > 0 && st.spec.Gather == nil && !s.complete(i-1) {
		return nil
	}
	var out []stint.Range
	for n := range st.ops {
		if st.ops[n].state != pending || st.waitingFor != nil && st.waitingFor[n] > 0 {
			continue
		}
		if _, special := s.exceptions[opKey{i, uint32(n)}]; !special {
			out = stint.AddToRanges(out, uint32(n))
		}
	}
	return out
}

func (s *State) complete(i int) bool {
	return s.stages[i].counts[done] == len(s.stages[i].ops)
}

// needed reports whether the output of an operation will still be read.
func (s *State) needed(i int, n uint32) bool {
	st := &s.stages[i]
	if st.spec.Part || st.spec.NoOutput || i+1 >= len(s.stages) {
		return false // parts lie in the output location, not on the node
	}
	next := &s.stages[i+1]
	if next.spec.Gather == nil {
		return !s.complete(i + 1)
	}
	return next.ops[gatherer(next.spec.Gather, n)].state != done
}

// gatherer finds the operation that reads operation n of the stage before.
func gatherer(g stint.GatherMap, n uint32) uint32 {
	lo, hi := 0, len(g)-1
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if g[mid] <= n {
			lo = mid
		} else {
			hi = mid
		}
	}
	return uint32(lo)
}

func (s *State) nodeIndex(id stint.NodeID) (uint16, bool) {
	for i := range s.nodes {
		if s.nodes[i].id == id {
			return uint16(i), true
		}
	}
	return 0, false
}

func (s *State) since(now int64) uint32 {
	return uint32(min(max(now-s.base, 0), 1<<32-1))
}
