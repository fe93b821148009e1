package api

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"stint"
)

// Limits of a JSON document, beside its length.
const (
	maxDepth   = 32
	maxValues  = 200_000
	maxDetails = 50
)

// decodeStrict reads one JSON object into v, a pointer to a struct. Beyond what
// encoding/json refuses it refuses unknown, repeated and differently cased
// keys, numbers that the field cannot hold exactly, strings that are not text,
// null where there is no null, and anything behind the object. Its error is a
// [Problem] with everything that is wrong, unless the text is not JSON at all:
// then it is the first place where it is not.
func decodeStrict(data []byte, v any) error {
	c := checker{scanner: scanner{data: data}}
	c.space()
	if c.pos == len(data) {
		return refuse(http.StatusBadRequest, "empty_body", "the body is empty: expected a JSON object")
	}
	if data[c.pos] != '{' {
		return refuse(http.StatusBadRequest, "bad_json", "the body begins with %.80q: expected a JSON object", string(data[c.pos:c.pos+1]))
	}
	if err := c.value(reflect.TypeOf(v).Elem(), "", 1); err != nil {
		return err
	}
	c.space()
	if c.pos < len(data) {
		return refuse(http.StatusBadRequest, "trailing_data", "the JSON object is followed by something else at byte %d", c.pos)
	}
	if len(c.wrong) > 0 {
		return refuseAll(http.StatusBadRequest, c.wrong)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return refuse(http.StatusBadRequest, "bad_json", "the body does not fit: %s", printable(err.Error()))
	}
	return nil
}

// checker walks over a document and the type it is to be read into, side by
// side. What is wrong in meaning is collected, what is not JSON ends the walk.
type checker struct {
	scanner
	values int
	wrong  []Detail
}

func (c *checker) add(code, pointer, format string, args ...any) {
	c.addHint("", code, pointer, format, args...)
}

func (c *checker) addHint(hint, code, pointer, format string, args ...any) {
	if len(c.wrong) < maxDetails {
		where := pointer
		if where == "" {
			where = "the body"
		}
		message := fmt.Sprintf("%.200s: ", printable(where)) + fmt.Sprintf(format, args...)
		c.wrong = append(c.wrong, Detail{Code: code, Message: message, Pointer: pointer, Hint: hint})
	}
}

// value checks the value at the current position. The type nil takes anything.
func (c *checker) value(t reflect.Type, pointer string, depth int) error {
	if depth > maxDepth {
		return refuseLimit(http.StatusBadRequest, "too_deep", maxDepth, "%.200s: nested deeper than %d levels", printable(pointer), maxDepth)
	}
	if c.values++; c.values > maxValues {
		return refuseLimit(http.StatusBadRequest, "too_many_values", maxValues, "the body holds more than %d values", maxValues)
	}
	switch c.peek() {
	case '{':
		return c.object(t, pointer, depth)
	case '[':
		return c.array(t, pointer, depth)
	case '"':
		return c.text(t, pointer)
	case 't', 'f':
		return c.word(t, pointer, "true", "false")
	case 'n':
		return c.word(t, pointer, "null")
	default:
		return c.numeral(t, pointer)
	}
}

func (c *checker) object(t reflect.Type, pointer string, depth int) error {
	at := c.pos
	fields, elem, takes := members(t)
	if t != nil && !takes {
		c.mismatch(t, pointer, "an object", at)
	}
	seen := make(map[string]bool)
	return c.list('{', '}', func() error {
		name, bad, err := c.string()
		if err != nil {
			return err
		}
		if err := c.expect(':'); err != nil {
			return err
		}
		inner := pointer + "/" + escapePointer(name)
		if bad != "" {
			c.add("bad_string", inner, "the key holds %s", bad)
		}
		if seen[name] {
			c.add("duplicate_key", inner, "the key is there twice")
		}
		seen[name] = true
		field, known := fields[name]
		if fields == nil {
			field = elem
		} else if !known {
			c.unknown(name, inner, fields)
		}
		return c.value(field, inner, depth+1)
	})
}

// unknown records an unknown key and the known one that it resembles most.
func (c *checker) unknown(name, pointer string, fields map[string]reflect.Type) {
	names := make([]string, 0, len(fields))
	for n := range fields {
		names = append(names, n)
	}
	slices.Sort(names)
	if hint := stint.Nearest(name, names); hint != "" {
		c.addHint(hint, "unknown_field", pointer, "unknown field; did you mean %s?", hint)
		return
	}
	c.add("unknown_field", pointer, "unknown field; one of %s", strings.Join(names, ", "))
}

func (c *checker) array(t reflect.Type, pointer string, depth int) error {
	at := c.pos
	var elem reflect.Type
	if t = plain(t); t != nil {
		if t.Kind() == reflect.Slice && !readsText(t) {
			elem = t.Elem()
		} else {
			c.mismatch(t, pointer, "a list", at)
		}
	}
	i := -1
	return c.list('[', ']', func() error {
		i++
		return c.value(elem, pointer+"/"+strconv.Itoa(i), depth+1)
	})
}

func (c *checker) text(t reflect.Type, pointer string) error {
	at := c.pos
	s, bad, err := c.string()
	if err != nil {
		return err
	}
	if bad == holdsNUL && strings.HasSuffix(pointer, "/input/delimiter") {
		bad = "" // records may end with one
	}
	if bad != "" {
		c.add("bad_string", pointer, "the text holds %s", bad)
		return nil
	}
	t = plain(t)
	switch {
	case t == nil || t.Kind() == reflect.String:
	case readsText(t):
		if err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
			c.add("bad_value", pointer, "%s", printable(err.Error()))
		}
	default:
		c.mismatch(t, pointer, "text", at)
	}
	return nil
}

// word reads one of the given words: true, false and null are all there are.
func (c *checker) word(t reflect.Type, pointer string, words ...string) error {
	at := c.pos
	for _, w := range words {
		if !strings.HasPrefix(string(c.data[c.pos:min(c.pos+len(w), len(c.data))]), w) {
			continue
		}
		c.pos += len(w)
		if fits := t == nil || (w == "null" && nullable(t)) || (w != "null" && plain(t).Kind() == reflect.Bool); !fits {
			c.mismatch(t, pointer, w, at)
		}
		return nil
	}
	return c.syntax("expected a value")
}

func (c *checker) numeral(t reflect.Type, pointer string) error {
	at := c.pos
	literal, err := c.number(pointer)
	if err != nil {
		return err
	}
	t = plain(t)
	if t == nil {
		return nil
	}
	switch {
	case readsText(t):
		c.mismatch(t, pointer, "a number", at)
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		c.integer(t, pointer, literal)
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		if _, err := strconv.ParseFloat(literal, t.Bits()); err != nil {
			c.add("bad_number", pointer, "%.80q is out of range", literal)
		}
	default:
		c.mismatch(t, pointer, "a number", at)
	}
	return nil
}

func (c *checker) integer(t reflect.Type, pointer, literal string) {
	if strings.ContainsAny(literal, ".eE") {
		c.add("not_exact_integer", pointer, "%.80q: expected a whole number, written without point and exponent", literal)
		return
	}
	var err error
	if t.Kind() <= reflect.Int64 {
		_, err = strconv.ParseInt(literal, 10, t.Bits())
	} else {
		_, err = strconv.ParseUint(literal, 10, t.Bits())
	}
	if err != nil || literal == "-0" {
		c.add("bad_number", pointer, "%.80q is out of range", literal)
	}
}

func (c *checker) mismatch(t reflect.Type, pointer, found string, at int) {
	line, column := c.place(at)
	c.add("wrong_type", pointer, "found %s at line %d column %d: expected %s", found, line, column, kindName(t))
}

// members returns the keys an object may have and their types, or the type of
// all values if any key will do, and whether t is read from an object at all.
func members(t reflect.Type) (fields map[string]reflect.Type, elem reflect.Type, takes bool) {
	t = plain(t)
	switch {
	case t == nil || readsText(t):
		return nil, nil, false
	case t.Kind() == reflect.Map:
		return nil, t.Elem(), true
	case t.Kind() != reflect.Struct:
		return nil, nil, false
	}
	fields = make(map[string]reflect.Type)
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && !f.Anonymous && name != "" && name != "-" {
			fields[name] = f.Type
		}
	}
	return fields, nil, true
}

// plain returns what a pointer points to, and other types as they are.
func plain(t reflect.Type) reflect.Type {
	if t != nil && t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

func nullable(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map
}

func readsText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func kindName(t reflect.Type) string {
	t = plain(t)
	switch k := t.Kind(); {
	case readsText(t) || k == reflect.String:
		return "text"
	case k == reflect.Slice:
		return "a list"
	case k == reflect.Struct || k == reflect.Map:
		return "an object"
	case k == reflect.Bool:
		return "true or false"
	default:
		return "a number"
	}
}

func escapePointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
