package object

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stint"
)

func TestWhatIsTakenStaysWhenItsOriginGoes(t *testing.T) {
	t.Parallel()
	ours, dir := openStorage(t)
	theirs, _ := openStorage(t)
	for name, from := range map[string]*Storage{"from itself": ours, "from another storage": theirs} {
		for _, before := range []string{"", "something else"} {
			check(t, from.Put(t.Context(), "saved/a/pack", strings.NewReader("output")))
			check(t, ours.Delete(t.Context(), "saved/b/reused-0"))
			if before != "" { // which cannot be linked to: what is there is replaced
				check(t, ours.Put(t.Context(), "saved/b/reused-0", strings.NewReader(before)))
			}
			check(t, ours.Take(t.Context(), from, "saved/a/pack", "saved/b/reused-0"))
			linked := sameFile(filepath.Join(from.String(), "saved/a/pack"), filepath.Join(dir, "saved/b/reused-0"))
			if before == "" && from == ours && !linked {
				t.Errorf("%s: the bytes were copied", name)
			}
			check(t, from.DeleteAll(t.Context(), "saved/a/"))
			f, err := ours.Get(t.Context(), "saved/b/reused-0")
			check(t, err)
			if got, err := io.ReadAll(f); err != nil || string(got) != "output" {
				t.Errorf("%s: got %q, %v", name, got, err)
			}
			check(t, f.Close())
		}
	}
}

func sameFile(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(x, y)
}

func TestWhatIsNotThereIsNotTaken(t *testing.T) {
	t.Parallel()
	s, dir := openStorage(t)
	if err := s.Take(t.Context(), s, "saved/a/pack", "saved/b/pack"); stint.CodeOf(err) != stint.NotFound {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "saved")); !os.IsNotExist(err) {
		t.Errorf("it left something: %v", err)
	}
	check(t, s.Put(t.Context(), "a", strings.NewReader("x")))
	for _, keys := range [][2]string{{"../a", "b"}, {"a", "../b"}} {
		if err := s.Take(t.Context(), s, keys[0], keys[1]); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%v: %v", keys, err)
		}
	}
}
