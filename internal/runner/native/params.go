package native

import (
	"strconv"

	"stint"
)

// settings are the parameters of an attempt as declared: each has a value of its
// type, the default where none was given.
type settings map[string]string

// settle checks the parameters that an operator declares, among those given, and
// completes them. Others are not looked at: an operator is given all parameters of
// its program.
func settle(name string, declared []stint.Param, given map[string]string) (settings, error) {
	p := stint.Program{Name: name, Params: declared, OpenParams: true}
	return p.CheckParams(given)
}

// The values of parameters that settle has checked.

func (s settings) flag(name string) bool { return s[name] == "true" }

func (s settings) integer(name string) int64 {
	n, _ := strconv.ParseInt(s[name], 10, 64) // checked
	return n
}

func (s settings) number(name string) float64 {
	f, _ := strconv.ParseFloat(s[name], 64) // checked
	return f
}

// atLeast refuses a whole number below a bound.
func (s settings) atLeast(name string, least int64) error {
	if s.integer(name) < least {
		return stint.Errorf(stint.Invalid, "parameter %s=%s: expected at least %d", name, s[name], least)
	}
	return nil
}

// separator returns the one byte that a parameter consists of; the two
// characters \t are a TAB.
func (s settings) separator(name string) (byte, error) {
	v := s[name]
	if v == `\t` {
		v = "\t"
	}
	if len(v) != 1 || v == "\n" {
		return 0, stint.Errorf(stint.Invalid, "parameter %s=%.80q: expected one byte that is no line end, or \\t", name, v)
	}
	return v[0], nil
}
