package object

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

// relative returns the objects of a listing as paths below the ground.
func (g ground) relative(t *testing.T, l stint.Listing) []string {
	t.Helper()
	root, err := ParseLocation(g.root)
	check(t, err)
	var out []string
	for _, o := range l.Objects {
		name, ok := strings.CutPrefix(o.URL, root+"/")
		if !ok || o.Version == "" {
			t.Errorf("%+v below %s", o, root)
		}
		out = append(out, name)
	}
	return out
}

func ruleList(t *testing.T, g ground) {
	t.Helper()
	for _, name := range []string{
		"in/b.txt", "in/a.txt", "in/a/x.txt", "in/a/y.log", "in/a-b/z.txt", "in/ünï.txt", "in/a b.txt", "in/a*.txt", "in/100%.txt",
		"in/_SUCCESS", "in/.hidden/a.txt", "in/.hidden/b.txt", "in/a/_logs/part-1", "in/a/deep/er/q.txt", "in/a.txt2", "other/a.txt",
	} {
		g.write(t, name, name)
	}
	for i := range 1100 {
		g.write(t, fmt.Sprintf("many/d%d/%04d", i%3, i), "x")
	}
	for in, want := range map[string]struct {
		names   string
		skipped int64
	}{
		"in/a/":            {"in/a/deep/er/q.txt in/a/x.txt in/a/y.log", 1},
		"in/a":             {"in/a/deep/er/q.txt in/a/x.txt in/a/y.log", 1},
		"in/a.txt":         {"in/a.txt", 0},
		"in":               {"in/100%25.txt in/a%20b.txt in/a%2A.txt in/a-b/z.txt in/a.txt in/a.txt2 in/a/deep/er/q.txt in/a/x.txt in/a/y.log in/b.txt in/%C3%BCn%C3%AF.txt", 3},
		"in/*.txt":         {"in/100%25.txt in/a%20b.txt in/a%2A.txt in/a.txt in/b.txt in/%C3%BCn%C3%AF.txt", 0},
		"in/a*.txt":        {"in/a%2A.txt", 0},
		"in/a[b.]txt":      {"in/a.txt", 0},
		"in/*/?.txt":       {"in/a-b/z.txt in/a/x.txt", 2},
		"in/{a,a-b}/*":     {"in/a-b/z.txt in/a/deep/er/q.txt in/a/x.txt in/a/y.log", 1},
		"in/_*":            {"in/_SUCCESS", 0},
		"in/.hidden":       {"in/.hidden/a.txt in/.hidden/b.txt", 0},
		"*/a.txt":          {"in/a.txt other/a.txt", 0},
		"in/a*/*/er/q.txt": {"in/a/deep/er/q.txt", 1},
	} {
		if strings.HasPrefix(in, "*") {
			continue // a bucket's own folders differ from those of a server's file system
		}
		l, err := g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/" + in}})
		names := strings.Fields(want.names)
		slices.Sort(names)
		if d := cmp.Diff(names, g.relative(t, l)); d != "" || err != nil || l.Skipped != want.skipped {
			t.Errorf("%s: skipped %d, %v (-want +got)\n%s", in, l.Skipped, err, d)
		}
	}
	l, err := g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/many", g.root + "/many/d1/"}})
	if err != nil || len(l.Objects) != 1100 || !slices.IsSortedFunc(l.Objects, Compare) {
		t.Errorf("%d objects, %v", len(l.Objects), err)
	}
	named := map[string][]string{"right": {g.root + "/in/b.txt"}, "left": {g.root + "/in/b.txt", g.root + "/in/a.txt"}}
	l, err = g.access.List(t.Context(), Inputs{Named: named})
	if check(t, err); len(l.Objects) != 3 || l.Objects[0].Input != "left" || l.Objects[2].Input != "right" {
		t.Errorf("%+v", l)
	}
	for in, text := range map[string]string{"nothing": "no such", "nothing/": "no such", "in/*.nothing": "no", "in/a.tx": "no such"} {
		_, err := g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/" + in}})
		wantCode(t, err, stint.NotFound, text)
	}
	for in, text := range map[string]string{"in/[a": "bad_glob", "in/**/x": "bad_glob", "in/../other": ".."} {
		_, err := g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/" + in}})
		wantCode(t, err, stint.Invalid, text)
	}
}

func ruleLines(t *testing.T, g ground) {
	t.Helper()
	g.write(t, "in/a", "1\n2\n3\n4\n5\n")
	g.write(t, "in/b", strings.Repeat("x", 1<<21)+"\ny\nlast")
	g.write(t, "in/c", "")
	l, err := g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/in"}, Lines: map[string]int64{"": 2}})
	if d := cmp.Diff([][]int64{{4, 8}, {1<<21 + 3}, {}}, l.Cuts); d != "" || err != nil {
		t.Error(d, err)
	}
	l, err = g.access.List(t.Context(), Inputs{Named: map[string][]string{"x": {g.root + "/in/a"}, "y": {g.root + "/in/a"}}, Lines: map[string]int64{"y": 5}})
	if d := cmp.Diff([][]int64{nil, {}}, l.Cuts); d != "" || err != nil {
		t.Error(d, err)
	}
	end := strings.Repeat("x", 1<<20-1) // a delimiter lies on both sides of what is read at once
	g.write(t, "ends/a", end+"==\n=====y=="+"z")
	l, err = g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/ends"}, Lines: map[string]int64{"": 1}, Delimiters: map[string]string{"": "=="}})
	if d := cmp.Diff([][]int64{{1<<20 + 1, 1<<20 + 4, 1<<20 + 6, 1<<20 + 10}}, l.Cuts); d != "" || err != nil {
		t.Error(d, err)
	}
	g.write(t, "nul/a", "1\x00\n2\x003\x00")
	l, err = g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/nul"}, Lines: map[string]int64{"": 2}, Delimiters: map[string]string{"": `\0`}})
	if d := cmp.Diff([][]int64{{5}}, l.Cuts); d != "" || err != nil {
		t.Error(d, err)
	}
	_, err = g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/nul"}, Lines: map[string]int64{"": 2}, Delimiters: map[string]string{"": `\q`}})
	wantCode(t, err, stint.Invalid, "bad_escape")
	g.write(t, "in/d.gz", "x")
	_, err = g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/in"}, Lines: map[string]int64{"": 2}})
	wantCode(t, err, stint.Invalid, "not_splittable")
}

func ruleApart(t *testing.T, g ground) {
	t.Helper()
	g.write(t, "in/a/x.txt", "x")
	for _, c := range []struct {
		in, out string
		apart   bool
	}{
		{"in", "out", true},
		{"in", "in2", true},
		{"in/a/x.txt", "in/out", true},
		{"in/a/*", "in/b/out", true},
		{"in", "in/out", false},
		{"in", "in", false},
		{"in/*", "in/b", false},
		{"in/a", "in", false},
		{"in/a/x.txt", "in/a", false},
	} {
		inputs := Inputs{Locations: []string{g.root + "/" + c.in}}
		l, err := g.access.List(t.Context(), inputs)
		check(t, err)
		err = g.access.CheckApart(inputs, l, g.root+"/"+c.out)
		if (err == nil) != c.apart || err != nil && stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s and %s: %v", c.in, c.out, err)
		}
	}
}

func ruleRange(t *testing.T, g ground) {
	t.Helper()
	g.write(t, "in/a b.txt", "0123456789")
	l, err := g.access.List(t.Context(), Inputs{Locations: []string{g.root + "/in"}})
	check(t, err)
	o := l.Objects[0]
	for _, c := range [][2]int64{{0, 10}, {0, 0}, {10, 0}, {3, 4}, {9, 1}} {
		r, err := g.access.OpenRange(t.Context(), o, c[0], c[1])
		check(t, err)
		got, err := io.ReadAll(r)
		if check(t, err); string(got) != "0123456789"[c[0]:c[0]+c[1]] {
			t.Errorf("%v: %q", c, got)
		}
		check(t, r.Close())
	}
	_, err = g.access.OpenRange(t.Context(), o, 8, 3)
	wantCode(t, err, stint.Invalid, "which has 10")
	check(t, os.Remove(filepath.Join(g.dir, "in", "a b.txt")))
	_, err = g.access.OpenRange(t.Context(), o, 0, 3)
	wantCode(t, err, stint.Invalid, "input changed")
	g.write(t, "in/a b.txt", "9876543210")
	_, err = g.access.OpenRange(t.Context(), o, 0, 3)
	wantCode(t, err, stint.Invalid, "input changed")
}
