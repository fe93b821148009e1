package coord

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"stint"
	"stint/internal/plan"
)

// chunkOps is the number of operations in one chunk of a snapshot.
const chunkOps = 1 << 16

// opBytes is the length of one operation in a chunk: state, flags, attempts,
// node, job, start, end.
const opBytes = 1 + 1 + 1 + 2 + 4 + 4 + 4

// Flags of an operation in a chunk.
const (
	flagCounted = 1 << iota
	flagGone
)

func chunks(ops uint32) int { return (int(ops) + chunkOps - 1) / chunkOps }

func (st *stage) touch(n uint32) { st.dirty[n/chunkOps] = true }

// Snapshot is a state as it is kept: everything but the operations in Core, the
// operations in chunks that are written only when they changed.
type Snapshot struct {
	Version uint64
	Core    Core
	Chunks  []Chunk
}

// Chunk holds the operations From … of one stage, packed.
type Chunk struct {
	Stage int
	Index int
	Data  []byte
}

// Core is what a state has beside its operations.
type Core struct {
	Base       int64                       `json:"base"`
	Status     stint.ExecutionStatus       `json:"status"`
	Settled    bool                        `json:"settled"`
	Stints     [][2]int64                  `json:"stints"`
	Jobs       []JobCore                   `json:"jobs"`
	LastJob    stint.JobID                 `json:"last_job"`
	Nodes      []NodeCore                  `json:"nodes"`
	Exceptions []ExceptionCore             `json:"exceptions"`
	Failures   []stint.Failure             `json:"failures"`
	Counters   map[string]map[string]int64 `json:"counters"`
	Parts      []stint.Part                `json:"parts"`
	Output     stint.OutputReport          `json:"output"`
	Error      *stint.Error                `json:"error"`
	Fatal      *stint.Error                `json:"fatal"`
	Stages     []StageCore                 `json:"stages"`
}

// JobCore is a job that was granted and has not ended.
type JobCore struct {
	Grant GrantRecord `json:"grant"`
	Left  int         `json:"left"`
}

// NodeCore is a node that this execution met.
type NodeCore struct {
	ID          stint.NodeID      `json:"id"`
	Name        string            `json:"name"`
	Address     string            `json:"address"`
	Incarnation stint.Incarnation `json:"incarnation"`
	Slots       int               `json:"slots"`
	Lost        bool              `json:"lost"`
	LastSeq     uint64            `json:"last_seq"`
	Performed   bool              `json:"performed"`
	Voided      []VoidedCore      `json:"voided,omitempty"`
}

// VoidedCore is a job that was ended while its node was away.
type VoidedCore struct {
	Job       stint.JobID   `json:"job"`
	Stage     int           `json:"stage"`
	Uncounted []stint.Range `json:"uncounted"`
}

// ExceptionCore is an operation that did not go smoothly.
type ExceptionCore struct {
	Stage     int          `json:"stage"`
	Op        uint32       `json:"op"`
	NotBefore int64        `json:"not_before"`
	Avoid     uint16       `json:"avoid"`
	Failed    int          `json:"failed"`
	Infra     int          `json:"infra"`
	Error     *stint.Error `json:"error"`
}

// StageCore is a stage without its operations.
type StageCore struct {
	Sums       stint.StageReport `json:"sums"`
	MeanMillis float64           `json:"mean_millis"`
	Performed  int64             `json:"performed"`
}

// SnapshotAll packs the state with every chunk.
func (s *State) SnapshotAll() Snapshot {
	for k := range s.stages {
		for c := range s.stages[k].dirty {
			s.stages[k].dirty[c] = true
		}
	}
	return s.Snapshot()
}

// Snapshot packs the state with the chunks that changed since the last call.
func (s *State) Snapshot() Snapshot {
	snap := Snapshot{Version: s.version, Core: s.core()}
	for k := range s.stages {
		st := &s.stages[k]
		for c := range st.dirty {
			if st.dirty[c] {
				snap.Chunks = append(snap.Chunks, Chunk{Stage: k, Index: c, Data: st.pack(c)})
				st.dirty[c] = false
			}
		}
	}
	return snap
}

// core copies what goes on changing while the snapshot is being written.
func (s *State) core() Core {
	c := Core{
		Base: s.base, Status: s.status, Settled: s.settled, LastJob: s.lastJob,
		Failures: slices.Clone(s.failures), Counters: make(map[string]map[string]int64, len(s.counters)),
		Parts: slices.Clone(s.parts), Output: s.output, Error: s.err, Fatal: s.fatal,
	}
	for group, names := range s.counters {
		c.Counters[group] = maps.Clone(names)
	}
	for _, sp := range s.stints {
		c.Stints = append(c.Stints, [2]int64{sp.start, sp.end})
	}
	for _, n := range s.nodes {
		c.Nodes = append(c.Nodes, n.core())
		for _, id := range n.jobs {
			j := s.jobs[id]
			c.Jobs = append(c.Jobs, JobCore{GrantRecord{id, j.stage, j.ops, j.attempt, n.id, j.incarnation}, j.left})
		}
	}
	for k := range s.stages {
		st := &s.stages[k]
		c.Stages = append(c.Stages, StageCore{st.sums, st.meanMillis, st.performed})
	}
	for key, e := range s.exceptions {
		c.Exceptions = append(c.Exceptions, ExceptionCore{key.stage, key.op, e.notBefore, e.avoid, e.failed, e.infra, e.err})
	}
	sortExceptions(c.Exceptions)
	return c
}

func (n *node) core() NodeCore {
	c := NodeCore{
		ID: n.id, Name: n.name, Address: n.address, Incarnation: n.incarnation, Slots: n.slots,
		Lost: n.status == nodeLost, LastSeq: n.lastSeq, Performed: n.performed,
	}
	for _, v := range n.voided {
		c.Voided = append(c.Voided, VoidedCore{Job: v.id, Stage: v.stage, Uncounted: slices.Clone(v.uncounted)})
	}
	return c
}

func (st *stage) pack(chunk int) []byte {
	from := chunk * chunkOps
	to := min(from+chunkOps, len(st.ops))
	b := make([]byte, 0, (to-from)*opBytes)
	for n := from; n < to; n++ {
		o := &st.ops[n]
		flags := byte(0)
		if o.counted {
			flags |= flagCounted
		}
		if o.gone {
			flags |= flagGone
		}
		b = append(b, byte(o.state), flags, o.attempts)
		b = binary.LittleEndian.AppendUint16(b, o.node)
		b = binary.LittleEndian.AppendUint32(b, uint32(o.job))
		b = binary.LittleEndian.AppendUint32(b, st.starts[n])
		b = binary.LittleEndian.AppendUint32(b, o.end)
	}
	return b
}

// Restore makes a state of a snapshot with all its chunks. What the bytes say
// is checked; an error means that the snapshot is not of this plan or damaged.
func Restore(p *plan.Plan, req stint.Request, epoch stint.Epoch, snap Snapshot) (*State, error) {
	c := snap.Core
	s := New(p, req, epoch, c.Base)
	s.version, s.status, s.settled, s.lastJob = snap.Version, c.Status, c.Settled, c.LastJob
	s.failures, s.output, s.err, s.fatal = c.Failures, c.Output, c.Error, c.Fatal
	if c.Counters != nil {
		s.counters = c.Counters
	}
	if len(c.Stages) != len(s.stages) || len(c.Parts) != len(s.parts) {
		return nil, fmt.Errorf("snapshot of %s: %d stages and %d parts; the plan has %d and %d", s.ID(), len(c.Stages), len(c.Parts), len(s.stages), len(s.parts))
	}
	copy(s.parts, c.Parts)
	for _, sp := range c.Stints {
		s.stints = append(s.stints, span{sp[0], sp[1]})
	}
	if err := s.restoreNodes(c.Nodes); err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", s.ID(), err)
	}
	for k := range s.stages {
		s.stages[k].sums, s.stages[k].meanMillis, s.stages[k].performed = c.Stages[k].Sums, c.Stages[k].MeanMillis, c.Stages[k].Performed
	}
	if err := s.restoreChunks(snap.Chunks); err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", s.ID(), err)
	}
	if err := s.restoreJobs(c); err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", s.ID(), err)
	}
	s.derive()
	return s, nil
}

func (s *State) restoreNodes(list []NodeCore) error {
	for _, c := range list {
		n := node{
			id: c.ID, name: c.Name, address: c.Address, incarnation: c.Incarnation,
			slots: c.Slots, lastSeq: c.LastSeq, performed: c.Performed,
		}
		if c.Lost {
			n.status = nodeLost
		}
		for _, v := range c.Voided {
			if v.Stage < 0 || v.Stage >= len(s.stages) || !within(v.Uncounted, len(s.stages[v.Stage].ops)) {
				return fmt.Errorf("voided job %s: out of range", v.Job)
			}
			n.voided = append(n.voided, voidedJob{id: v.Job, stage: v.Stage, uncounted: v.Uncounted})
		}
		s.nodes = append(s.nodes, n)
	}
	return nil
}

func within(list []stint.Range, ops int) bool {
	return len(list) == 0 || int(list[len(list)-1].To) <= ops
}

func (s *State) restoreChunks(list []Chunk) error {
	want := 0
	for k := range s.stages {
		want += len(s.stages[k].dirty)
	}
	if len(list) != want {
		return fmt.Errorf("%d chunks; the plan has %d", len(list), want)
	}
	for _, c := range list {
		if c.Stage < 0 || c.Stage >= len(s.stages) || c.Index < 0 || c.Index >= len(s.stages[c.Stage].dirty) {
			return fmt.Errorf("chunk %d of stage %d: no such chunk", c.Index, c.Stage)
		}
		if err := s.unpack(c); err != nil {
			return fmt.Errorf("chunk %d of stage %d: %w", c.Index, c.Stage, err)
		}
	}
	return nil
}

func (s *State) unpack(c Chunk) error {
	st := &s.stages[c.Stage]
	from := c.Index * chunkOps
	to := min(from+chunkOps, len(st.ops))
	if len(c.Data) != (to-from)*opBytes {
		return fmt.Errorf("%d bytes; expected %d", len(c.Data), (to-from)*opBytes)
	}
	for n := from; n < to; n++ {
		b := c.Data[(n-from)*opBytes:]
		o := &st.ops[n]
		*o = op{
			state: opState(b[0]), counted: b[1]&flagCounted != 0, gone: b[1]&flagGone != 0, attempts: b[2], node: binary.LittleEndian.Uint16(b[3:]),
			job: stint.JobID(binary.LittleEndian.Uint32(b[5:])), end: binary.LittleEndian.Uint32(b[13:]),
		}
		st.starts[n] = binary.LittleEndian.Uint32(b[9:])
		if o.state > failed || o.state != pending && int(o.node) >= len(s.nodes) {
			return fmt.Errorf("operation %d: state %d on node %d of %d", n, o.state, o.node, len(s.nodes))
		}
	}
	return nil
}

func (s *State) restoreJobs(c Core) error {
	for _, j := range c.Jobs {
		i, ok := s.nodeIndex(j.Grant.Node)
		if !ok || j.Grant.Stage < 0 || j.Grant.Stage >= len(s.stages) || int(j.Grant.Ops.To) > len(s.stages[j.Grant.Stage].ops) || j.Grant.Ops.From >= j.Grant.Ops.To {
			return fmt.Errorf("job %s: out of range", j.Grant.Job)
		}
		s.jobs[j.Grant.Job] = &job{stage: j.Grant.Stage, ops: j.Grant.Ops, node: i, incarnation: j.Grant.Incarnation, attempt: j.Grant.Attempt, left: j.Left}
		s.nodes[i].jobs = append(s.nodes[i].jobs, j.Grant.Job)
	}
	for _, e := range c.Exceptions {
		if e.Stage < 0 || e.Stage >= len(s.stages) || int(e.Op) >= len(s.stages[e.Stage].ops) {
			return fmt.Errorf("exception of operation %d of stage %d: out of range", e.Op, e.Stage)
		}
		s.exceptions[opKey{e.Stage, e.Op}] = &exception{notBefore: e.NotBefore, avoid: e.Avoid, failed: e.Failed, infra: e.Infra, err: e.Error}
	}
	return nil
}

// derive computes what follows from the operations: counts, loads, what is
// ready, what waits.
func (s *State) derive() {
	for i := range s.nodes {
		s.nodes[i].queued, s.nodes[i].begun = 0, 0
	}
	for k := range s.stages {
		st := &s.stages[k]
		st.counts = [failed + 1]int{}
		for n := range st.ops {
			o := &st.ops[n]
			st.counts[o.state]++
			s.countLoad(o, 1)
			if next := k + 1; o.state == done && next < len(s.stages) && s.stages[next].waitingFor != nil {
				s.stages[next].waitingFor[gatherer(s.stages[next].spec.Gather, uint32(n))]--
			}
		}
	}
	for k := range s.stages {
		s.stages[k].ready = s.readyOps(k)
	}
	s.retries = nil
	keys := make([]ExceptionCore, 0, len(s.exceptions))
	for key := range s.exceptions {
		keys = append(keys, ExceptionCore{Stage: key.stage, Op: key.op})
	}
	sortExceptions(keys)
	for _, e := range keys {
		if s.stages[e.Stage].ops[e.Op].state == pending {
			s.retries = append(s.retries, opKey{e.Stage, e.Op})
		}
	}
}

func sortExceptions(list []ExceptionCore) {
	slices.SortFunc(list, func(a, b ExceptionCore) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Op, b.Op))
	})
}
