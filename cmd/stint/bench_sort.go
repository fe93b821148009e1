package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"stint"
	"stint/internal/runner/native"
)

// benchSort sorts records beside the machine's sort, which is to make the same of them.
func benchSort(ctx context.Context, b *bench) (measurement, error) {
	size := 2 * b.size
	in, err := b.makeRecords(size)
	if err != nil {
		return measurement{}, err
	}
	program, err := native.Program("sort", nil)
	if err != nil {
		return measurement{}, err
	}
	ours, expected := filepath.Join(b.dir, "sorted"), filepath.Join(b.dir, "sorted-by-sort")
	theirs := func() (benchRun, error) {
		run, err := toolRun(ctx, "sort", "--parallel="+strconv.Itoa(runtime.NumCPU()), "-S", "1G", "-T", b.dir, "-o", expected, in)
		if err == nil {
			err = sameContent(ours, expected)
		}
		return run, err
	}
	if _, err := exec.LookPath("sort"); err != nil {
		b.app.say("stint: no reference for sort: %v\n", err)
		theirs = nil
	}
	req := stint.Request{Program: program, Inputs: []string{in}, Output: ours, Overwrite: true}
	m, err := b.measure(ctx, "sort", req, theirs, func(r benchRun) float64 { return float64(size) / r.cpu })
	m.Unit = perCoreSeconds
	if theirs != nil {
		m.Reference.Tool = "sort"
	}
	return m, err
}

// benchRecord is the length of a record, its LF included; benchKey of the random
// text that it begins with.
const (
	benchRecord = 100
	benchKey    = 10
)

// makeRecords writes records as those of TeraSort: a random key, the record's
// number, and what fills it up.
func (b *bench) makeRecords(size int64) (path string, err error) {
	path = filepath.Join(b.dir, "records")
	f, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("make records: %w", err)
	}
	defer f.Close() //nolint:errcheck // Flush tells
	w := bufio.NewWriterSize(f, 1<<20)
	r := rand.New(rand.NewPCG(3, 4))
	record := bytes.Repeat([]byte{'.'}, benchRecord)
	record[benchRecord-1] = '\n'
	for n := range size / benchRecord {
		const printable = '~' - ' ' + 1
		for i, x := 0, r.Uint64(); i < benchKey; i++ {
			record[i] = ' ' + byte(x%printable)
			x /= printable
			if i == benchKey/2 {
				x = r.Uint64()
			}
		}
		copy(record[benchKey:], fmt.Sprintf(" %020d", n))
		if _, err := w.Write(record); err != nil {
			return "", fmt.Errorf("make records: %w", err)
		}
	}
	return path, w.Flush()
}

// sameContent compares the parts in a folder, one after the other, with a file.
func sameContent(folder, expected string) error {
	parts, err := filepath.Glob(filepath.Join(folder, "part-*"))
	if err != nil {
		return err
	}
	slices.Sort(parts)
	f, err := os.Open(expected)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	theirs := bufio.NewReaderSize(f, 1<<20)
	at := int64(0)
	for _, part := range parts {
		n, err := samePrefix(part, theirs)
		at += n
		if err != nil {
			return fmt.Errorf("%s differs from %s, about byte %d of that: %w", part, expected, at, err)
		}
	}
	if _, err := theirs.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the parts in %s end at byte %d, %s does not", folder, at, expected)
	}
	return nil
}

// samePrefix compares a file with what comes next.
func samePrefix(path string, next *bufio.Reader) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // read only
	ours, theirs := make([]byte, 256<<10), make([]byte, 256<<10)
	for at := int64(0); ; {
		n, err := f.Read(ours)
		if n > 0 {
			if _, err := io.ReadFull(next, theirs[:n]); err != nil {
				return at, err
			}
			if !bytes.Equal(ours[:n], theirs[:n]) {
				return at, errors.New("other bytes")
			}
			at += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return at, nil
		}
		if err != nil {
			return at, err
		}
	}
}
