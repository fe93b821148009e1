package stint_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stint"
)

func TestParametersAreCheckedAgainstTheirDeclarations(t *testing.T) {
	t.Parallel()
	program := stint.Program{Name: "p", Params: []stint.Param{
		{Name: "text"},
		{Name: "level", Type: stint.IntegerParam, Default: "3", Values: []string{"1", "2", "3"}},
		{Name: "rate", Type: stint.NumberParam},
		{Name: "fold", Type: stint.FlagParam, Default: "false"},
		{Name: "most", Type: stint.SizeParam},
		{Name: "pattern", Required: true},
	}}
	type values = map[string]string
	for _, c := range []struct {
		given   values
		want    values
		refused string
	}{
		{given: values{"pattern": "x"}, want: values{"pattern": "x", "level": "3", "fold": "false"}},
		{given: values{"pattern": "", "level": "1", "fold": "true", "rate": "-1.5e3", "most": "64MiB", "text": "{{ .Env.HOME }}"}, want: values{"pattern": "", "level": "1", "fold": "true", "rate": "-1.5e3", "most": "64MiB", "text": "{{ .Env.HOME }}"}},
		{given: nil, refused: "missing_param: program p needs parameter pattern (text)"},
		{given: values{"patern": "x"}, refused: `unknown_param: program p: parameter "patern": expected one of text, level, rate, fold, most, pattern; did you mean pattern?`},
		{given: values{"pattern": "x", "level": "4"}, refused: `bad_value: "4": expected one of 1, 2, 3`},
		{given: values{"pattern": "x", "level": "+1"}, refused: "a whole number"},
		{given: values{"pattern": "x", "level": "1.0"}, refused: "a whole number"},
		{given: values{"pattern": "x", "level": "99999999999999999999"}, refused: "a whole number"},
		{given: values{"pattern": "x", "rate": "NaN"}, refused: "a number"},
		{given: values{"pattern": "x", "rate": "Inf"}, refused: "a number"},
		{given: values{"pattern": "x", "rate": "0x1p4"}, refused: "a number"},
		{given: values{"pattern": "x", "fold": "yes"}, refused: "true or false"},
		{given: values{"pattern": "x", "most": "4furlongs"}, refused: "64MiB"},
		{given: values{"pattern": "a\x00b"}, refused: "byte 2 is NUL"},
		{given: values{"pattern": strings.Repeat("x", stint.MaxParam+1)}, refused: "too_large: "},
	} {
		got, err := program.CheckParams(c.given)
		if c.refused != "" {
			if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%v: %v, want %q", c.given, err, c.refused)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%v: %v %s", c.given, err, diff)
		}
	}
	program.OpenParams = true
	if got, err := program.CheckParams(values{"pattern": "x", "more": "y"}); err != nil || got["more"] != "y" {
		t.Errorf("open: %v %v", got, err)
	}
	for refused, given := range map[string]values{
		"duplicate: program p: parameters a-b and a_b both reach commands as STINT_PARAM_A_B":   {"pattern": "x", "a_b": "1", "a-b": "2"},
		"duplicate: program p: parameters level and LEVEL both reach commands as STINT_PARAM_L": {"pattern": "x", "LEVEL": "1"},
		`bad_name: program p: parameter ""`:                                                     {"pattern": "x", "": "1"},
		`bad_name: program p: parameter "a b"`:                                                  {"pattern": "x", "a b": "1"},
	} {
		if _, err := program.CheckParams(given); stint.CodeOf(err) != stint.Invalid || !strings.HasPrefix(err.Error(), refused) {
			t.Errorf("open: %v, want %q", err, refused)
		}
	}
	none := stint.Program{Name: "p"}
	if _, err := none.CheckParams(values{"a": "b"}); err == nil || !strings.Contains(err.Error(), "it has no parameters") {
		t.Errorf("none: %v", err)
	}
	if got, err := none.CheckParams(nil); err != nil || len(got) > 0 {
		t.Errorf("none: %v %v", got, err)
	}
}

func TestDeclarationsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	for refused, params := range map[string][]stint.Param{
		"bad_name: ":          {{Name: "1a"}},
		"63 in all":           {{Name: strings.Repeat("a", 64)}},
		"declared twice":      {{Name: "a"}, {Name: "a"}},
		"STINT_PARAM_A_B":     {{Name: "a-b"}, {Name: "a.b"}},
		"wrong_type: type":    {{Name: "a", Type: "int"}},
		"default: wrong_type": {{Name: "a", Type: stint.IntegerParam, Default: "x"}},
		"values: wrong_type":  {{Name: "a", Type: stint.IntegerParam, Values: []string{"1", "x"}}},
		"default: bad_value":  {{Name: "a", Values: []string{"x"}, Default: "y"}},
		"conflict: ":          {{Name: "a", Required: true, Default: "y"}},
	} {
		p := stint.Program{Name: "p", Params: params}
		if err := p.CheckDeclarations(); stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), refused) {
			t.Errorf("%q: %v", refused, err)
		}
	}
}

func TestTheNearestNameIsAFewLettersAway(t *testing.T) {
	t.Parallel()
	names := []string{"map", "reduce", "Partition"}
	for given, want := range map[string]string{"mpa": "map", "mp": "map", "MAP": "map", "reducer": "reduce", "rdeuce": "reduce", "partition": "Partition", "xyz": "", "": "", strings.Repeat("m", 100): ""} {
		if got := stint.Nearest(given, names); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

func TestProgramNamesAreSplitFromVersions(t *testing.T) {
	t.Parallel()
	for given, want := range map[string][2]string{"a": {"a", ""}, "a@0f": {"a", "0f"}, "a@" + strings.Repeat("0", 64): {"a", strings.Repeat("0", 64)}} {
		if name, version, err := stint.SplitProgramName(given); err != nil || name != want[0] || version != want[1] {
			t.Errorf("%q: %q %q %v", given, name, version, err)
		}
	}
	for _, bad := range []string{"a@", "a@xyz", "a@AB", "a@0@1", "a@" + strings.Repeat("0", 65)} {
		if _, _, err := stint.SplitProgramName(bad); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
