package store

import (
	"path/filepath"
	"testing"

	"stint"
)

func TestClaimsAreKnownToTheRecordThatMadeThem(t *testing.T) {
	t.Parallel()
	db := owned(t, filepath.Join(t.TempDir(), "record.db"))
	for _, word := range []string{"one", "two"} {
		if err := db.SaveClaim(t.Context(), 1, id(1), word); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.SaveClaim(t.Context(), 2, id(1), "late"); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("a claim under another epoch: %v", err)
	}
	for _, c := range []struct {
		execution stint.ExecutionID
		word      string
		made      bool
	}{{id(1), "one", true}, {id(1), "two", true}, {id(1), "late", false}, {id(1), "other", false}, {id(2), "one", false}} {
		if made, err := db.Claimed(t.Context(), c.execution, c.word); err != nil || made != c.made {
			t.Errorf("%s of %s: made %v, %v", c.word, c.execution, made, err)
		}
	}
}
