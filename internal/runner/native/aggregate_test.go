package native_test

import (
	"strings"
	"testing"

	"stint"
)

// What Hadoop itself makes of such values is in the vectors of package worker.
func TestAggregate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, out, combined string }{
		{"nothing", "", "", ""},
		{"sum", "LongValueSum:a\t1\nLongValueSum:a\t-3\n", "a\t-2\n", "LongValueSum:a\t-2\n"},
		{"sum wraps", "LongValueSum:a\t-9223372036854775808\nLongValueSum:a\t-1\n", "a\t9223372036854775807\n", "LongValueSum:a\t9223372036854775807\n"},
		{"maximum", "LongValueMax:a\t-5\nLongValueMax:a\t-4\n", "a\t-4\n", "LongValueMax:a\t-4\n"},
		{"minimum", "LONGVALUEMIN:a\t5\nLONGVALUEMIN:a\t4\n", "a\t4\n", "LONGVALUEMIN:a\t4\n"},
		{"strings", "StringValueMax:a\tb\nStringValueMax:a\ta\nStringValueMin:a\tb\nStringValueMin:a\ta\n", "a\tb\na\ta\n", "StringValueMax:a\tb\nStringValueMin:a\ta\n"},
		{"no value", "StringValueMax:a\nUniqValueCount:a\n", "a\t\na\t1\n", "StringValueMax:a\t\nUniqValueCount:a\t\n"},
		{"unique", "UniqValueCount:a\tz\nUniqValueCount:a\ty\nUniqValueCount:a\tz\n", "a\t2\n", "UniqValueCount:a\ty\nUniqValueCount:a\tz\n"},
		{"histogram", "ValueHistogram:a\tz\nValueHistogram:a\ty\t4\nValueHistogram:a\tz\n", "a\t2\t2\t4\t4\t3.0\t1.0\n", "ValueHistogram:a\ty\t4\nValueHistogram:a\tz\t2\n"},
		{
			"doubles", "DoubleValueSum:a\t1e7\nDoubleValueSum:b\t9999999\nDoubleValueSum:c\t.001\nDoubleValueSum:d\t-9e-4d\nDoubleValueSum:e\t-0\n",
			"a\t1.0E7\nb\t9999999.0\nc\t0.001\nd\t-9.0E-4\ne\t0.0\n", "DoubleValueSum:a\t1.0E7\nDoubleValueSum:b\t9999999.0\nDoubleValueSum:c\t0.001\nDoubleValueSum:d\t-9.0E-4\nDoubleValueSum:e\t0.0\n",
		},
		{
			"infinities", "DoubleValueSum:a\tInfinity\nDoubleValueSum:b\t-1e999\nDoubleValueSum:c\tInfinity\nDoubleValueSum:c\t-Infinity\n",
			"a\tInfinity\nb\t-Infinity\nc\tNaN\n", "DoubleValueSum:a\tInfinity\nDoubleValueSum:b\t-Infinity\nDoubleValueSum:c\tNaN\n",
		},
	} {
		if got := mustPerform(t, "aggregate", nil, c.in); got != c.out {
			t.Errorf("%s: %q, want %q", c.name, got, c.out)
		}
		combined := mustPerform(t, "aggregate-combine", nil, c.in)
		if combined != c.combined {
			t.Errorf("%s combined: %q, want %q", c.name, combined, c.combined)
		}
		if got := mustPerform(t, "aggregate", nil, combined); got != c.out {
			t.Errorf("%s of what was combined: %q, want %q", c.name, got, c.out)
		}
	}
}

func TestAggregateRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"abc\t1\n":                    `aggregate: the key "abc": expected one of DoubleValueSum, LongValueMax`,
		"Sum:abc\t1\n":                `aggregate: the key "Sum:abc": expected one of`,
		"LongValueSum:a\tx\n":         `aggregate: the value "x" of key "LongValueSum:a" is no number that LongValueSum takes`,
		"LongValueSum:a\t 1\n":        `the value " 1"`,
		"LongValueSum:a\t1.0\n":       `the value "1.0"`,
		"LongValueMax:a\t1e9\n":       `the value "1e9"`,
		"DoubleValueSum:a\t\n":        `the value ""`,
		"DoubleValueSum:a\tinf\n":     `the value "inf"`,
		"DoubleValueSum:a\t1_0\n":     `the value "1_0"`,
		"DoubleValueSum:a\t--1\n":     `the value "--1"`,
		"DoubleValueSum:a\t0x1\n":     `the value "0x1"`,
		"ValueHistogram:a\tx\tmany\n": `the value "x\tmany"`,
	} {
		for _, name := range []string{"aggregate", "aggregate-combine"} {
			err := perform(t, name, nil, strings.NewReader(in), new(strings.Builder))
			if stint.CodeOf(err) != stint.Failed || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %q: %v, want %q", name, in, err, want)
			}
		}
	}
}
