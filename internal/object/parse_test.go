package object

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"stint"
)

// FuzzRemoteLocation: what is accepted of s3 and the web has one spelling, which
// is accepted again as the same, and no password.
func FuzzRemoteLocation(f *testing.F) {
	for _, s := range []string{"s3://bucket/a/b%20c/*.gz", "s3://set@bucket", "s3://key:secret@bucket/x", "s3://b.c-d/%ff", "http://host:80/a?b=c#d", "https://user:pw@host/", "HTTPS://Host/%41"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !Remote(s) {
			s = "s3://" + s
		}
		u, err := ParseLocation(s)
		if err != nil {
			if stint.CodeOf(err) != stint.Invalid || len(err.Error()) > 1000 {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if again, err := ParseLocation(u); err != nil || again != u {
			t.Fatalf("%q: %q, then %q, %v", s, u, again, err)
		}
	})
}

// FuzzContentRange: a range says what its text does.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-9/*", "bytes */10", "bytes 0-18446744073709551615/2", "octets 1-2/3", "bytes 1--2/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, last, total, err := parseContentRange(s)
		if err != nil {
			return
		}
		text := fmt.Sprintf("bytes %d-%d/%d", first, last, total)
		if total == -1 {
			text = fmt.Sprintf("bytes %d-%d/*", first, last)
		}
		a, b, c, err := parseContentRange(text)
		if first < 0 || last < 0 || total < -1 || a != first || b != last || c != total || err != nil {
			t.Fatalf("%q is %d, %d, %d", s, first, last, total)
		}
	})
}

// FuzzCommitObjects: what lies in storage about a commit is read as it was
// written, or refused; names in it stay within the output.
func FuzzCommitObjects(f *testing.F) {
	f.Add([]byte(`{"manifest":{"format":1,"parts":[{"name":"part-00000","bytes":1,"xxh3":"0123456789abcdef"}],"bytes":1},"staged":["a"],"remove":["part-00001"],"unstage":["b"]}`))
	f.Add([]byte(`{"replacing":"x-abcdefghjkmnpqrs"}`))
	f.Add([]byte(`{"format":1,"id":7}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if in, err := decodeBegun(b); err == nil {
			text, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			again, err := decodeBegun(text)
			if err != nil || !again.equal(in.intent) || !slices.Equal(again.Remove, in.Remove) || !slices.Equal(again.Unstage, in.Unstage) {
				t.Fatalf("%s came back as %+v, %v", text, again, err)
			}
			for _, name := range in.Remove {
				if !isPartName(name) {
					t.Fatalf("%q is to be removed", name)
				}
			}
			for _, name := range append(in.Unstage, in.Staged...) {
				if checkPartName(name) != nil {
					t.Fatalf("%q is staged", name)
				}
			}
		}
		if top := decodeTop(b, "e"); top.etag != "e" || top.bad != nil && top.manifest.Format != 0 {
			t.Fatalf("%+v", top)
		}
		if id, err := decodeMarker("/s", b, nil); (err == nil) != (id != 0) {
			t.Fatalf("storage %d, %v", id, err)
		}
	})
}
