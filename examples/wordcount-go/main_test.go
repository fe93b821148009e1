package main

import (
	"slices"
	"testing"

	"stint/program"
)

func TestWordsAreCounted(t *testing.T) {
	t.Parallel()
	got, err := program.Test{Stages: stages(), Order: []string{"count", "total"}, Params: map[string]string{"fold": "true"}, Subsets: 2}.Run("A rose is", "a rose is a rose")
	if want := []string{"a\t3", "is\t2", "rose\t3"}; err != nil || !slices.Equal(got.Lines, want) {
		t.Errorf("%v, %+v, want %q", err, got, want)
	}
}
