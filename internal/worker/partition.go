package worker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"stint"
	"stint/internal/shuffle"
)

// partitionerOf returns what says to which partition the records belong that an
// operation puts out; nil: their hash.
func partitionerOf(o *operation) (shuffle.Partitioner, error) {
	p := o.stage.Partitioner
	if p == nil {
		return nil, nil //nolint:nilnil // as shuffle.Config takes it
	}
	switch p.Kind {
	case stint.HashPartition, "":
		return nil, nil //nolint:nilnil // as shuffle.Config takes it
	case stint.FieldPartition:
		return shuffle.FieldPartitioner(p.Fields, p.Separator)
	case stint.RangePartition:
		path := rangesPath(o)
		if path == "" {
			return nil, stint.Errorf(stint.Invalid, "stage %q does not read stage %q as a broadcast, which names its ranges", o.stage.Name, p.From)
		}
		splitters, err := readSplitters(path, o.stage.Partitions)
		if err != nil {
			return nil, fmt.Errorf("ranges of stage %q from stage %q: %w", o.stage.Name, p.From, err)
		}
		return shuffle.RangePartitioner(splitters), nil
	}
	return nil, stint.Errorf(stint.Invalid, "partitioner %.80q of stage %q: hash, fields or range", p.Kind, o.stage.Name)
}

// rangesPath returns the file with the boundaries of the partitions of an
// operation's output; empty: there is none.
func rangesPath(o *operation) string {
	if p := o.stage.Partitioner; p != nil && p.Kind == stint.RangePartition {
		return o.attempt.Beside[p.From]
	}
	return ""
}

// readSplitters reads the least keys of all partitions but the first, sorted, one
// a line. There may be fewer: then the last partitions stay empty.
func readSplitters(path string, partitions uint32) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	in := bufio.NewReader(f)
	var list [][]byte
	for {
		key, err := readKey(in)
		switch {
		case err == io.EOF: //nolint:errorlint // readKey returns it itself
			return list, nil
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", len(list)+1, err)
		case uint32(len(list)+1) >= partitions:
			return nil, stint.Errorf(stint.Invalid, "line %d: %d partitions have at most %d boundaries", len(list)+1, partitions, partitions-1)
		case len(list) > 0 && bytes.Compare(list[len(list)-1], key) > 0:
			return nil, stint.Errorf(stint.Invalid, "line %d: %.40q comes after %.40q: expected them sorted", len(list)+1, key, list[len(list)-1])
		}
		list = append(list, key)
	}
}

// readKey reads a line, without its LF, that is no longer than a key may be.
func readKey(in *bufio.Reader) ([]byte, error) {
	var key []byte
	for {
		piece, err := in.ReadSlice('\n')
		key = append(key, piece...)
		switch {
		case err == nil:
			return key[:len(key)-1], nil
		case len(key) > shuffle.MaxKey:
			return nil, stint.Errorf(stint.Invalid, "longer than a key: at most %d bytes", shuffle.MaxKey)
		case err == io.EOF && len(key) > 0:
			return key, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
