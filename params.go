package stint

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// MaxParam is how long the value of a parameter may be, in bytes.
const MaxParam = 64 << 10

// ParamVariable returns the name of the environment variable in which a
// program's processes find the value of a parameter.
func ParamVariable(name string) string {
	upper := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
	return "STINT_PARAM_" + upper
}

// CheckParams returns the given values together with the defaults of those
// parameters that were not given. It refuses, with [Invalid], values that are not
// as the program declares them, parameters that it does not take, declarations
// that make no sense, and a required one that is missing.
func (p *Program) CheckParams(given map[string]string) (map[string]string, error) {
	declared, err := p.declared()
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(given))
	variables := make(map[string]string, len(given)+len(declared))
	for name := range declared {
		variables[ParamVariable(name)] = name
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		param, known := declared[name]
		if !known {
			if err := p.checkOpen(name, variables); err != nil {
				return nil, err
			}
		}
		if err := param.check(given[name]); err != nil {
			return nil, Errorf(Invalid, "program %.80s: parameter %.80s: %s", p.Name, name, err)
		}
		out[name] = given[name]
	}
	for _, param := range p.Params {
		if _, there := out[param.Name]; there {
			continue
		}
		if param.Required {
			return nil, Errorf(Invalid, "missing_param: program %.80s needs parameter %s (%s)", p.Name, param.Name, param.wants())
		}
		if param.Default != "" {
			out[param.Name] = param.Default
		}
	}
	return out, nil
}

// CheckDeclarations refuses, with [Invalid], declarations of parameters that make
// no sense.
func (p *Program) CheckDeclarations() error {
	_, err := p.declared()
	return err
}

// declared collects the parameters by name and refuses what could not be given or
// told apart.
func (p *Program) declared() (map[string]Param, error) {
	byName := make(map[string]Param, len(p.Params))
	variables := make(map[string]string, len(p.Params))
	for _, param := range p.Params {
		variable := ParamVariable(param.Name)
		switch other, taken := variables[variable]; {
		case !isParamName(param.Name):
			return nil, badParamName(p.Name, param.Name)
		case taken && other == param.Name:
			return nil, Errorf(Invalid, "duplicate: program %.80s: parameter %s is declared twice", p.Name, param.Name)
		case taken:
			return nil, Errorf(Invalid, "duplicate: program %.80s: parameters %s and %s both reach commands as %s", p.Name, other, param.Name, variable)
		case param.Required && param.Default != "":
			return nil, Errorf(Invalid, "conflict: program %.80s: parameter %s is required and has a default: give one", p.Name, param.Name)
		}
		variables[variable], byName[param.Name] = param.Name, param
		if err := param.checkDeclaration(); err != nil {
			return nil, Errorf(Invalid, "program %.80s: parameter %s: %s", p.Name, param.Name, err)
		}
	}
	return byName, nil
}

// checkOpen refuses a parameter that is not declared, unless the program takes such
// ones and it can be told apart from others where processes find it.
func (p *Program) checkOpen(name string, variables map[string]string) error {
	if !p.OpenParams {
		return p.unknownParam(name)
	}
	if !isParamName(name) {
		return badParamName(p.Name, name)
	}
	variable := ParamVariable(name)
	if other, taken := variables[variable]; taken {
		return Errorf(Invalid, "duplicate: program %.80s: parameters %s and %s both reach commands as %s", p.Name, other, name, variable)
	}
	variables[variable] = name
	return nil
}

func badParamName(program, name string) error {
	return Errorf(Invalid, "bad_name: program %.80s: parameter %.80q: expected a letter, then letters, digits, -, _ or ., 63 in all at most", program, name)
}

func (p *Program) unknownParam(name string) error {
	names := make([]string, len(p.Params))
	for i, param := range p.Params {
		names[i] = param.Name
	}
	allowed := "it has no parameters"
	if len(names) > 0 {
		allowed = "expected one of " + strings.Join(names, ", ")
	}
	if hint := Nearest(name, names); hint != "" {
		allowed += "; did you mean " + hint + "?"
	}
	return Errorf(Invalid, "unknown_param: program %.80s: parameter %.80q: %s", p.Name, name, allowed)
}

// checkDeclaration checks the type, and the allowed values and the default by it.
func (p Param) checkDeclaration() error {
	if !slices.Contains(ParamTypes(), p.kind()) {
		return fmt.Errorf("wrong_type: type %.80q: expected one of %s", string(p.Type), joined(ParamTypes()))
	}
	plain := Param{Type: p.Type}
	for _, v := range p.Values {
		if err := plain.check(v); err != nil {
			return fmt.Errorf("values: %w", err)
		}
	}
	if p.Default == "" {
		return nil
	}
	if err := p.check(p.Default); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	return nil
}

// check says what is wrong with a value.
func (p Param) check(value string) error {
	if len(value) > MaxParam {
		return fmt.Errorf("too_large: %d bytes; at most %d", len(value), MaxParam)
	}
	if i := strings.IndexByte(value, 0); i >= 0 {
		return fmt.Errorf("bad_value: byte %d is NUL", i+1)
	}
	if !p.fits(value) {
		return fmt.Errorf("wrong_type: %.80q: expected %s", value, p.wants())
	}
	if len(p.Values) > 0 && !slices.Contains(p.Values, value) {
		hint := ""
		if near := Nearest(value, p.Values); near != "" {
			hint = "; did you mean " + near + "?"
		}
		return fmt.Errorf("bad_value: %.80q: expected one of %s%s", value, strings.Join(p.Values, ", "), hint)
	}
	return nil
}

func (p Param) fits(value string) bool {
	switch p.kind() {
	case TextParam:
		return true
	case IntegerParam:
		_, err := strconv.ParseInt(value, 10, 64)
		return err == nil && value[0] != '+'
	case NumberParam:
		n, err := strconv.ParseFloat(value, 64)
		return err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) && !strings.ContainsAny(value, "xX_")
	case FlagParam:
		return value == "true" || value == "false"
	case SizeParam:
		_, err := ParseSize(value)
		return err == nil
	}
	return false
}

// wants says for people what a value must be.
func (p Param) wants() string {
	switch p.kind() {
	case IntegerParam:
		return "a whole number"
	case NumberParam:
		return "a number"
	case FlagParam:
		return "true or false"
	case SizeParam:
		return "a size, as 64MiB"
	case TextParam:
	}
	return "text"
}

func (p Param) kind() ParamType {
	if p.Type == "" {
		return TextParam
	}
	return p.Type
}

// ParamTypes lists the types of parameters.
func ParamTypes() []ParamType {
	return []ParamType{TextParam, IntegerParam, NumberParam, FlagParam, SizeParam}
}

func joined[S ~string](words []S) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = string(w)
	}
	return strings.Join(out, ", ")
}

func isParamName(name string) bool {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789-_.", r)) {
			return false
		}
	}
	return name != "" && len(name) <= 63
}

// Nearest returns the one of names that resembles name most: equal but for case,
// or a few letters away. It returns "" if none does.
func Nearest(name string, names []string) string {
	name = strings.ToLower(name)
	if len(name) > 64 {
		return ""
	}
	best, bestDistance := "", 1+(len(name)+2)/3
	for _, n := range names {
		if d := distance(name, strings.ToLower(n)); d < bestDistance {
			best, bestDistance = n, d
		}
	}
	return best
}

// distance is the least number of bytes to insert, remove or change, or of
// neighbours to exchange (Damerau and Levenshtein).
func distance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above[j]+cost, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
