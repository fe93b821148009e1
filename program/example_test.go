package program_test

import (
	"fmt"
	"iter"
	"strings"

	"stint/program"
)

func words(_ *program.Context, line string, emit func(string, int64)) error {
	for word := range strings.FieldsSeq(line) {
		emit(word, 1)
	}
	return nil
}

func sum(_ *program.Context, _ string, values iter.Seq[int64]) (total int64, err error) {
	for v := range values {
		total += v
	}
	return total, nil
}

func total(_ *program.Context, word string, values iter.Seq[int64], emit func(string, int64)) error {
	var n int64
	for v := range values {
		n += v
	}
	emit(word, n)
	return nil
}

func wordcount() program.Stages {
	return program.Stages{
		"count": {Map: program.Map(words), Combine: program.Combine(sum)},
		"total": {Reduce: program.Reduce(total)},
	}
}

// A program's main function is program.Main with the same stages.
func Example() {
	result, err := program.Test{Stages: wordcount(), Order: []string{"count", "total"}}.Run("a rose is", "a rose is a rose")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, line := range result.Lines {
		fmt.Println(line)
	}
	// Output:
	// a	3
	// is	2
	// rose	3
}
