package object

import (
	"fmt"
	"io"
	"os"
	"testing"

	"stint"
	"stint/internal/object/s3test"
)

func BenchmarkBucket(b *testing.B) {
	server := s3test.Start(b)
	server.Bucket(b, "bench")
	a := &Access{Environment: server.Getenv, Scratch: b.TempDir()}
	p, err := a.prefix("s3://bench")
	check(b, err)
	b.Run("list 10000", func(b *testing.B) {
		for i := range 10_000 {
			_, err := p.write(b.Context(), fmt.Sprintf("in/%d/%d", i%20, i), []byte("x"), condition{})
			check(b, err)
		}
		for b.Loop() {
			l, err := a.List(b.Context(), Inputs{Locations: []string{"s3://bench/in"}})
			if err != nil || len(l.Objects) != 10_000 {
				b.Fatal(len(l.Objects), err)
			}
		}
	})
	const size = 256 << 20
	f, err := os.CreateTemp(b.TempDir(), "part-")
	check(b, err)
	defer f.Close() //nolint:errcheck // only read
	check(b, f.Truncate(size))
	x := stint.ExecutionID("x-aaaaaaaaaaaaaaaa")
	check(b, probed(a.Probe(b.Context(), "s3://bench/out", x, false)))
	b.Run("stage", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			check(b, a.StagePart(b.Context(), "s3://bench/out", x, "part", f))
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(size)
		info, err := p.stat(b.Context(), "out/_stint/"+string(x)+"/part")
		check(b, err)
		o := stint.Object{URL: p.url(info.Key), Size: info.Size, Version: info.ETag}
		for b.Loop() {
			r, err := a.OpenRange(b.Context(), o, 0, size)
			check(b, err)
			n, err := io.Copy(io.Discard, r)
			if check(b, err); n != size {
				b.Fatal(n)
			}
			check(b, r.Close())
		}
	})
}
