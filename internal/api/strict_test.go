package api

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func TestWhatTheSDKWritesIsReadBackAsItWas(t *testing.T) {
	t.Parallel()
	for _, want := range []stint.Request{
		{},
		{
			Name: "a \"quoted\" nâme 🙂\n", Inputs: []string{"/x/*.txt", "range:1..9"}, Output: "/out", Nodes: 3, SubsetSize: 1 << 60,
			Params: map[string]string{"": "", "a/b~c": "\t"}, Environment: map[string]string{"A": "b"}, Overwrite: true, Key: "k",
			Program: stint.Program{
				Name: "p", Type: stint.TextSearch, Files: []stint.ProgramFile{{Name: "f", Digest: stint.Digest{1}, Size: 3, Mode: 0o755}},
				Stages: []stint.Stage{{Name: "map", Action: stint.Action{Command: []string{"cat", "-"}}, Combine: &stint.Action{Native: "sum"}}},
			},
		},
	} {
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got stint.Request
		if err := decodeStrict(data, &got); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
}

// everyKind has a field of every kind that requests may come to have.
type everyKind struct {
	Text     string            `json:"text"`
	Flag     bool              `json:"flag"`
	Small    int8              `json:"small"`
	Unsigned uint16            `json:"unsigned"`
	Real     float64           `json:"real"`
	List     []string          `json:"list"`
	Map      map[string]string `json:"map"`
	Inner    *everyKind        `json:"inner"`
	Time     *time.Time        `json:"time"`
	Hidden   string            `json:"-"`
}

func TestEveryKindOfFieldTakesItsKindOfValueAlone(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"text": `"a"`, "flag": `true`, "small": `-128`, "unsigned": `65535`, "real": `-1.5e3`,
		"list": `["a"]`, "map": `{"k":"v"}`, "inner": `{"text":"b"}`, "time": `"2026-01-02T03:04:05Z"`,
	}
	fits := map[string]string{ // beyond its own
		"small": "", "unsigned": "", "real": "small unsigned", "list": "null", "map": "null inner", "inner": "null", "time": "null", "text": "time",
	}
	for field := range values {
		for kind, value := range map[string]string{
			"text": `"a"`, "flag": `false`, "small": `-128`, "unsigned": `65535`, "real": `-1.5e3`, "null": `null`,
			"list": `["a"]`, "map": `{"k":"v"}`, "inner": `{"text":"b"}`, "time": `"2026-01-02T03:04:05Z"`,
		} {
			want := kind == field || strings.Contains(" "+fits[field]+" ", " "+kind+" ")
			var v everyKind
			err := decodeStrict([]byte(`{"`+field+`":`+value+`}`), &v)
			if (err == nil) != want {
				t.Errorf("%s from %s: %v", field, value, err)
			}
		}
	}
}

func TestTheGrammarOfNumbers(t *testing.T) {
	t.Parallel()
	for literal, want := range map[string]bool{
		"0": true, "-0": true, "10": true, "1.0": true, "0.5e+7": true, "1E-2": true, "-1e9": true,
		"": false, "-": false, "01": false, "+1": false, ".5": false, "1.": false, "1e": false, "1e+": false, "0x1": false, "1_0": false, "1.e1": false, "NaN": false,
	} {
		if got := isNumber(literal); got != want {
			t.Errorf("%q: %v", literal, got)
		}
		if valid := json.Valid([]byte(literal)); valid != want {
			t.Errorf("%q: encoding/json says %v", literal, valid)
		}
	}
}

func TestTheNearestNameIsAFewLettersAway(t *testing.T) {
	t.Parallel()
	names := []string{"inputs", "name", "nodes", "output", "subset_size"}
	for given, want := range map[string]string{
		"input": "inputs", "NAME": "name", "noeds": "nodes", "subsetSize": "subset_size", "Outputs": "output", "zebra": "", "": "", strings.Repeat("n", 100): "",
	} {
		if got := stint.Nearest(given, names); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

func FuzzDecodeStrict(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "{} ", `{"name":"a","nodes":3}`, `{"name":"\ud83d\ude42\u0041"}`, `{"a":[1,2,{"b":null}]}`, `{"program":{"stages":[{"combine":null}]}}`,
		`{"nodes":1e3}`, `{"name":"a"}{}`, "\ufeff{}", `{"params":{"a":"b"}}`, `{"name":"\ud800\u0041"}`, `{"overwrite":tru`, `{,}`, `[`, "{\"a\x00\":1}", `{"a":"\`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r stint.Request
		err := decodeStrict(data, &r)
		var p *Problem
		if err != nil && !errors.As(err, &p) {
			t.Fatalf("%T: %v", err, err)
		}
		if err != nil && (p.Status != 400 || p.Code == "" || p.Message == "") {
			t.Fatalf("%+v", p)
		}
		if err == nil && !json.Valid(data) {
			t.Fatal("what is not JSON was read")
		}
		if err != nil && p.Code == "bad_json" && json.Valid(data) && data[0] == '{' {
			t.Fatalf("JSON was not: %v", err)
		}
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back stint.Request
		if err := decodeStrict(again, &back); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func FuzzCursor(f *testing.F) {
	c := cursors{key: []byte("key")}
	f.Add("", uint64(7))
	f.Add(c.seal(7, "q"), uint64(7))
	f.Add(c.seal(7, "q")+"\n", uint64(7))
	f.Fuzz(func(t *testing.T, text string, position uint64) {
		if got, err := c.open(text, "q"); err == nil && c.seal(got, "q") != text {
			t.Fatalf("%q was opened as %d, which is %q", text, got, c.seal(got, "q"))
		}
		if got, err := c.open(c.seal(position, "q", "r"), "q", "r"); err != nil || got != position {
			t.Fatalf("%d came back as %d, %v", position, got, err)
		}
	})
}
