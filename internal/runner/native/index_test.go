package native_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"stint"
	"stint/internal/runner/native"
	"stint/internal/shuffle"
)

// documents is an input of whole files.
type documents struct {
	io.Reader
	names, texts []string
	slowly       bool
}

func (d *documents) Objects(each func(o stint.Object, content io.Reader) error) error {
	for i, name := range d.names {
		var r io.Reader = strings.NewReader(d.texts[i])
		if d.slowly {
			r = iotest.OneByteReader(r)
		}
		if err := each(stint.Object{URL: name}, r); err != nil {
			return err
		}
	}
	return nil
}

// indexOf performs the stages of index.
func indexOf(t *testing.T, params map[string]string, in io.Reader) string {
	t.Helper()
	w, err := shuffle.NewWriter(shuffle.Config{Partitions: 1, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // spill files have no name
	sink := struct {
		io.Writer
		shuffle.Sink
	}{Sink: w}
	if err := perform(t, "index", params, in, sink); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := w.Visit(func(_ uint32, records shuffle.Source) error {
		return perform(t, "postings", params, struct {
			io.Reader
			shuffle.Source
		}{Source: records}, &out)
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// naiveIndex indexes texts with a regular expression and maps, without parameters
// or with those of the test below.
func naiveIndex(names, texts []string, params map[string]string) string {
	least, most := 1, 64
	if params != nil {
		least, most = 3, 8
	}
	counts := make(map[string]map[string]int)
	for i, text := range texts {
		if params == nil {
			b := []byte(text)
			for j, c := range b {
				if 'A' <= c && c <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			text = string(b)
		}
		for _, term := range regexp.MustCompile(`[^\x00-/:-@\[-^`+"`"+`{-\x7f]+`).FindAllString(text, -1) {
			if len(term) < least || len(term) > most {
				continue
			}
			if counts[term] == nil {
				counts[term] = make(map[string]int)
			}
			counts[term][names[i]]++
		}
	}
	var out strings.Builder
	for _, term := range slices.Sorted(maps.Keys(counts)) {
		out.WriteString(term)
		comma := "\t"
		for _, name := range slices.Sorted(maps.Keys(counts[term])) {
			fmt.Fprintf(&out, "%s%s:%d", comma, name, counts[term][name])
			comma = ","
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func TestFilesAreIndexedAsANaiveProgramDoes(t *testing.T) {
	t.Parallel()
	here, err := filepath.Abs("../../shuffle")
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(here, "*.go"))
	if err != nil || len(paths) < 10 {
		t.Fatal(paths, err)
	}
	slices.Reverse(paths)
	d := &documents{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d.names, d.texts = append(d.names, "file://"+path), append(d.texts, string(text))
	}
	for _, params := range []map[string]string{nil, {"fold": "false", "min_length": "3", "max_length": "8"}} {
		want := naiveIndex(paths, d.texts, params)
		if got := indexOf(t, params, d); got != want {
			t.Fatalf("%v: %s", params, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
		}
	}
}

func TestTermsOfDocuments(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 70<<10)
	for _, slowly := range []bool{false, true} {
		d := &documents{
			names:  []string{"file:///b%20c", "s3://bucket/a,b%2C", "file:///empty"},
			texts:  []string{"One one_2 é" + "\xff" + " " + long + " two", strings.Repeat("y", 64) + " " + strings.Repeat("y", 65) + " ONE", ""},
			slowly: slowly,
		}
		want := "one\t/b c:1,s3://bucket/a%2Cb%252C:1\none_2\t/b c:1\ntwo\t/b c:1\n" + strings.Repeat("y", 64) + "\ts3://bucket/a%2Cb%252C:1\né\xff\t/b c:1\n"
		if d := cmp.Diff(want, indexOf(t, nil, d)); d != "" {
			t.Errorf("slowly %t: %s", slowly, d)
		}
	}
	lines := "d2\tto be or not\nd1\tto Be\nd,3\n\nd2\tbe\n"
	want := "be\td1:1,d2:2\nnot\td2:1\nor\td2:1\nto\td1:1,d2:1\n"
	if d := cmp.Diff(want, indexOf(t, map[string]string{"documents": "lines"}, strings.NewReader(lines))); d != "" {
		t.Error(d)
	}
}

func TestPostingsOfATermThatIsEverywhereAreSortedInFiles(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(15, 16))
	in := &records{}
	names := random.Perm(900_000)
	for _, n := range names {
		in.pairs = append(in.pairs, [2][]byte{[]byte("the"), fmt.Appendf(nil, "a document with a long name %08d:%d", n%800_000, 1+n%7)})
	}
	in.pairs = append(in.pairs, [2][]byte{[]byte("then"), []byte("b:1")}, [2][]byte{[]byte("then"), []byte("a:2")})
	var out bytes.Buffer
	a := &stint.Attempt{Action: stint.Action{Native: "postings"}, Scratch: t.TempDir()}
	if err := native.New().Perform(t.Context(), a, in, &out); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	want.WriteString("the")
	for n := range 800_000 {
		count := 1 + n%7
		if n < 100_000 {
			count += 1 + (n+800_000)%7
		}
		fmt.Fprintf(&want, "%ca document with a long name %08d:%d", "\t,"[min(n, 1)], n, count)
	}
	want.WriteString("\nthen\ta:2,b:1\n")
	if !bytes.Equal(want.Bytes(), out.Bytes()) {
		t.Errorf("%d bytes, want %d; they begin %.200q and end %q", out.Len(), want.Len(), out.Bytes(), out.Bytes()[out.Len()-100:])
	}
	if left, err := os.ReadDir(a.Scratch); err != nil || len(left) != 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}

func TestIndexRefusesWhatItCannotTake(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"documents": "words", "min_length": "0", "max_length": "0", "fold": "1"} {
		if _, err := native.Program("index", map[string]string{name: value}); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	if err := perform(t, "index", nil, strings.NewReader("x"), io.Discard); stint.CodeOf(err) != stint.Invalid {
		t.Error(err)
	}
	for _, value := range []string{"doc", "doc:x"} {
		if err := perform(t, "postings", nil, strings.NewReader("t\t"+value+"\n"), io.Discard); stint.CodeOf(err) != stint.Failed {
			t.Errorf("%s: %v", value, err)
		}
	}
	byLine, err := native.Program("index", map[string]string{"documents": "lines"})
	if err != nil || byLine.Stages[0].Input.Split != "" {
		t.Error(byLine, err)
	}
	if whole := slices.IndexFunc(native.Programs(), func(p stint.Program) bool { return p.Name == "index" }); native.Programs()[whole].Stages[0].Input.Split != stint.SplitFiles {
		t.Error("files are cut")
	}
}
