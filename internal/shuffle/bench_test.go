package shuffle

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// nowhere is an output that keeps nothing.
type nowhere struct{}

func (nowhere) Partition(uint32) (io.Writer, error) { return io.Discard, nil }
func (nowhere) AddRecords(int64)                    {}

// perCPU reports the rate by CPU time, which other processes disturb less.
func perCPU(b *testing.B, size int) func() {
	b.Helper()
	b.SetBytes(int64(size))
	before := cpuTime(b)
	return func() {
		b.ReportMetric(float64(size)*float64(b.N)/1e6/(cpuTime(b)-before).Seconds(), "MB/cpu-s")
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkWriter(b *testing.B, cfg Config, keys [][]byte, value []byte) {
	b.Helper()
	w := newWriter(b, cfg)
	size := 0
	for _, k := range keys {
		size += len(k) + len(value)
	}
	defer perCPU(b, size)()
	for b.Loop() {
		for _, k := range keys {
			if err := w.Emit(k, value); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Finish(nowhere{}); err != nil {
			b.Fatal(err)
		}
		if err := w.Reset(); err != nil {
			b.Fatal(err)
		}
	}
}

func teraKeys(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 1))
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = randomBytes(r, 10)
	}
	return keys
}

func wordKeys(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 1))
	z := rand.NewZipf(r, 1.1, 1, 200000)
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = []byte(strconv.FormatUint(z.Uint64()*2654435761%1000003, 36))
		if i%5 == 0 {
			keys[i] = append([]byte("longer-word-"), keys[i]...)
		}
	}
	return keys
}

func BenchmarkSort100Bytes(b *testing.B) {
	keys, value := teraKeys(1_000_000), bytes.Repeat([]byte("v"), 90)
	for _, partitions := range []uint32{1, 64} {
		b.Run("partitions="+strconv.Itoa(int(partitions)), func(b *testing.B) {
			benchmarkWriter(b, Config{Partitions: partitions, Budget: 1 << 30}, keys, value)
		})
	}
	b.Run("spills", func(b *testing.B) { benchmarkWriter(b, Config{Partitions: 1, Budget: 16 << 20}, keys, value) })
}

func BenchmarkWords(b *testing.B) {
	keys := wordKeys(1_000_000)
	for name, combine := range map[string]Combiner{"plain": nil, "combined": sum} {
		b.Run(name, func(b *testing.B) {
			benchmarkWriter(b, Config{Partitions: 16, Budget: 1 << 30, Combine: combine}, keys, []byte("1"))
		})
	}
}

func BenchmarkUrls(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	keys := make([][]byte, 500_000)
	for i := range keys {
		keys[i] = keySets()["urls"](r)
	}
	benchmarkWriter(b, Config{Partitions: 1, Budget: 1 << 30}, keys, []byte("1"))
}

func BenchmarkTinyOperations(b *testing.B) {
	benchmarkWriter(b, Config{Partitions: 4, Budget: 64 << 20}, wordKeys(10), []byte("1"))
}

func BenchmarkMerge(b *testing.B) {
	const total = 1_000_000
	value := bytes.Repeat([]byte("v"), 90)
	for _, k := range []int{16, 64, 256} {
		b.Run("K="+strconv.Itoa(k), func(b *testing.B) {
			var runs []Run
			for i := range k {
				w := newWriter(b, Config{Partitions: 1, Budget: 1 << 30})
				r := rand.New(rand.NewPCG(uint64(i), 1))
				for range total / k {
					if err := w.Emit(randomBytes(r, 10), value); err != nil {
						b.Fatal(err)
					}
				}
				out := newOutput()
				if err := w.Finish(out); err != nil {
					b.Fatal(err)
				}
				data := out.bytes[0].Bytes()
				runs = append(runs, Run{R: bytes.NewReader(data), Length: int64(len(data)), Order: uint32(i)})
			}
			defer perCPU(b, total*100)()
			for b.Loop() {
				m, err := NewMerge(runs, MergeConfig{Budget: 64 << 20})
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, _, err = m.Next()
				}
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
