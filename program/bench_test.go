package program_test

import (
	"bytes"
	"io"
	"testing"

	"stint/internal/frame"
	"stint/program"
)

func BenchmarkMap(b *testing.B) {
	in, err := frame.AppendBegin(nil, &frame.Begin{Stage: "count", Role: frame.Map})
	if err != nil {
		b.Fatal(err)
	}
	line := []byte("ten words of some letters each make up one line")
	var batch frame.Batch
	var length int64
	for i := range 20000 {
		if err := batch.Add(int64(i), nil, line); err != nil {
			b.Fatal(err)
		}
		length += int64(len(line) + 1)
		if batch.Full() {
			in = batch.AppendFrame(in)
		}
	}
	in = frame.AppendEnd(batch.AppendFrame(in), 20000)
	b.SetBytes(length)
	b.ReportAllocs()
	for b.Loop() {
		if err := program.Serve(b.Context(), wordcount(), bytes.NewReader(in), io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
