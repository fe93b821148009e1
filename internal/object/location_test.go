package object

import (
	"path"
	"strings"
	"testing"

	"stint"
)

func TestLocationHasOneSpelling(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/data/in.txt":               "file:///data/in.txt",
		"/":                          "file:///",
		"//data/./in//x/":            "file:///data/in/x",
		"file:///data/in.txt":        "file:///data/in.txt",
		"FILE:///data":               "file:///data",
		"file:/data":                 "file:///data",
		"file://localhost/data":      "file:///data",
		"file:///a%20b/%7Ec":         "file:///a%20b/~c",
		"/a b#c%20d\\e":              "file:///a%20b%23c%2520d%5Ce",
		"/müll/\xff":                 "file:///m%C3%BCll/%FF",
		"/logs/*/[ab]?{c,d}":         "file:///logs/*/[ab]?{c,d}",
		"file:///logs/%2a%5B%3f,%2C": "file:///logs/%2A%5B%3F,,",
		"file:///line%0Abreak":       "file:///line%0Abreak",
		"/...":                       "file:///...",
	} {
		got, err := ParseLocation(in)
		if err != nil || got != want {
			t.Errorf("ParseLocation(%q) = %q, %v, want %q", in, got, err, want)
		}
		if again, err := ParseLocation(got); err != nil || again != got {
			t.Errorf("ParseLocation(%q) = %q, %v: not a fixed point", got, again, err)
		}
	}
}

func TestPathIsWhatTheURLNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"file:///a%20b%2Ac": "/a b*c",
		"file:///a*b?c":     "/a*b?c",
		"/a%20b/":           "/a%20b",
		"file:///%FF%0A":    "/\xff\n",
	} {
		if got, err := Path(in); err != nil || got != want {
			t.Errorf("Path(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestLocationThatCannotBeReachedIsRefused(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                       "not absolute",
		"in.txt":                 "not absolute",
		"./in:put":               "not absolute",
		"~/in":                   "not absolute",
		"file:in.txt":            "not absolute",
		"file://":                "not absolute",
		"file://localhost":       "not absolute",
		"file://other/data":      `host "other"`,
		"ftp://host/key":         `scheme "ftp" is not known here; expected file:///absolute/path, a plain absolute path, s3://BUCKET/KEY`,
		"range:1..5":             `scheme "range"`,
		"/a/../b":                ".. at byte 4",
		"file:///a/%2e%2E":       ".. at byte 11",
		"/a\nb":                  "control character at byte 3",
		"/a\x7f":                 "control character at byte 3",
		"/a\x00":                 "control character at byte 3",
		"file:///a%00":           "%00 at byte 10 cannot",
		"file:///a%2Fb":          "%2F at byte 10 cannot",
		"file:///a%2":            "% at byte 10 is not followed",
		"file:///a%zz":           "% at byte 10 is not followed",
		"file:///a#b":            "# at byte 10 begins a fragment",
		strings.Repeat("x", 500): "not absolute",
	} {
		for name, call := range map[string]func(string) (string, error){"ParseLocation": ParseLocation, "Path": Path} {
			_, err := call(in)
			if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
				t.Errorf("%s(%.80q) = %v, want %q", name, in, err, want)
			}
		}
	}
}

// FuzzLocation: what is accepted has one spelling, and every path a URL of its own.
func FuzzLocation(f *testing.F) {
	for _, s := range []string{"/a/b", "file:///a%20b", "file://localhost/x/*", "/%/#", "s3://b", "/a/..", "file:///%ff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseLocation(s)
		if err != nil {
			if stint.CodeOf(err) != stint.Invalid {
				t.Fatalf("%q: code %s", s, stint.CodeOf(err))
			}
			return
		}
		again, err := ParseLocation(u)
		if err != nil || again != u {
			t.Fatalf("%q: %q, then %q, %v", s, u, again, err)
		}
		p, err := Path(u)
		if err != nil || path.Clean(p) != p {
			t.Fatalf("%q: path %q, %v", s, p, err)
		}
		if back, err := Path(fileURL(p)); err != nil || back != p {
			t.Fatalf("%q: path %q comes back as %q, %v", s, p, back, err)
		}
	})
}
