package store

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func TestCredentialsAreKeptByName(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "record.db")
	db := opened(t, path)
	epoch, err := db.TakeOver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []SealedCredentials{{"b", []byte("1")}, {"a", []byte("2")}, {"b", []byte("3")}} {
		if err := db.SaveCredentials(t.Context(), epoch, c); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want ...SealedCredentials) {
		t.Helper()
		got, err := db.Credentials(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	expect(SealedCredentials{"a", []byte("2")}, SealedCredentials{"b", []byte("3")})
	if err := db.RemoveCredentials(t.Context(), epoch, "a"); err != nil {
		t.Error(err)
	}
	if err := db.RemoveCredentials(t.Context(), epoch, "a"); stint.CodeOf(err) != stint.NotFound {
		t.Errorf("removed twice: %v", err)
	}
	if err := db.SaveCredentials(t.Context(), epoch-1, SealedCredentials{"c", []byte("4")}); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("saved by a server that is not the owner: %v", err)
	}
	if err := db.RemoveCredentials(t.Context(), epoch-1, "b"); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("removed by a server that is not the owner: %v", err)
	}
	expect(SealedCredentials{"b", []byte("3")})
}
