package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
)

// None is the type of values that are absent.
type None struct{}

// codec turns values of a type into bytes and back.
type codec[T any] struct {
	append func(dst []byte, v T) ([]byte, error)
	parse  func(b []byte, v *T) error
	absent func(v T) bool // there are no bytes at all; nil: never
}

// codecOf returns the codec of a type. The types that nearly all programs use come
// without reflection.
func codecOf[T any]() codec[T] {
	switch c := any(&codec[T]{}).(type) {
	case *codec[string]:
		c.append = func(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
		c.parse = func(b []byte, v *string) error { *v = string(b); return nil }
		return *any(c).(*codec[T])
	case *codec[[]byte]:
		c.append = func(dst, v []byte) ([]byte, error) { return append(dst, v...), nil }
		c.parse = func(b []byte, v *[]byte) error { *v = b; return nil }
		c.absent = func(v []byte) bool { return v == nil }
		return *any(c).(*codec[T])
	case *codec[int64]:
		c.append = func(dst []byte, v int64) ([]byte, error) { return strconv.AppendInt(dst, v, 10), nil }
		c.parse = func(b []byte, v *int64) (err error) { *v, err = parseInt(b); return err }
		return *any(c).(*codec[T])
	case *codec[None]:
		c.append = func(dst []byte, _ None) ([]byte, error) { return dst, nil }
		c.parse = func([]byte, *None) error { return nil }
		c.absent = func(None) bool { return true }
		return *any(c).(*codec[T])
	}
	return codecOfKind[T](reflect.TypeFor[T]())
}

// codecOfKind returns the codec of all types of a kind.
func codecOfKind[T any](t reflect.Type) codec[T] {
	switch t.Kind() { //nolint:exhaustive // all others are JSON
	case reflect.String:
		return codec[T]{
			append: func(dst []byte, v T) ([]byte, error) { return append(dst, reflect.ValueOf(v).String()...), nil },
			parse:  func(b []byte, v *T) error { reflect.ValueOf(v).Elem().SetString(string(b)); return nil },
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return codec[T]{
			append: func(dst []byte, v T) ([]byte, error) {
				return strconv.AppendInt(dst, reflect.ValueOf(v).Int(), 10), nil
			},
			parse: func(b []byte, v *T) error { return setInt(reflect.ValueOf(v).Elem(), b) },
		}
	case reflect.Float32, reflect.Float64:
		return codec[T]{
			append: func(dst []byte, v T) ([]byte, error) {
				return strconv.AppendFloat(dst, reflect.ValueOf(v).Float(), 'g', -1, t.Bits()), nil
			},
			parse: func(b []byte, v *T) error {
				f, err := strconv.ParseFloat(string(b), t.Bits())
				reflect.ValueOf(v).Elem().SetFloat(f)
				return err
			},
		}
	}
	return codec[T]{append: appendJSON[T], parse: parseJSON[T]}
}

func setInt(v reflect.Value, b []byte) error {
	n, err := parseInt(b)
	if err == nil && v.OverflowInt(n) {
		err = fmt.Errorf("%d does not fit into %s", n, v.Type())
	}
	if err == nil {
		v.SetInt(n)
	}
	return err
}

// parseInt reads an integer without making a string of short ones.
func parseInt(b []byte) (int64, error) {
	if len(b) == 0 || len(b) > 18 {
		return strconv.ParseInt(string(b), 10, 64)
	}
	var n int64
	for _, c := range b {
		if c -= '0'; c > 9 {
			return strconv.ParseInt(string(b), 10, 64)
		}
		n = 10*n + int64(c)
	}
	return n, nil
}

func appendJSON[T any](dst []byte, v T) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

func parseJSON[T any](b []byte, v *T) error {
	var fresh T
	if err := json.Unmarshal(b, &fresh); err != nil {
		return fmt.Errorf("JSON %.80q: %w", b, err)
	}
	*v = fresh
	return nil
}

// value returns what stands for v: its bytes in dst, or nil.
func (c *codec[T]) value(dst []byte, v T) ([]byte, error) {
	if c.absent != nil && c.absent(v) {
		return nil, nil
	}
	dst, err := c.append(dst, v)
	if dst == nil {
		dst = []byte{}
	}
	return dst, err
}

// Decode reads a value as the functions of this package get it: for a join, whose
// values are of one type for each edge, taken as []byte.
func Decode[T any](b []byte) (T, error) {
	var v T
	c := codecOf[T]()
	return v, errors.Join(c.parse(b, &v))
}
