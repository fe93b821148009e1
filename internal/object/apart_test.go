package object

import (
	"path/filepath"
	"strings"
	"testing"

	"stint"
)

func TestOutputAndInputsLieApart(t *testing.T) {
	t.Parallel()
	dir := tree(t, "in/a.txt", "in/sub/b.txt", "in/old/part-00000", "apart/")
	symlink(t, filepath.Join(dir, "in"), filepath.Join(dir, "link"))
	symlink(t, filepath.Join(dir, "in/a.txt"), filepath.Join(dir, "apart/a.txt"))
	for _, c := range []struct {
		input, output string
		ok            bool
	}{
		{"/in", "/in", false},
		{"/in/", "/in/new/deep", false},
		{"/in", "/in-2", true},
		{"/in", "/link/new", false},
		{"/link", "/in/new", false},
		{"/in/sub", "/in/new", true},
		{"/in/*", "/in/new", false},
		{"/i*/*", "/in/new/deep", false},
		{"/link/*", "/in/new", false},
		{"/in/*.txt", "/in/new", true},
		{"/in/*.txt", "/in/new.txt/deep", false},
		{"/in/{sub,new}", "/in/new", false},
		{"/in/s*", "/in/_new", true},
		{"/in/*/*.txt", "/in/new", true},
		{"/in/old/part-00000", "/in/old", false},
		{"/in/o*/part-*", "/in/old", false},
		{"/in/sub/b.txt", "", false},
		{"/apart/a.txt", "/apart", false},
		{"/apart/a.txt", "/new", true},
	} {
		in, out := dir+c.input, dir+c.output
		listing, err := new(Access).List(t.Context(), Inputs{Locations: []string{in}})
		if err != nil {
			t.Fatal(err)
		}
		err = new(Access).CheckApart(Inputs{Locations: []string{in}}, listing, out)
		if (err == nil) != c.ok {
			t.Errorf("input %q, output %q: %v", c.input, c.output, err)
		}
		if !c.ok && (stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), out) || !strings.Contains(err.Error(), dir)) {
			t.Errorf("input %q, output %q: %s %v", c.input, c.output, stint.CodeOf(err), err)
		}
	}
	if err := new(Access).CheckApart(Inputs{Locations: []string{"range:1..9"}}, stint.Listing{}, dir); err != nil {
		t.Error(err)
	}
}
