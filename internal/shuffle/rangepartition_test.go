package shuffle

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// countNotGreater is the rule, the simplest way there is.
func countNotGreater(splitters [][]byte, key []byte, n uint32) uint32 {
	count := uint32(0)
	for _, s := range splitters {
		if bytes.Compare(s, key) <= 0 {
			count++
		}
	}
	return min(count, n-1)
}

func checkRanges(t *testing.T, splitters, keys [][]byte, n uint32) {
	t.Helper()
	slices.SortFunc(splitters, bytes.Compare)
	partition := RangePartitioner(splitters)
	for _, key := range append(keys, splitters...) {
		if got, want := partition(key, n), countNotGreater(splitters, key, n); got != want {
			t.Fatalf("key %q is in partition %d of %d, want %d; splitters %q", key, got, n, want, splitters)
		}
	}
}

func TestAKeyLiesBehindTheSplittersThatAreNotGreater(t *testing.T) {
	t.Parallel()
	for name, key := range keySets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(5, 7))
			for _, count := range []int{0, 1, 2, 3, 7, 8, 9, 100, 1000} {
				var splitters, keys [][]byte
				for range count {
					splitters = append(splitters, key(r))
				}
				for range 500 {
					keys = append(keys, key(r))
				}
				checkRanges(t, splitters, keys, uint32(count+1))
				checkRanges(t, splitters, keys, uint32(count/2+1))
			}
		})
	}
}

func FuzzRangePartition(f *testing.F) {
	f.Add([]byte("a,abcdefg,abcdefgh,abcdefghi,,\xff\xff\xff\xff\xff\xff\xff\xff"), []byte("abcdefgha"), uint32(9))
	f.Add([]byte("\x00,\x00\x00,\x00\x00\x00\x00\x00\x00\x00\x00"), []byte("\x00\x00\x00\x00\x00\x00\x00"), uint32(3))
	f.Fuzz(func(t *testing.T, splitters, key []byte, n uint32) {
		checkRanges(t, bytes.Split(splitters, []byte(",")), [][]byte{key}, n%100+1)
	})
}

// What is sorted by ranges is in order from one partition to the next.
func TestRangesMakeATotalOrder(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 3))
	splitters := [][]byte{[]byte("1"), []byte("120"), []byte("2"), []byte("7")}
	w := newWriter(t, Config{Partitions: 5, Partition: RangePartitioner(splitters), Dir: t.TempDir()})
	for range 10_000 {
		if err := w.Emit(keySets()["words"](r), nil); err != nil {
			t.Fatal(err)
		}
	}
	out := newOutput()
	if err := w.Finish(out); err != nil {
		t.Fatal(err)
	}
	list := out.records(t)
	if !slices.IsSortedFunc(list, func(a, b rec) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) }) || len(out.parts) != 5 {
		t.Fatalf("%d partitions, not in order", len(out.parts))
	}
}

func BenchmarkRangePartition(b *testing.B) {
	for _, count := range []int{15, 255, 4095} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			printable := func() []byte {
				key := make([]byte, 10)
				for i := range key {
					key[i] = ' ' + byte(r.IntN(95))
				}
				return key
			}
			var splitters, keys [][]byte
			for range count {
				splitters = append(splitters, printable())
			}
			for range 1 << 14 {
				keys = append(keys, printable())
			}
			slices.SortFunc(splitters, bytes.Compare)
			partition := RangePartitioner(splitters)
			i := 0
			for b.Loop() {
				partition(keys[i&(1<<14-1)], uint32(count+1))
				i++
			}
		})
	}
}
