package worker

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzSplitters: boundaries that are accepted are the lines of the file, sorted,
// and fewer than there are partitions.
func FuzzSplitters(f *testing.F) {
	f.Add([]byte("a\nb\nc\n"), uint32(4))
	f.Add([]byte("b\na\n"), uint32(4))
	f.Add([]byte("a\n\n"), uint32(2))
	f.Add([]byte("no end"), uint32(2))
	f.Fuzz(func(t *testing.T, b []byte, partitions uint32) {
		path := filepath.Join(t.TempDir(), "ranges")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := readSplitters(path, partitions)
		if err != nil {
			return
		}
		text := bytes.Join(list, []byte{'\n'})
		if len(list) > 0 && b[len(b)-1] == '\n' {
			text = append(text, '\n')
		}
		if !bytes.Equal(text, b) || !slices.IsSortedFunc(list, bytes.Compare) || len(list) > 0 && uint32(len(list)) >= partitions {
			t.Fatalf("%d partitions: %q became %q", partitions, b, list)
		}
	})
}
