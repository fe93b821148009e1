package stint

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// ExecutionID names one execution: "x-" and 16 lower-case letters and digits.
type ExecutionID string

// NodeID names one computing node: "n-" and 12 lower-case letters and digits.
// It lives in the node's data folder: a node whose folder is gone is another node.
type NodeID string

// Incarnation numbers the starts of one node manager on its folder: each has a higher
// number than those before, and one that no start on a copy of the folder has. Grants
// are bound to it: a new incarnation voids the grants of older ones.
type Incarnation uint64

// StaleIncarnation is why a start of a node is refused of which a later one is
// known. It is the cause of an [Error] with the code [Conflict].
type StaleIncarnation struct {
	Node  NodeID
	Known Incarnation // the latest
	Own   Incarnation // of the start that is refused
}

// Error says it for people.
func (s *StaleIncarnation) Error() string {
	return fmt.Sprintf("stale_incarnation: node %s has started anew, as incarnation %d; this is incarnation %d", s.Node, s.Known, s.Own)
}

// NodeRemoved is why a node is refused for good: somebody has removed it from its
// service. It is the cause of an [Error] with the code [Denied].
type NodeRemoved struct{ Node NodeID }

// Error says it for people.
func (r *NodeRemoved) Error() string {
	return fmt.Sprintf("node_removed: node %s was removed from this service; a new data folder makes a new node", r.Node)
}

// Epoch counts the owners of an execution's record, from 1. What an older owner
// decided is refused by the store.
type Epoch uint64

// JobID numbers the jobs of one execution, from 1.
type JobID uint32

// String returns the id as people see it: "j-12".
func (j JobID) String() string { return "j-" + strconv.FormatUint(uint64(j), 10) }

// ParseJobID reads what [JobID.String] writes.
func ParseJobID(s string) (JobID, error) {
	digits, ok := strings.CutPrefix(s, "j-")
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n == 0 || JobID(n).String() != s {
		return 0, Errorf(Invalid, "job %q: expected j-1, j-2, …", s)
	}
	return JobID(n), nil
}

// OperationID names an operation within its execution: stage name, slash,
// number from 0, as "map/17". It is the same in every attempt and stint.
type OperationID string

// MakeOperationID returns the id of operation number op of the named stage.
func MakeOperationID(stage string, op uint32) OperationID {
	return OperationID(stage + "/" + strconv.FormatUint(uint64(op), 10))
}

// Split returns the stage's name and the operation's number.
func (o OperationID) Split() (stage string, op uint32, err error) {
	stage, digits, ok := strings.Cut(string(o), "/")
	n, perr := strconv.ParseUint(digits, 10, 32)
	if !ok || perr != nil || MakeOperationID(stage, uint32(n)) != o {
		return "", 0, Errorf(Invalid, "operation %q: expected STAGE/NUMBER, as map/17", string(o))
	}
	return stage, uint32(n), nil
}

// Digest is a BLAKE3-256 digest: of a program file's bytes, of a stage's
// closure, of an operation's identity.
type Digest [32]byte

// String returns the digest as 64 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether the digest was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText writes [Digest.String].
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads [Digest.String].
func (d *Digest) UnmarshalText(text []byte) error {
	v, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// ParseDigest reads what [Digest.String] writes, in its one spelling.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) || s != strings.ToLower(s) {
		return Digest{}, Errorf(Invalid, "digest %.80q: expected 64 lower-case hexadecimal digits", s)
	}
	copy(d[:], b)
	return d, nil
}

// idAlphabet is what random ids are made of: no letters that are mistaken for digits.
const idAlphabet = "abcdefghjkmnpqrstuvwxyz023456789"

// MakeExecutionID makes an id of 16 or more random bytes that the caller brings.
func MakeExecutionID(random []byte) ExecutionID { return ExecutionID("x-" + encodeID(random, 16)) }

// MakeNodeID makes an id of 12 or more random bytes that the caller brings.
func MakeNodeID(random []byte) NodeID { return NodeID("n-" + encodeID(random, 12)) }

func encodeID(random []byte, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = idAlphabet[random[i]%byte(len(idAlphabet))]
	}
	return string(b)
}

// ParseExecutionID checks the spelling of an execution's id.
func ParseExecutionID(s string) (ExecutionID, error) {
	if err := checkID(s, "x-", 16); err != nil {
		return "", fmt.Errorf("execution %.80q: %w", s, err)
	}
	return ExecutionID(s), nil
}

// ParseNodeID checks the spelling of a node's id.
func ParseNodeID(s string) (NodeID, error) {
	if err := checkID(s, "n-", 12); err != nil {
		return "", fmt.Errorf("node %.80q: %w", s, err)
	}
	return NodeID(s), nil
}

func checkID(s, prefix string, n int) error {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) != n || strings.Trim(rest, idAlphabet) != "" {
		return Errorf(Invalid, "expected %s and %d letters or digits", prefix, n)
	}
	return nil
}
