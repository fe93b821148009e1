package stint

// Explanation says why an execution waits, is slow, or failed.
type Explanation struct {
	Execution ExecutionID     `json:"execution"`
	Status    ExecutionStatus `json:"status"`
	Summary   string          `json:"summary"`  // one sentence
	Findings  []Finding       `json:"findings"` // the most important first
	Stages    []StageTime     `json:"stages"`
	Balances  []Balance       `json:"balances"`
}

// FindingKind is the kind of a [Finding].
type FindingKind string

// The kinds of findings.
const (
	FoundError     FindingKind = "error"     // it failed, or an operation did
	FoundWaiting   FindingKind = "waiting"   // nothing is performed, and why
	FoundSlow      FindingKind = "slow"      // operations or a node take much longer than others
	FoundFew       FindingKind = "few"       // fewer operations than could be performed at once
	FoundShort     FindingKind = "short"     // operations so short that starting them costs more than they do
	FoundRepeated  FindingKind = "repeated"  // work was done more than once
	FoundBad       FindingKind = "bad"       // records were left out
	FoundImbalance FindingKind = "imbalance" // records or bytes of one stage are not those of the next
)

// Finding is one thing that explains how an execution goes.
type Finding struct {
	Kind       FindingKind   `json:"kind"`
	Stage      string        `json:"stage,omitempty"`
	Operations []OperationID `json:"operations,omitempty"` // at most 10
	Node       NodeID        `json:"node,omitempty"`
	Text       string        `json:"text"`
	Advice     string        `json:"advice,omitempty"` // what can be done about it
}

// StageTime says where the time of an execution went. Times of operations are
// those of their completed attempts.
type StageTime struct {
	Stage       string  `json:"stage"`
	CoreSeconds float64 `json:"core_seconds"`
	Median      float64 `json:"median_seconds"` // of one operation
	Longest     float64 `json:"longest_seconds"`
	Slowest     string  `json:"slowest,omitempty"` // operation that took longest
}

// Balance compares what a stage was given with what was made for it. A stage that
// is not complete has not read everything yet, or part of it was read and made by
// another execution, or over another input.
type Balance struct {
	Stage      string   `json:"stage"`
	From       []string `json:"from"`        // stages that it reads, or "input"
	RecordsIn  int64    `json:"records_in"`  // that were read, those left out as bad among them
	RecordsOut int64    `json:"records_out"` // that were made; of the input: -1, not known before it is read
	BytesIn    int64    `json:"bytes_in"`
	BytesOut   int64    `json:"bytes_out"`
	Complete   bool     `json:"complete"`
	Equal      bool     `json:"equal"`
}
