package server

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stint"
	"stint/internal/coord"
	"stint/internal/object"
	"stint/internal/store"
	"stint/internal/wire"
)

func TestTheStorageOfAServiceIsTheOneThatItHasUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "record.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	folder := filepath.Join(dir, "storage")
	location := "file://" + folder
	if _, err := OpenStorage(t.Context(), new(object.Access), db, location); err != nil {
		t.Fatalf("at first: %v", err)
	}
	away := func() error { return os.Rename(folder, folder+".away") }
	for _, c := range []struct {
		rule   string
		change func() error
		want   string // "": it is opened
	}{
		{"it is there", func() error { return nil }, ""},
		{"the folder is gone", away, "not there"},
		{"an empty mount point is in its place", func() error { return os.Mkdir(folder, 0o700) }, "not mounted"},
		{"another storage is in its place", func() error { _, err := new(object.Access).OpenStorage(t.Context(), location); return err }, "not the one"},
		{"it is back", func() error { return errors.Join(os.RemoveAll(folder), os.Rename(folder+".away", folder)) }, ""},
		{"its marker is gone", func() error { return os.Remove(filepath.Join(folder, "stint-storage.json")) }, "stint-storage.json"},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		_, err := OpenStorage(t.Context(), new(object.Access), db, location)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.rule, err)
			}
		} else if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), folder) {
			t.Errorf("%s: %s %v", c.rule, stint.CodeOf(err), err)
		}
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 1 || left[0].Name() != "tmp" {
		t.Errorf("a refusal left %v, %v", left, err)
	}
	if _, err := OpenStorage(t.Context(), new(object.Access), db, "file://"+filepath.Join(dir, "other")); err != nil {
		t.Errorf("at another place: %v", err)
	}
}

func TestSavedStateUnderAnotherNameIsRefused(t *testing.T) {
	t.Parallel()
	list, h, _ := services(t, 1)
	d := aDrive(t)
	d.server = list[0]
	r := d.makeRecord(stint.Errand{Generation: 2})
	b, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	const other = stint.ExecutionID("x-bbbbbbbbbbbbbbbb")
	for key, want := range map[string]string{
		recordKey(someID, 2): "", recordKey(someID, 3): "in generation 2", recordKey(other, 2): string(someID),
	} {
		if err := h.storage.Put(t.Context(), key, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		id, generation := someID, uint64(2)
		if strings.Contains(key, string(other)) {
			id = other
		}
		if strings.HasSuffix(key, "3") {
			generation = 3
		}
		_, err := h.readRecord(t.Context(), id, generation)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", key, err)
		case want != "" && (stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), key)):
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestAListingThatIsNotTheOneThatWasRecordedIsRefused(t *testing.T) {
	t.Parallel()
	list, h, path := services(t, 1)
	b, err := wire.Marshal(stint.Listing{Range: &stint.Values{First: 1, Count: 9}})
	if err != nil {
		t.Fatal(err)
	}
	digest, _, err := h.storage.PutBlob(t.Context(), "listings", bytes.NewReader(b), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readListing(t.Context(), list[0].Storage, digest); err != nil {
		t.Errorf("as it was: %v", err)
	}
	other, err := wire.Marshal(stint.Listing{Range: &stint.Values{First: 1, Count: 8}})
	if err == nil {
		err = os.WriteFile(filepath.Join(path, "listings", digest.String()), other, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readListing(t.Context(), list[0].Storage, digest); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), digest.String()) {
		t.Errorf("another in its place: %v", err)
	}
}

func TestAClaimIsNotMadeWhereTheStorageIsAway(t *testing.T) {
	t.Parallel()
	list, h, path := services(t, 1)
	if err := errors.Join(os.Rename(path, path+".away"), os.MkdirAll(path+"/saved", 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := list[0].claim(t.Context(), h, someID, 1); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("claim: %v", err)
	}
	if o, err := h.ownership(t.Context(), someID); stint.CodeOf(err) != stint.Unavailable {
		t.Errorf("nobody owns it: %+v, %v", o, err)
	}
	r := list[0].writeRecord(t.Context(), stint.Errand{ID: "r", Execution: someID, Generation: 1}, savedRecord{summary: summary{Execution: someID, Generation: 1}, body: recordBody{Snapshot: coord.Snapshot{}}})
	if r.Error == nil || r.Error.Code != stint.Unavailable {
		t.Errorf("record: %+v", r)
	}
	if left, err := os.ReadDir(path + "/saved"); err != nil || len(left) > 0 {
		t.Errorf("written into the mount point: %v, %v", left, err)
	}
}
