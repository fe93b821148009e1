package block

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"stint/internal/wire"
)

// FuzzCopyLog: of a log of copies whatever frames are whole at its beginning are
// read, and nothing else.
func FuzzCopyLog(f *testing.F) {
	one, err := wire.AppendFrame(nil, Copied{Stage: 1, Op: 7, Block: Index{Segment: 3, Length: 5}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one)
	f.Add(append(bytes.Clone(one), one[:len(one)-1]...))
	f.Add([]byte("something else entirely"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		rest := b
		_ = readCopies(path, func(c Copied) error { // what it cannot decode it says; what it has read counts
			var d Copied
			n, err := wire.ReadFrame(bytes.NewReader(rest), &d)
			if err != nil || d.Stage != c.Stage || d.Op != c.Op || d.Block.Segment != c.Block.Segment || d.Block.Offset != c.Block.Offset || d.Block.Length != c.Block.Length {
				t.Fatalf("read %+v where %+v, %v is written", c, d, err)
			}
			rest = rest[n:]
			return nil
		})
	})
}

// FuzzCondemned: a file of condemned blocks counts as far as it can be read, and
// is cut there: what is appended to it then is read too.
func FuzzCondemned(f *testing.F) {
	one, err := wire.AppendFrame(nil, condemned{Stage: 0, Op: 1, Segment: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one)
	f.Add(append(bytes.Clone(one), 1, 2, 3))
	f.Add(bytes.Repeat(one, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := openStore(t, t.TempDir())
		fill(t, s, exec1, 0, 0, 3)
		path := s.condemnedPath(exec1)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.RemoveCondemned(exec1); err != nil {
			return // a frame that is whole and none of ours: said, not guessed at
		}
		left, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(b, left) {
			t.Fatalf("%d bytes are left of %d, %v", len(left), len(b), err)
		}
		if err := appendSynced(path, one); err != nil {
			t.Fatal(err)
		}
		if _, _, torn, err := s.readCondemned(exec1); torn || err != nil {
			t.Fatalf("torn %v, %v", torn, err)
		}
	})
}
