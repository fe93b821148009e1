package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"stint"
	"stint/internal/block"
	"stint/internal/object"
)

// remote is a stored object that is no file of this machine.
type remote struct {
	*bytes.Reader
	fault error // of reading on
}

func (r *remote) ReadAt(b []byte, off int64) (int, error) {
	if r.fault != nil {
		return 0, r.fault
	}
	return r.Reader.ReadAt(b, off)
}

func (*remote) Close() error { return nil }

func TestAPackThatLiesElsewhereIsReadThroughAScratchFile(t *testing.T) {
	t.Parallel()
	s := newService(t)
	a, _ := s.start(t, nodeA, t.TempDir(), 1)
	w := newWords(t, a, execX)
	w.count(t, a, 1, ops(0, 4))
	source := w.saved(t, a, "p", ops(0, 4))
	whole := must(os.ReadFile(filepath.Join(must(object.Path(s.storage))(t), source.Pack.Key)))(t)
	index := must(block.ReadPackIndex(bytes.NewReader(whole), *source.Pack))(t)

	folder := must(openFolder(t.TempDir()))(t)
	t.Cleanup(func() { _ = folder.close() })
	if err := os.MkdirAll(folder.work(execX), 0o700); err != nil {
		t.Fatal(err)
	}
	read := func(b []byte, fault error) (portion, answer) {
		t.Helper()
		p := &preparer{node: nodeB, folder: folder, packs: newPacks(&storages{})}
		stored := &remote{Reader: bytes.NewReader(b), fault: fault}
		p.packs.open[execX] = map[string]*openPack{" " + source.Pack.Key: {file: stored, index: index}}
		got, answer, err := p.fromPack(t.Context(), reading{execution: execX, edge: 2, partition: 1}, &source, namingOf(execX, 0, &source), source.Ops)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = got.files[0].Close() })
		return got, answer
	}

	got, bad := read(whole, nil)
	if len(got.runs) != 4 || !got.owned || len(bad.bad)+len(bad.silent) > 0 {
		t.Fatalf("%d runs, %+v", len(got.runs), bad)
	}
	for _, run := range got.runs {
		part, _ := index.Find(run.Op, 1)
		have := make([]byte, run.Length)
		if _, err := got.files[run.File].ReadAt(have, run.Offset); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, whole[part.Offset:part.Offset+part.Length]) || run.Edge != 2 || run.Records != part.Records {
			t.Errorf("operation %d has other bytes", run.Op)
		}
	}

	part, _ := index.Find(1, 1)
	altered := slices.Clone(whole)
	altered[part.Offset] ^= 1
	got, bad = read(altered, nil)
	equal(t, "bad", bad.bad, []stint.Range{ops(1, 2)})
	equal(t, "runs of the others", len(got.runs), 3)

	got, bad = read(whole, stint.Errorf(stint.Unavailable, "the storage does not answer"))
	equal(t, "nothing is said of them", bad.bad, []stint.Range(nil))
	equal(t, "silent", bad.silent, []stint.Range{ops(0, 4)})
	equal(t, "runs", len(got.runs), 0)

	_, bad = read(whole, stint.Errorf(stint.NotFound, "the pack was deleted"))
	equal(t, "bad", bad.bad, []stint.Range{ops(0, 4)})
}
