package object

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"stint"
)

const (
	manifestName   = "_manifest.json"
	manifestFormat = 1
	// maxManifest bounds what is read into memory: more than a million parts fit.
	maxManifest = 256 << 20
)

// Manifest says what an output consists of. It is written once, as indented
// JSON; who writes it knows every part to be there.
type Manifest struct {
	Format    int               `json:"format"` // of this file: 1
	Execution stint.ExecutionID `json:"execution"`
	// Generation and Stint say which commit of the execution it was, see [Turn]; 0: not said.
	Generation uint64         `json:"generation,omitempty"`
	Stint      int            `json:"stint,omitempty"`
	Program    string         `json:"program"` // name@blake3:digest
	Parts      []ManifestPart `json:"parts"`   // by number
	Bytes      int64          `json:"bytes"`   // of all parts
	// Missing is what the output is without, of an execution that was to complete
	// as much as possible. Then there is no _SUCCESS.
	Missing []ManifestMissing `json:"missing,omitempty"`
}

// ManifestMissing is an operation that failed for good, or none where the reason is
// that too many records were left out.
type ManifestMissing struct {
	Operation stint.OperationID `json:"operation,omitempty"`
	Reason    string            `json:"reason"`
}

// ManifestPart is one part of an output.
type ManifestPart struct {
	Name  string `json:"name"` // of the file beside the manifest: part-00000
	Bytes int64  `json:"bytes"`
	Sum   string `json:"xxh3"` // XXH3-64 of its bytes, 16 lower-case hexadecimal digits
}

func (m Manifest) isIncomplete() bool { return len(m.Missing) > 0 }

func partName(op uint32) string { return fmt.Sprintf("part-%05d", op) }

// isPartName reports whether [Commit] may have given a file this name.
func isPartName(name string) bool {
	digits, ok := strings.CutPrefix(name, "part-")
	return ok && len(digits) >= 5 && strings.Trim(digits, "0123456789") == ""
}

func encodeJSON(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return append(b, '\n'), nil
}

// decodeManifest accepts what a commit writes and nothing that is cut or inconsistent.
func decodeManifest(b []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil { // refuses data after the end too
		return Manifest{}, stint.Errorf(stint.Invalid, "decode manifest: %w", err)
	}
	return m, m.check()
}

// check refuses a manifest that does not agree with itself.
func (m Manifest) check() error {
	if m.Format != manifestFormat {
		return stint.Errorf(stint.Invalid, "manifest has format %d, this build knows %d", m.Format, manifestFormat)
	}
	left := m.Bytes
	for i, p := range m.Parts {
		sum := strings.Trim(p.Sum, "0123456789abcdef") == "" && len(p.Sum) == 16
		if !isPartName(p.Name) || p.Bytes < 0 || p.Bytes > left || !sum {
			return stint.Errorf(stint.Invalid, "manifest: part %d of %d is not a part: name %.80q, %d bytes, xxh3 %.80q", i+1, len(m.Parts), p.Name, p.Bytes, p.Sum)
		}
		if i > 0 && !partLess(m.Parts[i-1].Name, p.Name) {
			return stint.Errorf(stint.Invalid, "manifest: %s does not come after %s", p.Name, m.Parts[i-1].Name)
		}
		left -= p.Bytes
	}
	if left != 0 {
		return stint.Errorf(stint.Invalid, "manifest: the parts have %d bytes, not %d", m.Bytes-left, m.Bytes)
	}
	return nil
}

// partLess orders names of parts by their numbers: part-99999 before part-100000.
func partLess(a, b string) bool {
	return len(a) < len(b) || (len(a) == len(b) && a < b)
}

// manifest reads the manifest in the folder.
func (o outputFolder) manifest(context.Context) (Manifest, error) {
	m, err := readManifestFile(o.path(manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, stint.Errorf(stint.NotFound, "no output at %q: it has no %s", o.dir, manifestName)
	}
	return m, err
}

// readManifestFile keeps fs.ErrNotExist in the chain.
func readManifestFile(path string) (Manifest, error) {
	b, err := readBounded(path)
	if err != nil {
		return Manifest{}, err
	}
	m, err := decodeManifest(b)
	if err != nil {
		return Manifest{}, failure(err, "read %q", path)
	}
	return m, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, failure(err, "open %q", path)
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, failure(err, "read %q", path)
	}
	if len(b) > maxManifest {
		return nil, stint.Errorf(stint.Invalid, "%q is longer than %d bytes", path, maxManifest)
	}
	return b, nil
}

func (o outputFolder) checkParts(_ context.Context, parts []ManifestPart) error {
	return checkParts(o.dir, parts)
}

// checkParts finds parts that are missing or have another size than the manifest says.
func checkParts(dir string, parts []ManifestPart) error {
	for _, p := range parts {
		info, err := os.Stat(filepath.Join(dir, p.Name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return stint.Errorf(stint.Invalid, "output %q is incomplete: %s is missing", dir, p.Name)
		case err != nil:
			return failure(err, "look at part %s of %q", p.Name, dir)
		case !info.Mode().IsRegular() || info.Size() != p.Bytes:
			return stint.Errorf(stint.Invalid, "output %q is incomplete: %s has %d bytes, its manifest says %d", dir, p.Name, info.Size(), p.Bytes)
		}
	}
	return nil
}

// openPart opens a part that has its final name.
func (o outputFolder) openPart(_ context.Context, name string) (io.ReadCloser, int64, error) {
	return openFile(o.path(name))
}
