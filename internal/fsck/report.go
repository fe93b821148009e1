package fsck

import (
	"fmt"
	"slices"
	"sync"

	"stint"
)

// Report is what was looked at and what was found.
type Report struct {
	Data       string     `json:"data"`
	Storage    string     `json:"storage,omitempty"`
	Running    bool       `json:"running"` // the service ran meanwhile
	Looked     Looked     `json:"looked"`
	Findings   []Finding  `json:"findings"`
	Unlooked   []Unlooked `json:"not_looked_at"`
	Seconds    float64    `json:"seconds"`
	Lost       int        `json:"lost"`       // findings of each severity
	Repairable int        `json:"repairable"` // findings
	Leftovers  int        `json:"leftover"`   // findings
}

// Looked counts what was looked at.
type Looked struct {
	Executions int64 `json:"executions"`
	Operations int64 `json:"operations"`
	Nodes      int64 `json:"nodes"`
	Blocks     int64 `json:"blocks"`
	Packs      int64 `json:"packs"`
	Parts      int64 `json:"parts"` // of outputs
	Bytes      int64 `json:"bytes"` // whose checksums were compared
}

// Unlooked is what could not be looked at, or was not to be.
type Unlooked struct {
	Place   string `json:"place"`
	Why     string `json:"why"`
	Failure bool   `json:"failure"` // it should have been
}

// Worst returns the worst severity found; "" if nothing was.
func (r *Report) Worst() Severity {
	if len(r.Findings) == 0 {
		return ""
	}
	return r.Findings[0].Severity
}

// Blind reports whether something could not be looked at that should have been.
func (r *Report) Blind() bool {
	return slices.ContainsFunc(r.Unlooked, func(u Unlooked) bool { return u.Failure })
}

// notes gathers what one look finds. Safe for concurrent use.
type notes struct {
	mu       sync.Mutex
	looked   Looked
	findings []Finding
	unlooked []Unlooked
	seen     map[string]bool
	wide     bool         // what is found is looked for when everything is looked at, and else not
	tell     func(Looked) // called now and then; nil: nobody listens
}

// find enters a finding with the severity of its code.
func (n *notes) find(code Code, x stint.ExecutionID, place, format string, args ...any) {
	n.findAs(MeaningOf(code).Severity, code, x, place, format, args...)
}

// findAs enters a finding that is less than the worst of its code.
func (n *notes) findAs(severity Severity, code Code, x stint.ExecutionID, place, format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := Finding{Code: code, Severity: severity, Execution: x, Place: place, Text: fmt.Sprintf(format, args...), Advice: MeaningOf(code).Advice, wide: n.wide}
	if severity == Repairable && MeaningOf(code).Severity == Lost {
		f.Advice = nothing
	}
	if n.seen == nil {
		n.seen = make(map[string]bool)
	}
	if !n.seen[f.spot()] {
		n.seen[f.spot()] = true
		n.findings = append(n.findings, f)
	}
}

// pass notes that something is left out, and why.
func (n *notes) pass(place, format string, args ...any) {
	n.leave(Unlooked{Place: place, Why: fmt.Sprintf(format, args...)})
}

// blind notes that something could not be looked at.
func (n *notes) blind(place string, err error) {
	n.leave(Unlooked{Place: place, Why: err.Error(), Failure: true})
}

func (n *notes) leave(u Unlooked) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.unlooked, u) {
		n.unlooked = append(n.unlooked, u)
	}
}

// count adds to what was looked at.
func (n *notes) count(add func(*Looked)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	add(&n.looked)
	if n.tell != nil {
		n.tell(n.looked)
	}
}
