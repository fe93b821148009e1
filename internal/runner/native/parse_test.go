package native

import (
	"bytes"
	"math"
	"math/big"
	"testing"
)

// number is what a text stands for, as GNU sort -n takes it.
func number(b []byte) *big.Rat {
	d := parseDecimal(b)
	text := "0" + string(d.whole) + "." + string(d.fraction) + "0"
	r, _ := new(big.Rat).SetString(text)
	if d.negative {
		r.Neg(r)
	}
	return r
}

// FuzzNumberOrder: numbers sort by their bytes as they do by their values, up and
// down, and none has an LF.
func FuzzNumberOrder(f *testing.F) {
	f.Add([]byte("-1.50"), []byte("-1.5"))
	f.Add([]byte(" 007"), []byte("7.0x"))
	f.Add([]byte("-0"), []byte(".0"))
	f.Add(bytes.Repeat([]byte("9"), 300), append([]byte("-"), bytes.Repeat([]byte("9"), 299)...))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if len(a) > 2000 || len(b) > 2000 {
			return
		}
		want := number(a).Cmp(number(b))
		up, down := bytes.Compare(appendNumber(nil, a), appendNumber(nil, b)), bytes.Compare(appendNumberDown(nil, a), appendNumberDown(nil, b))
		if up != want || down != -want {
			t.Fatalf("%q and %q: %d by value, %d up, %d down", a, b, want, up, down)
		}
		if bytes.IndexByte(appendNumber(appendNumberDown(nil, a), a), '\n') >= 0 {
			t.Fatalf("%q has an LF", a)
		}
	})
}

// FuzzTextOrder: texts sort by their bytes as they do themselves, up and down,
// whatever follows, and come back.
func FuzzTextOrder(f *testing.F) {
	f.Add([]byte("a"), []byte("a\x00"))
	f.Add([]byte{0, 1, 244, 245, 254, 255}, []byte{0, 1, 244, 245, 254})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		want := bytes.Compare(a, b)
		up, down := bytes.Compare(appendUp(nil, a), appendUp(nil, b)), bytes.Compare(appendDown(nil, a), appendDown(nil, b))
		if up != want || down != -want {
			t.Fatalf("%q and %q: %d, %d up, %d down", a, b, want, up, down)
		}
		if back := undown(nil, appendDown(nil, a)); !bytes.Equal(back, a) {
			t.Fatalf("%q came back as %q", a, back)
		}
		if bytes.IndexByte(a, '\n') < 0 && bytes.IndexByte(appendDown(appendUp(nil, a), a), '\n') >= 0 {
			t.Fatalf("%q has an LF", a)
		}
	})
}

// FuzzSortKeys: keys that are accepted take parts of a line that lie within it.
func FuzzSortKeys(f *testing.F) {
	f.Add("-k2,2 -k 1.3n,4.0b", "", []byte("a  bc\td e"))
	f.Add("3.1nr", ",", []byte(",,1,"))
	f.Add("1,1.9223372036854775807", "", []byte("x"))
	f.Fuzz(func(t *testing.T, key, separator string, line []byte) {
		o, err := newOrdering(map[string]string{"key": key, "separator": separator})
		if err != nil {
			return
		}
		before := bytes.Clone(line)
		for i := range o.keys {
			if part := o.part(&o.keys[i], line); len(part) > 0 && !bytes.Contains(line, part) {
				t.Fatalf("key %q of %q is %q", key, line, part)
			}
		}
		encoded, keys := o.encode(nil, line)
		if got := o.line(nil, encoded[keys:]); !bytes.Equal(got, line) || !bytes.Equal(line, before) {
			t.Fatalf("key %q: %q came back as %q", key, before, got)
		}
	})
}

// FuzzLogLine: a line is taken apart within bounds, and the same each time.
func FuzzLogLine(f *testing.F) {
	f.Add([]byte(`h - - [02/Jan/2026:15:04:05 -0700] "GET /a?b HTTP/1.1" 200 123 "r" "a\"x" 0.5`), false, true)
	f.Add([]byte(`{"status":200,"path":"/x","method":"GET","bytes":1,"time":"2026-01-02T03:04:05Z","latency":0.1}`), true, false)
	f.Add([]byte(`[02/anF/2026:15:04:05 `), false, false)
	f.Fuzz(func(t *testing.T, line []byte, asJSON, query bool) {
		s := settings{"format": "combined", "latency": "s"}
		if asJSON {
			s["format"] = "json"
		}
		if query {
			s["query"] = "true"
		}
		format, err := newLogFormat(s)
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(line)
		r, err := format.parse(line)
		if err != nil {
			return
		}
		if len(r.status) != 3 || r.bytes < 0 || r.latency < -1 || len(r.hour) > 13 || !query && bytes.IndexByte(r.path, '?') >= 0 {
			t.Fatalf("%q: %+v", line, r)
		}
		for _, text := range [][]byte{r.path, r.method} {
			if bytes.ContainsAny(text, "\t\n") {
				t.Fatalf("%q: %q would end a field or a line", line, text)
			}
		}
		if !bytes.Equal(line, before) {
			t.Fatalf("%q was altered to %q", before, line)
		}
	})
}

// FuzzJavaDouble: a number is written as it is read.
func FuzzJavaDouble(f *testing.F) {
	for _, s := range []string{"1.5", " -0x1.8p3 ", "1e400", "NaN", "-Infinity", "1d", "1__0", "+-1", ".e1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, ok := parseDouble(s)
		if !ok {
			return
		}
		text := appendDouble(nil, x)
		y, ok := parseDouble(string(text))
		if !ok || x != y && !(math.IsNaN(x) && math.IsNaN(y)) {
			t.Fatalf("%q is %v, written %q, read %v", s, x, text, y)
		}
	})
}
