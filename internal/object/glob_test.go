package object

import (
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"stint"
)

func compileOne(t *testing.T, pattern string) [][]segment {
	t.Helper()
	p, err := parseLocation("/" + pattern)
	if err != nil {
		t.Fatal(err)
	}
	out, err := compileGlob(pattern, p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func matches(alternatives [][]segment, name string) bool {
	for _, a := range alternatives {
		if len(a) == 1 && a[0].match(name) {
			return true
		}
	}
	return false
}

func TestGlobMatches(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ pattern, yes, no string }{
		{"*", "a b .x", ""},
		{"*.txt", "a.txt .txt", "a.txt.gz txt"},
		{"a*b*c", "abc aXbYc abbcc abcbc", "ab acb abcd"},
		{"**x", "x ax", "xa"},
		{"?", "a ä 𝄞", "ab"},
		{"*?x", "äx aäx", "x"},
		{"[abc]d", "ad cd", "dd abcd"},
		{"[a-c]", "a b c", "d -"},
		{"[!a-c]", "d ä -", "a b"},
		{"[^ä]", "a ö", "ä"},
		{"*[!é]", "a éa", "é"},
		{"[]a]", "] a", "b []a]"},
		{"[a-]", "a -", "b"},
		{"[{,}]", "{ , }", "a"},
		{"{a,b,}c", "ac bc c", "abc"},
		{"x{a,{b,c}d}", "xa xbd xcd", "xb xd xad"},
		{"{a}", "a", "{a}"},
		{"a,b", "a,b", "a"},
		{"*{.gz,.txt}", "x.gz y.txt", "x.zst"},
	} {
		g := compileOne(t, tc.pattern)
		for name := range strings.FieldsSeq(tc.yes) {
			if !matches(g, name) {
				t.Errorf("%q does not match %q", tc.pattern, name)
			}
		}
		for name := range strings.FieldsSeq(tc.no) {
			if matches(g, name) {
				t.Errorf("%q matches %q", tc.pattern, name)
			}
		}
	}
}

func TestBadGlobSaysWhere(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/a/**/b":                         "** (a folder means all objects below it) at byte 4",
		"/a/[bc":                          "[ without ] at byte 4",
		"/a/[]":                           "[ without ] at byte 4",
		"/a/[b/c]":                        "[ without ] at byte 4",
		"/a{b":                            "{ without } at byte 3",
		"/a}b":                            "} without { at byte 3",
		"/[z-a]":                          "a range that ends before it begins in [ ] at byte 2",
		"file:///%7B/{a":                  "{ without } at byte 13",
		"/" + strings.Repeat("{a,b}", 10): "more than 1000 alternatives",
	} {
		_, err := new(Access).List(t.Context(), Inputs{Locations: []string{in}})
		if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", in, err, want)
		}
	}
}

func TestMatchingIsNotExponential(t *testing.T) {
	t.Parallel()
	g := compileOne(t, strings.Repeat("*a", 100)+"b")
	if matches(g, strings.Repeat("a", 255)) {
		t.Error("matches")
	}
}

// FuzzGlob: patterns compile or are refused, and where path.Match means the same
// by a pattern, it gives the same.
func FuzzGlob(f *testing.F) {
	f.Add("a*[b-d]?", "axxcy")
	f.Add("{a,[}]}", "a")
	f.Add("[!ä]*", "öä")
	f.Add("*[^a]x", "\xffx")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		p, err := parseLocation("/" + pattern)
		if err != nil || name == "" || strings.Contains(name, "/") {
			return
		}
		g, err := compileGlob(pattern, p)
		if err != nil {
			return
		}
		got := matches(g, name)
		if strings.ContainsAny(pattern, `\{}/!.-[]`) || !utf8.ValidString(pattern) || !utf8.ValidString(name) {
			return
		}
		if want, err := path.Match(pattern, name); err == nil && got != want {
			t.Fatalf("%q on %q: %v, path.Match says %v", pattern, name, got, want)
		}
	})
}
