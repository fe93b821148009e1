// Command wordcount-go counts the words of text: a program for Stint written with its Go SDK.
package main

import (
	"iter"
	"strings"

	"stint/program"
)

func main() { program.Main(stages()) }

func stages() program.Stages {
	return program.Stages{
		"count": {Map: program.Map(words), Combine: program.Combine(sum)},
		"total": {Reduce: program.Reduce(total)},
	}
}

func words(ctx *program.Context, line string, emit func(string, int64)) error {
	if ctx.Param("fold") == "true" {
		line = strings.ToLower(line)
	}
	for word := range strings.FieldsSeq(line) {
		emit(word, 1)
	}
	return nil
}

func sum(_ *program.Context, _ string, counts iter.Seq[int64]) (n int64, err error) {
	for c := range counts {
		n += c
	}
	return n, nil
}

func total(ctx *program.Context, word string, counts iter.Seq[int64], emit func(string, int64)) error {
	n, err := sum(ctx, word, counts)
	emit(word, n)
	return err
}
