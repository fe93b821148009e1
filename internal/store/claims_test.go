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
	if _, err := db.TakeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.SaveClaim(t.Context(), 2, id(1), "three"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		epoch     stint.Epoch
		execution stint.ExecutionID
		word      string
		made      bool
	}{{2, id(1), "one", true}, {2, id(1), "two", true}, {2, id(1), "three", true}, {1, id(1), "three", false}, {2, id(1), "late", false}, {2, id(1), "other", false}, {2, id(2), "one", false}} {
		if made, err := db.Claimed(t.Context(), c.epoch, c.execution, c.word); err != nil || made != c.made {
			t.Errorf("%s of %s in epoch %d: made %v, %v", c.word, c.execution, c.epoch, made, err)
		}
	}
}
