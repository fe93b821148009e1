package fsck

import (
	"fmt"
	"slices"

	"stint"
	"stint/internal/coord"
	"stint/internal/object"
	"stint/internal/store"
)

// judgeRecord compares the state that the journal makes with itself and with what
// the list of executions says. owner is the epoch of the record.
func judgeRecord(state *coord.State, l store.Loaded, owner stint.Epoch) []string {
	faults := state.Faults()
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if state.Status() != l.Status || state.Settled() != l.Settled {
		add("it is listed as %s, settled %t; its journal says %s, settled %t", l.Status, l.Settled, state.Status(), state.Settled())
	}
	switch {
	case l.Epoch > owner:
		add("it is of epoch %d, the record of epoch %d", l.Epoch, owner)
	case !l.Settled && l.Epoch != owner:
		add("it is not over and of epoch %d, the record of epoch %d", l.Epoch, owner)
	}
	return faults
}

// withoutDoubtful leaves out what is left over by what the record says, if not all of
// the record can be read: nobody is told to remove what it may speak of.
func withoutDoubtful(list []Finding) []Finding {
	unread := []Code{RecordDamaged, RecordStray, ExecutionUnreadable, ProgramUnreadable, SavedRecordDamaged}
	doubtful := []Code{BlocksLeft, WorkLeft, LogsLeft, BlobsLeft, OutputLeft, DraftLeft, StagingStray}
	if !slices.ContainsFunc(list, func(f Finding) bool { return slices.Contains(unread, f.Code) }) {
		return list
	}
	return slices.DeleteFunc(list, func(f Finding) bool { return slices.Contains(doubtful, f.Code) })
}

// misplaced is output that a folder on this machine does not have as the record says.
type misplaced struct {
	node    stint.NodeID
	stage   int
	missing []stint.Range
	damaged []stint.Range
	alone   bool // no whole copy of some of it is known
}

// held says what the folder of a node has of an execution; known is false of a node
// whose folder is not on this machine.
type held func(node stint.NodeID, x stint.ExecutionID) (h *holding, known bool)

// judgeBlocks compares where the record says that output lies with what the folders
// have. packed says whether a pack is whole. elsewhere are the nodes whose folders
// were not there to be looked at.
func judgeBlocks(state *coord.State, find held, packed func(key string) bool) (bad []*misplaced, elsewhere []stint.NodeID) {
	var all placings
	state.EachLodging(func(l coord.Lodging) {
		whole := slices.ContainsFunc(l.Packs, packed)
		var found []*misplaced
		for i, node := range l.Nodes {
			x, stage, op := state.ID(), l.Stage, l.Op
			if i == 0 && l.Origin != nil {
				x, stage, op = l.Origin.Execution, l.Origin.Stage, l.Origin.First
			}
			h, known := find(node, x)
			if !known {
				whole = true // for all that is known
				if !slices.Contains(elsewhere, node) {
					elsewhere = append(elsewhere, node)
				}
				continue
			}
			there, good := h.has(stage, op)
			if good {
				whole = true
				continue
			}
			m := all.of(node, l.Stage)
			if there {
				m.damaged = stint.AddToRanges(m.damaged, l.Op)
			} else {
				m.missing = stint.AddToRanges(m.missing, l.Op)
			}
			found = append(found, m)
		}
		for _, m := range found {
			m.alone = m.alone || !whole
		}
	})
	return all.list, elsewhere
}

// placings gathers what is misplaced, by node and stage.
type placings struct{ list []*misplaced }

func (p *placings) of(node stint.NodeID, stage int) *misplaced {
	at := slices.IndexFunc(p.list, func(m *misplaced) bool { return m.node == node && m.stage == stage })
	if at >= 0 {
		return p.list[at]
	}
	m := &misplaced{node: node, stage: stage}
	p.list = append(p.list, m)
	return m
}

// claims is what is expected of the saved state of an execution of this record.
type claims struct {
	status     stint.ExecutionStatus
	generation uint64
}

// verdictOnClaims says what is wrong with who owns an execution, and whether its saved
// state is this service's to be looked at.
type verdictOnClaims struct {
	code     Code // "": nothing is wrong
	severity Severity
	text     string
	ours     bool // what is saved must be there
}

// judgeClaims compares what storage says of the owner of an execution that is not over
// with what the record says.
func judgeClaims(x stint.ExecutionID, want claims, saved savedState) verdictOnClaims {
	latest, any := saved.latest()
	key := func(generation uint64) string { return fmt.Sprintf("saved/%s/owner-%06d", x, generation) }
	suspended := want.status == stint.Suspended
	switch {
	case saved.ended, any && !latest.ours && latest.generation >= want.generation:
		return verdictOnClaims{} // it went on, or has ended, elsewhere
	case suspended && len(saved.keys) == 0:
		return verdictOnClaims{code: SavedStateGone, severity: Lost, text: fmt.Sprintf("%s is suspended, and nothing of it is saved: it has come to its end elsewhere, or its saved state was deleted", x)}
	case want.generation > 1 && !saved.claims[want.generation] && (!any || latest.generation < want.generation):
		return verdictOnClaims{code: ClaimMissing, severity: Lost, text: fmt.Sprintf("%s is %s in generation %d, and %s is not there", x, want.status, want.generation, key(want.generation)), ours: true}
	case suspended && !any:
		return verdictOnClaims{code: ClaimMissing, severity: Repairable, text: fmt.Sprintf("%s is suspended in generation %d, and %s is not there", x, want.generation, key(want.generation)), ours: true}
	case suspended && !saved.records[want.generation]:
		return verdictOnClaims{code: SavedRecordMissing, severity: Lost, text: fmt.Sprintf("%s is suspended in generation %d, and the record of that is not in storage", x, want.generation), ours: true}
	}
	return verdictOnClaims{ours: true}
}

// savedState is what storage has of one execution, as far as judging it needs.
type savedState struct {
	keys    []object.Entry
	claims  map[uint64]bool // generations that are claimed
	records map[uint64]bool // and those that have a record
	last    claim
	ended   bool
}

type claim struct {
	generation uint64
	ours       bool
}

func (s *savedState) latest() (claim, bool) { return s.last, s.last.generation > 0 }

// judgeOutput says what is wrong with the output of an execution that has completed,
// but for the bytes of its parts. parts are those that its operations have written, none
// of one that completed elsewhere. own says that it lies in the service's storage, where
// nobody else removes anything.
func judgeOutput(x stint.ExecutionID, status stint.ExecutionStatus, f object.Found, parts []stint.Part, own bool) (code Code, text string, look bool) {
	switch {
	case f.Manifest != nil && f.Manifest.Execution != x:
		return "", fmt.Sprintf("the output of %s has taken its place", f.Manifest.Execution), false
	case f.Bad != nil:
		return ManifestDamaged, f.Bad.Error(), false
	case f.Taken:
		return "", "another output is taking its place", false
	case f.Manifest == nil && f.Parts > 0:
		return ManifestDamaged, fmt.Sprintf("there are %d parts and no _manifest.json", f.Parts), false
	case f.Manifest == nil && own:
		return OutputMissing, "there is no _manifest.json, and no part", false
	case f.Manifest == nil:
		return "", "it is not there any more: it was moved or removed", false
	case len(parts) > 0 && !sameParts(f.Manifest.Parts, parts):
		return ManifestAltered, "the parts in _manifest.json are not those that the execution has written", true
	}
	whole := status == stint.Completed
	switch {
	case whole && len(f.Manifest.Missing) > 0:
		return ManifestAltered, "_manifest.json says that something is missing, and the execution is completed", true
	case whole && !f.Success:
		return SuccessMissing, "the output is whole, and there is no _SUCCESS", true
	case !whole && f.Success:
		return SuccessUnfounded, fmt.Sprintf("there is a _SUCCESS, and the execution is %s", status), true
	}
	return "", "", true
}

func sameParts(said []object.ManifestPart, written []stint.Part) bool {
	return slices.EqualFunc(said, written, func(a object.ManifestPart, b stint.Part) bool { return a == object.PartOf(b) })
}
