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

// sumBytes is what the checksum of its input adds to an operation of a stage that
// keeps them.
const sumBytes = 8

// readBytes is what the numbers of records that it has read add to an operation of a
// stage that may leave some out.
const readBytes = 8 + 8

// Flags of an operation in a chunk.
const (
	flagCounted = 1 << iota
	flagGone
	flagReused
	flagRenamed
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
	Latest     int64                       `json:"latest,omitempty"`
	Nodes      []NodeCore                  `json:"nodes"`
	Exceptions []ExceptionCore             `json:"exceptions"`
	Failures   []stint.Failure             `json:"failures"`
	Causes     []CauseCore                 `json:"causes,omitempty"`
	Counters   map[string]map[string]int64 `json:"counters"`
	Parts      []stint.Part                `json:"parts"`
	Output     stint.OutputReport          `json:"output"`
	Error      *stint.Error                `json:"error"`
	Fatal      *stint.Error                `json:"fatal"`
	Stages     []StageCore                 `json:"stages"`

	Generation  uint64           `json:"generation,omitempty"`
	Claimed     uint64           `json:"claimed,omitempty"`
	Home        string           `json:"home,omitempty"`
	Receipts    []ReceiptCore    `json:"receipts,omitempty"`
	StopBy      int64            `json:"stop_by,omitempty"`
	WorkLost    float64          `json:"work_lost,omitempty"`
	ResumeAt    int64            `json:"resume_at,omitempty"`
	MostNodes   int              `json:"most_nodes,omitempty"`
	Closed      stint.JobID      `json:"closed,omitempty"` // jobs up to this one were before the latest suspend
	MostSlots   int              `json:"most_slots,omitempty"`
	ResumeNodes int              `json:"resume_nodes,omitempty"`
	ResumeSlots int              `json:"resume_slots,omitempty"`
	Renumbered  bool             `json:"renumbered,omitempty"`
	Checkpoints []CheckpointCore `json:"checkpoints,omitempty"`
	Held        []HeldCore       `json:"held,omitempty"`
	Moved       []MovedCore      `json:"moved,omitempty"`
}

// CauseCore is a group of attempts that failed for the same reason.
type CauseCore struct {
	Stage    int        `json:"stage"`
	Code     stint.Code `json:"code"`
	Message  string     `json:"message"`
	Attempts int64      `json:"attempts"`
	First    uint32     `json:"first"`
	Nodes    []uint16   `json:"nodes"`
}

// ReceiptCore says what a suspend kept and what it cost.
type ReceiptCore struct {
	At    int64   `json:"at"`
	Kind  string  `json:"kind"`
	Kept  int64   `json:"kept"`
	Bytes int64   `json:"bytes"`
	Lost  float64 `json:"lost"`
}

// CheckpointCore is the checkpoint of an operation that was interrupted.
type CheckpointCore struct {
	Stage      int              `json:"stage"`
	Checkpoint stint.Checkpoint `json:"checkpoint"`
}

// HeldCore is a job that was suspended by itself.
type HeldCore struct {
	Job   stint.JobID   `json:"job"`
	Stage int           `json:"stage"`
	Ops   []stint.Range `json:"ops,omitempty"`
}

// MovedCore is a job whose output is to be elsewhere too.
type MovedCore struct {
	Job  stint.JobID `json:"job"`
	Node uint16      `json:"node"`
}

// JobCore is a job that was granted and has not ended.
type JobCore struct {
	Grant  GrantRecord `json:"grant"`
	Left   int         `json:"left"`
	StopBy int64       `json:"stop_by,omitempty"`
	Moving bool        `json:"moving,omitempty"`
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
	Gap         bool              `json:"gap,omitempty"`
	Outdated    bool              `json:"outdated,omitempty"`
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
	Unreached int          `json:"unreached,omitempty"`
	CutOff    []uint16     `json:"cut_off,omitempty"` // nodes on which its input was not reached
}

// StageCore is a stage without its operations.
type StageCore struct {
	Sums       stint.StageReport `json:"sums"`
	MeanMillis float64           `json:"mean_millis"`
	Performed  int64             `json:"performed"`
	TakenRead  int64             `json:"taken_read,omitempty"` // records, in addition to those of Sums, that count as read
	TakenBad   int64             `json:"taken_bad,omitempty"`  // and as left out

	Packs   []PackCore   `json:"packs,omitempty"`
	Copies  []NodeOps    `json:"copies,omitempty"`
	Avoided []NodeOps    `json:"avoided,omitempty"`
	Origins []OriginCore `json:"origins,omitempty"`
}

// PackCore is a pack and what of it can be used.
type PackCore struct {
	Pack    stint.Pack    `json:"pack"`
	Ops     []stint.Range `json:"ops"`
	Renamed bool          `json:"renamed,omitempty"`
}

// NodeOps is a set of operations on one node.
type NodeOps struct {
	Node uint16        `json:"node"`
	Ops  []stint.Range `json:"ops"`
}

// OriginCore says under which name output was.read over.
type OriginCore struct {
	Ops  stint.Range  `json:"ops"`
	From stint.Origin `json:"from"`
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
		Base: s.base, Status: s.status, Settled: s.settled, LastJob: s.lastJob, Latest: s.latest,
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
			c.Jobs = append(c.Jobs, JobCore{GrantRecord{id, j.stage, j.ops, j.attempt, n.id, j.incarnation}, j.left, j.stopBy, j.moving})
		}
	}
	for k := range s.stages {
		st := &s.stages[k]
		c.Stages = append(c.Stages, st.core(len(s.nodes)))
	}
	for key, e := range s.exceptions {
		c.Exceptions = append(c.Exceptions, ExceptionCore{key.stage, key.op, e.notBefore, e.avoid, e.failed, e.infra, e.err, e.unreached, slices.Clone(e.cutOff)})
	}
	sortExceptions(c.Exceptions)
	for _, one := range s.causes {
		c.Causes = append(c.Causes, CauseCore{one.stage, one.code, one.message, one.attempts, one.first, slices.Clone(one.nodes)})
	}
	s.coreKept(&c)
	return c
}

// coreKept adds what is known of suspends and of jobs that stop.
func (s *State) coreKept(c *Core) {
	c.Generation, c.Claimed, c.Home, c.StopBy, c.WorkLost, c.Renumbered = s.generation, s.claimed, s.home, s.stopBy, s.workLost, s.renumbered
	c.ResumeAt, c.ResumeNodes, c.ResumeSlots = s.next.At, s.next.Nodes, s.next.Slots
	c.MostNodes, c.MostSlots, c.Closed = s.mostNodes, s.mostSlots, s.closed
	for _, r := range s.receipts {
		c.Receipts = append(c.Receipts, ReceiptCore{r.at, r.kind, r.kept, r.bytes, r.lost})
	}
	for _, key := range s.checkpointKeys() {
		c.Checkpoints = append(c.Checkpoints, CheckpointCore{key.stage, s.checkpoints[key]})
	}
	for _, h := range s.held {
		c.Held = append(c.Held, HeldCore{h.id, h.stage, slices.Clone(h.ops)})
	}
	for _, m := range s.moved {
		c.Moved = append(c.Moved, MovedCore{m.id, m.node})
	}
}

func (st *stage) core(nodes int) StageCore {
	c := StageCore{Sums: st.sums, MeanMillis: st.meanMillis, Performed: st.performed, TakenRead: st.before.read, TakenBad: st.before.bad}
	for _, p := range st.packs {
		c.Packs = append(c.Packs, PackCore{p.Pack, slices.Clone(p.ops), p.renamed})
	}
	for i := range nodes {
		if list := st.copiesOn(uint16(i)); list != nil {
			c.Copies = append(c.Copies, NodeOps{uint16(i), slices.Clone(list)})
		}
	}
	for _, a := range st.avoided {
		c.Avoided = append(c.Avoided, NodeOps{a.node, slices.Clone(a.ops)})
	}
	for _, o := range st.origins {
		c.Origins = append(c.Origins, OriginCore{o.ops, o.from})
	}
	return c
}

func (n *node) core() NodeCore {
	c := NodeCore{
		ID: n.id, Name: n.name, Address: n.address, Incarnation: n.incarnation, Slots: n.slots,
		Lost: n.status == nodeLost, LastSeq: n.lastSeq, Performed: n.performed, Gap: n.gap, Outdated: n.outdated,
	}
	for _, v := range n.voided {
		c.Voided = append(c.Voided, VoidedCore{Job: v.id, Stage: v.stage, Uncounted: slices.Clone(v.uncounted)})
	}
	return c
}

func (st *stage) pack(chunk int) []byte {
	from := chunk * chunkOps
	to := min(from+chunkOps, len(st.ops))
	b := make([]byte, 0, (to-from)*st.opBytes())
	for n := from; n < to; n++ {
		o := &st.ops[n]
		flags := byte(0)
		if o.counted {
			flags |= flagCounted
		}
		if o.gone {
			flags |= flagGone
		}
		if o.reused {
			flags |= flagReused
		}
		if o.renamed {
			flags |= flagRenamed
		}
		b = append(b, byte(o.state), flags, o.attempts)
		b = binary.LittleEndian.AppendUint16(b, o.node)
		b = binary.LittleEndian.AppendUint32(b, uint32(o.job))
		b = binary.LittleEndian.AppendUint32(b, st.starts[n])
		b = binary.LittleEndian.AppendUint32(b, o.end)
		if st.inputSums != nil {
			b = binary.LittleEndian.AppendUint64(b, st.inputSums[n])
		}
		if st.read != nil {
			b = binary.LittleEndian.AppendUint64(b, uint64(st.read[n].read))
			b = binary.LittleEndian.AppendUint64(b, uint64(st.read[n].bad))
		}
	}
	return b
}

func (st *stage) opBytes() int {
	n := opBytes
	if st.inputSums != nil {
		n += sumBytes
	}
	if st.read != nil {
		n += readBytes
	}
	return n
}

// Restore makes a state of a snapshot with all its chunks. What the bytes say
// is checked; an error means that the snapshot is not of this plan or damaged.
func Restore(p *plan.Plan, req stint.Request, epoch stint.Epoch, snap Snapshot) (*State, error) {
	c := snap.Core
	s := New(p, req, epoch, c.Base)
	s.version, s.status, s.settled, s.lastJob = snap.Version, c.Status, c.Settled, c.LastJob
	s.latest = max(s.latest, c.Latest)
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
		s.stages[k].before = records{c.Stages[k].TakenRead, c.Stages[k].TakenBad}
	}
	for _, step := range []func() error{
		func() error { return s.restoreChunks(snap.Chunks) },
		func() error { return s.restoreJobs(c) },
		func() error { return s.restoreKept(&c) },
		func() error { return s.restoreCauses(c.Causes) },
		func() error { return s.restorePlaces(c.Stages) },
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("snapshot of %s: %w", s.ID(), err)
		}
	}
	s.derive()
	return s, nil
}

// restoreKept restores what is known of suspends and of jobs that stop.
func (s *State) restoreKept(c *Core) error {
	s.generation, s.claimed, s.home, s.stopBy, s.workLost, s.renumbered = c.Generation, c.Claimed, c.Home, c.StopBy, c.WorkLost, c.Renumbered
	s.next = ScheduleAsk{At: c.ResumeAt, Nodes: c.ResumeNodes, Slots: c.ResumeSlots}
	s.mostNodes, s.mostSlots, s.closed = c.MostNodes, c.MostSlots, c.Closed
	for _, r := range c.Receipts {
		s.receipts = append(s.receipts, receipt{r.At, r.Kind, r.Kept, r.Bytes, r.Lost})
	}
	for _, p := range c.Checkpoints {
		if !s.exists(p.Stage, []stint.Range{{From: p.Checkpoint.Op, To: p.Checkpoint.Op + 1}}) {
			return fmt.Errorf("checkpoint of operation %d of stage %d: there is none", p.Checkpoint.Op, p.Stage)
		}
		s.checkpoints[opKey{p.Stage, p.Checkpoint.Op}] = p.Checkpoint
	}
	for _, h := range c.Held {
		if !s.exists(h.Stage, h.Ops) {
			return fmt.Errorf("suspended job %s: out of range", h.Job)
		}
		if at, found := s.findHeld(h.Job); !found {
			s.held = slices.Insert(s.held, at, heldJob{h.Job, h.Stage, h.Ops})
		}
	}
	for _, f := range c.Failures {
		if f.Error == nil || !s.exists(f.Stage, []stint.Range{{From: f.Op, To: f.Op + 1}}) {
			return fmt.Errorf("failure of operation %d of stage %d: there is none, or it has no error", f.Op, f.Stage)
		}
	}
	if len(c.Stints) == 0 && (c.Status == stint.InProgress || c.Status == stint.Suspending) {
		return fmt.Errorf("%s in no stint", c.Status)
	}
	for _, m := range c.Moved {
		if int(m.Node) >= len(s.nodes) {
			return fmt.Errorf("moved job %s: from node %d of %d", m.Job, m.Node, len(s.nodes))
		}
		s.moved = append(s.moved, movedJob{m.Job, m.Node})
	}
	return nil
}

func (s *State) restoreCauses(list []CauseCore) error {
	for _, c := range list {
		if !s.exists(c.Stage, []stint.Range{{From: c.First, To: c.First + 1}}) {
			return fmt.Errorf("cause of failures of operation %d of stage %d: there is none", c.First, c.Stage)
		}
		for _, i := range c.Nodes {
			if int(i) >= len(s.nodes) {
				return fmt.Errorf("cause of failures on node %d of %d", i, len(s.nodes))
			}
		}
		s.causes = append(s.causes, cause{stage: c.Stage, code: c.Code, message: c.Message, likeness: likeness(c.Message), attempts: c.Attempts, first: c.First, nodes: c.Nodes})
	}
	return nil
}

// exists reports whether all of a sorted list of operations are in a stage.
func (s *State) exists(k int, ops []stint.Range) bool {
	if k < 0 || k >= len(s.stages) {
		return false
	}
	last := uint32(0)
	for _, r := range ops {
		if r.From < last || r.From >= r.To || int(r.To) > len(s.stages[k].ops) {
			return false
		}
		last = r.To
	}
	return true
}

// restorePlaces restores where output lies beside the operations' own nodes.
func (s *State) restorePlaces(list []StageCore) error {
	for k, c := range list {
		st := &s.stages[k]
		for _, p := range c.Packs {
			if !s.exists(k, p.Ops) {
				return fmt.Errorf("pack %s: out of range", p.Pack.Key)
			}
			st.packs = append(st.packs, pack{p.Pack, p.Ops, p.Renamed})
		}
		for _, set := range [2][]NodeOps{c.Copies, c.Avoided} {
			for _, at := range set {
				if int(at.Node) >= len(s.nodes) || !s.exists(k, at.Ops) {
					return fmt.Errorf("output on node %d: out of range", at.Node)
				}
			}
		}
		for _, at := range c.Copies {
			st.setCopies(at.Node, at.Ops)
		}
		for _, at := range c.Avoided {
			st.avoided = append(st.avoided, avoidance{at.Node, at.Ops})
		}
		for _, o := range c.Origins {
			if !s.exists(k, []stint.Range{o.Ops}) {
				return fmt.Errorf("output taken over: out of range")
			}
			st.origins = append(st.origins, originRun{o.Ops, o.From})
		}
	}
	return nil
}

func (s *State) restoreNodes(list []NodeCore) error {
	for _, c := range list {
		n := node{
			id: c.ID, name: c.Name, address: c.Address, incarnation: c.Incarnation,
			slots: c.Slots, lastSeq: c.LastSeq, performed: c.Performed, gap: c.Gap, outdated: c.Outdated,
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
	each := st.opBytes()
	if st.read != nil && len(c.Data) == (to-from)*(each-readBytes) { // of a build that did not keep them: the sums are all that is known
		st.read, each = nil, each-readBytes
	}
	if len(c.Data) != (to-from)*each {
		return fmt.Errorf("%d bytes; expected %d", len(c.Data), (to-from)*each)
	}
	for n := from; n < to; n++ {
		b := c.Data[(n-from)*each:]
		o := &st.ops[n]
		*o = op{
			state: opState(b[0]), counted: b[1]&flagCounted != 0, gone: b[1]&flagGone != 0, reused: b[1]&flagReused != 0, renamed: b[1]&flagRenamed != 0, attempts: b[2], node: binary.LittleEndian.Uint16(b[3:]),
			job: stint.JobID(binary.LittleEndian.Uint32(b[5:])), end: binary.LittleEndian.Uint32(b[13:]),
		}
		st.starts[n] = binary.LittleEndian.Uint32(b[9:])
		if st.inputSums != nil {
			st.inputSums[n] = binary.LittleEndian.Uint64(b[opBytes:])
		}
		if st.read != nil {
			at := b[each-readBytes:]
			st.read[n] = records{int64(binary.LittleEndian.Uint64(at)), int64(binary.LittleEndian.Uint64(at[8:]))}
		}
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
		s.jobs[j.Grant.Job] = &job{stage: j.Grant.Stage, ops: j.Grant.Ops, node: i, incarnation: j.Grant.Incarnation, attempt: j.Grant.Attempt, left: j.Left, stopBy: j.StopBy, moving: j.Moving}
		s.nodes[i].jobs = append(s.nodes[i].jobs, j.Grant.Job)
	}
	for _, e := range c.Exceptions {
		if e.Stage < 0 || e.Stage >= len(s.stages) || int(e.Op) >= len(s.stages[e.Stage].ops) {
			return fmt.Errorf("exception of operation %d of stage %d: out of range", e.Op, e.Stage)
		}
		if e.Error == nil {
			return fmt.Errorf("exception of operation %d of stage %d: without an error", e.Op, e.Stage)
		}
		s.exceptions[opKey{e.Stage, e.Op}] = &exception{notBefore: e.NotBefore, avoid: e.Avoid, failed: e.Failed, infra: e.Infra, unreached: e.Unreached, cutOff: slices.Clone(e.CutOff), err: e.Error}
	}
	return nil
}

// derive computes what follows from the operations: counts, loads, what is
// ready, what waits.
func (s *State) derive() {
	for i := range s.nodes {
		s.nodes[i].queued, s.nodes[i].begun = 0, 0
	}
	s.out = 0
	for k := range s.stages {
		st := &s.stages[k]
		st.counts, st.holds, st.waits, st.failed, st.saved, st.reused = [failed + 1]int{}, nil, nil, nil, 0, 0
		s.deriveSaved(k)
		for n := range st.ops {
			o := &st.ops[n]
			st.counts[o.state]++
			s.countLoad(k, o, 1)
			s.countHold(k, o, 1)
			if o.state == failed {
				st.failed = stint.AddToRanges(st.failed, uint32(n))
			}
			if o.reused {
				st.reused++
			}
		}
	}
	for k := range s.stages {
		s.await(k)
		s.stages[k].ready = s.readyOps(k)
	}
	s.findRetries()
}

// findRetries finds the operations that are to be performed again since an attempt of
// them failed.
func (s *State) findRetries() {
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

func (s *State) deriveSaved(k int) {
	st := &s.stages[k]
	for _, p := range st.packs {
		for _, r := range p.ops {
			for n := r.From; n < r.To; n++ {
				st.markSaved(n)
			}
		}
	}
}

func sortExceptions(list []ExceptionCore) {
	slices.SortFunc(list, func(a, b ExceptionCore) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Op, b.Op))
	})
}
