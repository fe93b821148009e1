package worker

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"stint"
	"stint/internal/shuffle"
)

func benchmarkText() []byte {
	var b bytes.Buffer
	for i := range 20000 {
		fmt.Fprintf(&b, "key%07d\tvalue %d\n", i*7919%20000, i)
	}
	return b.Bytes()
}

func benchmarkSorted(b *testing.B, form *textForm) {
	b.Helper()
	w, err := shuffle.NewWriter(shuffle.Config{Partitions: 8, Budget: 64 << 20, Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	text := benchmarkText()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		out := &sortedOutput{Writer: w, text: textLines{form: form}}
		for from := 0; from < len(text); from += 64 << 10 {
			if _, err := out.Write(text[from:min(from+64<<10, len(text))]); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Reset(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLinesIntoSorting(b *testing.B) {
	for name, s := range map[string]*stint.Streaming{"lines": nil, "hadoop": {Mode: stint.StreamHadoop}, "fields": {Separator: "::", KeyFields: 2}} {
		b.Run(name, func(b *testing.B) { benchmarkSorted(b, formOf(s)) })
	}
}

// repeated is one record again and again.
type repeated struct{ left int }

// Next returns the record.
func (r *repeated) Next() (key, value []byte, err error) {
	if r.left--; r.left < 0 {
		return nil, nil, io.EOF
	}
	return []byte("key0001234"), []byte("value 1234"), nil
}

func BenchmarkRecordsIntoText(b *testing.B) {
	const n = 100000
	b.SetBytes(n * 22)
	buf := make([]byte, 256<<10)
	for b.Loop() {
		r := &recordReader{source: &repeated{left: n}, form: formOf(nil)}
		for {
			if _, err := r.Read(buf); err != nil {
				break
			}
		}
	}
}
