package worker

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/zeebo/xxh3"

	"stint"
)

// Writes of any sizes, in any order, stand in the file as they came: the sizes
// here are those at which a part is collected, written through, or flushed first.
func TestAPartHasItsBytesInTheOrderOfTheWrites(t *testing.T) {
	t.Parallel()
	sizes := []int{0, 1, 61501, partBuffer/2 - 1, partBuffer / 2, 143398, partBuffer - 1, partBuffer, partBuffer + 1}
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0))
		f, err := os.Create(filepath.Join(t.TempDir(), "part"))
		if err != nil {
			t.Fatal(err)
		}
		part := &partFile{file: f, sum: xxh3.New()}
		var want []byte
		for range 12 {
			p := make([]byte, sizes[r.IntN(len(sizes))])
			for i := range p {
				p[i] = byte(r.Uint32())
			}
			want = append(want, p...)
			if n, err := part.Write(p); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
		}
		var d DoneRecord
		if err := part.commit(t.Context(), 0, &d); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) || d.Part.Bytes != int64(len(want)) || d.Part.Sum != xxh3.Hash(want) {
			t.Errorf("seed %d: the part differs from what was written", seed)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAStageThatSaysHowMuchMemoryItTakesSortsWithHalfOfIt(t *testing.T) {
	t.Parallel()
	s := &slot{setup: &Setup{Memory: 7 << 20}}
	if got := s.memory(&stint.StageSpec{}); got != 7<<20 {
		t.Errorf("%d bytes by default", got)
	}
	stage := &stint.StageSpec{Stage: stint.Stage{Resources: stint.Resources{Memory: 6 << 30}}}
	if got := s.memory(stage); got != 3<<30 {
		t.Errorf("%d bytes of 6 GiB", got)
	}
}
