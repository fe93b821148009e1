package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"
)

func TestBenchTextHasItsSizeAndTheLiteral(t *testing.T) {
	t.Parallel()
	b := &bench{dir: t.TempDir(), size: 20 << 20}
	path, err := b.makeText()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("needle-in-the-text")); int64(len(text)) != b.size || n == 0 || n > 100 {
		t.Errorf("%d bytes, %d times the literal", len(text), n)
	}
	if again := nextLine(vocabulary(rand.New(rand.NewPCG(1, 2))), 0); !bytes.HasPrefix(text, []byte(again)) {
		t.Error("the text is not the same every time")
	}
}

func TestCPUSecondsCountOurOwn(t *testing.T) {
	t.Parallel()
	before := cpuSeconds(os.Getpid())
	for i := 0; cpuSeconds(os.Getpid()) == before; i++ {
		if i > 1_000_000 {
			t.Fatal("no CPU time is seen")
		}
	}
}
