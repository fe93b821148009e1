package command

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"stint"
)

// propertyNames appends, for a program that runs as under Hadoop, the properties
// of the job that are known here: what the stage says of its streams, and the
// execution's parameters, each under its name with "_" for all but letters and digits.
func propertyNames(env []string, a *stint.Attempt) []string {
	s, side := a.Streaming, "map"
	if !a.First {
		side = "reduce"
	}
	put := func(name, value string) {
		if value != "" {
			env = append(env, variable(name)+"="+value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Params)) {
		put(name, a.Params[name])
	}
	put("stream."+side+".output.field.separator", s.Separator)
	put("stream."+side+".input.field.separator", s.InputSeparator)
	if s.KeyFields > 0 {
		put("stream.num."+side+".output.key.fields", strconv.Itoa(s.KeyFields))
	}
	put("mapreduce.output.textoutputformat.separator", s.OutputSeparator)
	put("mapred.textoutputformat.separator", s.OutputSeparator)
	put("stream.stderr.reporter.prefix", s.ReporterPrefix)
	put("stream.non.zero.exit.is.failure", strconv.FormatBool(!s.IgnoreExit))
	put("mapreduce.job.local.dir", a.Dir)
	put("job.local.dir", a.Dir)
	if a.First {
		put("mapreduce.job.maps", strconv.FormatUint(uint64(a.Operations), 10))
		put("mapred.map.tasks", strconv.FormatUint(uint64(a.Operations), 10))
	}
	return env
}

// variable returns the name of the environment variable of a property.
func variable(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '_'
	}, name)
}
