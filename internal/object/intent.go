package object

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"stint"
)

const intentName = "_commit"

// intent is what a commit is about to do. It stands in the staging folder from
// before the first rename until all is done.
type intent struct {
	Manifest Manifest `json:"manifest"`
	Staged   []string `json:"staged"` // the staged name of each part of the manifest
}

func makeIntent(by Turn, program string, parts []stint.Part, missing []stint.Missing) (intent, error) {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b stint.Part) int { return int(int64(a.Op) - int64(b.Op)) })
	in := intent{
		Manifest: Manifest{Format: manifestFormat, Execution: by.Execution, Generation: by.Generation, Stint: by.Stint, Program: program, Missing: missingTexts(missing), Parts: make([]ManifestPart, len(parts))},
		Staged:   make([]string, len(parts)),
	}
	staged := make(map[string]bool, len(parts))
	for i, p := range parts {
		if err := checkPartName(p.Name); err != nil {
			return intent{}, err
		}
		if staged[p.Name] || (i > 0 && parts[i-1].Op == p.Op) || p.Bytes < 0 {
			return intent{}, stint.Errorf(stint.Invalid, "part %d, staged as %.80q: listed twice, or of negative size", p.Op, p.Name)
		}
		staged[p.Name] = true
		in.Staged[i] = p.Name
		in.Manifest.Parts[i] = ManifestPart{Name: partName(p.Op), Bytes: p.Bytes, Sum: fmt.Sprintf("%016x", p.Sum)}
		in.Manifest.Bytes += p.Bytes
	}
	return in, nil
}

func missingTexts(list []stint.Missing) []ManifestMissing {
	var out []ManifestMissing
	for _, m := range list {
		text := ManifestMissing{Operation: m.Operation}
		if m.Error != nil {
			text.Reason = m.Error.Error()
		}
		out = append(out, text)
	}
	return out
}

// equal reports whether two manifests say the same of the output, whichever commit of
// the execution made it.
func (m Manifest) equal(n Manifest) bool {
	return m.Format == n.Format && m.Execution == n.Execution && m.Program == n.Program && m.Bytes == n.Bytes && slices.Equal(m.Parts, n.Parts) && slices.Equal(m.Missing, n.Missing)
}

func (in intent) equal(other intent) bool {
	return in.Manifest.equal(other.Manifest) && slices.Equal(in.Staged, other.Staged)
}

func (o outputFolder) readIntent() (intent, bool, error) {
	b, err := readBounded(o.staged(intentName))
	if errors.Is(err, fs.ErrNotExist) {
		return intent{}, false, nil
	}
	if err != nil {
		return intent{}, false, err
	}
	in, err := decodeIntent(b)
	if err != nil {
		return intent{}, false, failure(err, "read %q", o.staged(intentName))
	}
	return in, true, nil
}

func decodeIntent(b []byte) (intent, error) {
	var in intent
	if err := json.Unmarshal(b, &in); err != nil {
		return intent{}, stint.Errorf(stint.Invalid, "decode commit: %w", err)
	}
	if err := in.Manifest.check(); err != nil {
		return intent{}, err
	}
	if len(in.Staged) != len(in.Manifest.Parts) {
		return intent{}, stint.Errorf(stint.Invalid, "commit: %d staged names for %d parts", len(in.Staged), len(in.Manifest.Parts))
	}
	for _, name := range in.Staged {
		if err := checkPartName(name); err != nil {
			return intent{}, err
		}
	}
	return in, nil
}
