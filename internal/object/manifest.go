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

	"github.com/zeebo/xxh3"

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
	Program   string            `json:"program"` // name@blake3:digest
	Parts     []ManifestPart    `json:"parts"`   // by number
	Bytes     int64             `json:"bytes"`   // of all parts
	// Missing is what the output is without, of an execution that was to complete
	// as much as possible. Then there is no _SUCCESS.
	Missing []ManifestMissing `json:"missing,omitempty"`
}

// ManifestMissing is an operation that failed for good.
type ManifestMissing struct {
	Operation stint.OperationID `json:"operation"`
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

// ReadManifest reads the manifest of the output at a location. The error is
// [stint.NotFound] if there is no output and [stint.Invalid] if its manifest is
// cut, altered or of another format.
func ReadManifest(ctx context.Context, location string) (Manifest, error) {
	if err := ctx.Err(); err != nil {
		return Manifest{}, &stint.Error{Code: stint.Canceled, Message: "read manifest", Err: err}
	}
	dir, err := Path(location)
	if err != nil {
		return Manifest{}, err
	}
	m, err := readManifestFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, stint.Errorf(stint.NotFound, "no output at %q: it has no %s", dir, manifestName)
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

// AllParts asks [Copy] for the whole output.
const AllParts = -1

// Copy writes the parts of the output at a location, one after the other, or
// the one at a position in the manifest, and returns how many bytes it wrote.
// Nothing is written unless every part asked for is there with its size; bytes
// that do not have the manifest's checksum are an error after they are written.
// Both are [stint.Invalid]; a part that is not in the manifest is [stint.NotFound].
func Copy(ctx context.Context, w io.Writer, location string, part int) (int64, error) {
	m, err := ReadManifest(ctx, location)
	if err != nil {
		return 0, err
	}
	dir, err := Path(location)
	if err != nil {
		return 0, err
	}
	parts := m.Parts
	if part != AllParts {
		if part < 0 || part >= len(parts) {
			return 0, stint.Errorf(stint.NotFound, "output %q has %d parts, no part %d", dir, len(parts), part)
		}
		parts = parts[part : part+1]
	}
	if err := checkParts(dir, parts); err != nil {
		return 0, err
	}
	var total int64
	for _, p := range parts {
		n, err := copyPart(ctx, w, dir, p)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
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

func copyPart(ctx context.Context, w io.Writer, dir string, p ManifestPart) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, &stint.Error{Code: stint.Canceled, Message: "read part " + p.Name, Err: err}
	}
	f, err := os.Open(filepath.Join(dir, p.Name))
	if err != nil {
		return 0, failure(err, "open part %s of %q", p.Name, dir)
	}
	defer f.Close() //nolint:errcheck // only read
	sum := xxh3.New()
	n, err := io.CopyBuffer(onlyWriter{w}, io.TeeReader(&stoppingReader{ctx.Err, f}, sum), make([]byte, copyBuffered))
	if err != nil {
		return n, failure(err, "copy part %s of %q", p.Name, dir)
	}
	if got := fmt.Sprintf("%016x", sum.Sum64()); n != p.Bytes || got != p.Sum {
		return n, stint.Errorf(stint.Invalid, "output %q was altered: %s has %d bytes with xxh3 %s, its manifest says %d with %s", dir, p.Name, n, got, p.Bytes, p.Sum)
	}
	return n, nil
}
