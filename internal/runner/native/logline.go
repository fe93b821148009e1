package native

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"stint"
)

// request is what a line of a log says of one request. Texts are parts of the line
// or made for it, and valid until the next is parsed.
type request struct {
	status  []byte
	method  []byte
	path    []byte
	hour    []byte // 2026-03-01T17, as the server's clock had it
	bytes   int64
	latency int64 // microseconds; -1: none is there
}

// logFormat takes lines of a log apart.
type logFormat struct {
	json   bool
	query  bool // keep what follows ? in a path
	unit   float64
	names  map[string][]string // of the fields in JSON, by what they are to us
	hour   [13]byte
	fields map[string]json.RawMessage
}

func logParams() []stint.Param {
	return []stint.Param{
		{Name: "format", Values: []string{"combined", "json"}, Default: "combined", Description: "of lines: combined (and common) as of Apache and nginx, or JSON"},
		{Name: "latency", Values: []string{"s", "ms", "us", "none"}, Default: "s", Description: "unit of the latency: of the first number behind a combined line's fields, or a field in JSON"},
		{Name: "fields", Description: "names of fields in JSON: status=code,path=url,method=verb,bytes=size,time=at,latency=took"},
		{Name: "query", Type: stint.FlagParam, Default: "false", Description: "keep the query in paths"},
		{Name: "top", Type: stint.IntegerParam, Default: "10", Description: "how many paths are listed"},
		{Name: "bad", Values: []string{"count", "fail"}, Default: "count", Description: "lines that are none of a log: count them, or take them for bad records"},
	}
}

// The names that fields have in JSON if none are given, the likeliest first.
func usualNames() map[string][]string {
	return map[string][]string{
		"status":  {"status", "status_code", "code"},
		"path":    {"path", "uri", "request_uri", "url"},
		"method":  {"method", "request_method", "verb"},
		"bytes":   {"bytes", "body_bytes_sent", "bytes_sent", "size"},
		"time":    {"time", "timestamp", "ts", "@timestamp", "time_iso8601", "time_local"},
		"latency": {"latency", "request_time", "duration", "took"},
	}
}

func newLogFormat(s settings) (*logFormat, error) {
	f := &logFormat{json: s["format"] == "json", query: s.flag("query"), names: usualNames()}
	f.unit = map[string]float64{"s": 1e6, "ms": 1e3, "us": 1, "none": 0}[s["latency"]]
	for _, pair := range strings.FieldsFunc(s["fields"], func(r rune) bool { return r == ',' }) {
		ours, theirs, ok := strings.Cut(pair, "=")
		if _, known := f.names[ours]; !ok || !known || theirs == "" {
			return nil, stint.Errorf(stint.Invalid, "parameter fields: %.80q: expected one of status, path, method, bytes, time, latency, then = and its name", pair)
		}
		f.names[ours] = []string{theirs}
	}
	return f, nil
}

// parse takes a line apart.
func (f *logFormat) parse(line []byte) (request, error) {
	line = bytes.TrimSuffix(line, []byte{'\r'})
	r := request{latency: -1}
	parse := f.parseCombined
	if f.json {
		parse = f.parseJSON
	}
	if err := parse(line, &r); err != nil {
		return r, err
	}
	if !f.query {
		if i := bytes.IndexByte(r.path, '?'); i >= 0 {
			r.path = r.path[:i]
		}
	}
	r.path = printable(r.path)
	r.method = printable(r.method)
	return r, nil
}

// parseCombined reads
//
//	host ident user [02/Jan/2006:15:04:05 -0700] "GET /path HTTP/1.1" 200 123 "referrer" "agent" 0.123
//
// of which the last three may be missing.
func (f *logFormat) parseCombined(line []byte, r *request) error {
	open := bytes.IndexByte(line, '[')
	if open < 0 {
		return errors.New("no time in brackets")
	}
	line = line[open+1:]
	if len(line) < 21 || !f.readTime(line) {
		return errors.New("no time as 02/Jan/2006:15:04:05 -0700 in brackets")
	}
	r.hour = f.hour[:]
	line = line[20:]
	begin := bytes.Index(line, []byte(`] "`))
	if begin < 0 {
		return errors.New("no request in quotes")
	}
	line = line[begin+3:]
	end := closingQuote(line)
	if end < 0 {
		return errors.New("the request's closing quote is missing")
	}
	r.method, r.path = cutRequest(line[:end])
	return f.readNumbers(bytes.TrimLeft(line[end+1:], " "), r)
}

// readNumbers reads what follows the request: status, size, and beyond what is in
// quotes the latency.
func (f *logFormat) readNumbers(line []byte, r *request) error {
	status, rest, _ := bytes.Cut(line, []byte{' '})
	if !isStatus(status) {
		return errors.New("no status of three digits behind the request")
	}
	r.status = status
	size, rest, _ := bytes.Cut(rest, []byte{' '})
	if string(size) != "-" {
		n, ok := parseSmall(size)
		if !ok || n < 0 {
			return errors.New("no size behind the status")
		}
		r.bytes = n
	}
	for f.unit > 0 && len(rest) > 0 {
		if rest[0] == '"' {
			end := closingQuote(rest[1:])
			if end < 0 {
				return errors.New("a closing quote is missing")
			}
			rest = bytes.TrimLeft(rest[end+2:], " ")
			continue
		}
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte{' '})
		if isDecimal(field) && r.latency < 0 {
			r.latency = f.micros(string(field))
		}
	}
	return nil
}

// micros returns a latency that is written in our unit; -1 if it is none.
func (f *logFormat) micros(text string) int64 {
	v, err := strconv.ParseFloat(text, 64)
	if v = math.Round(v * f.unit); err != nil || !(v >= 0 && v < 1<<62) {
		return -1
	}
	return int64(v)
}

func isStatus(b []byte) bool {
	return len(b) == 3 && countDigits(b) == 3
}

// closingQuote returns where the first quote is that no backslash precedes.
func closingQuote(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// cutRequest takes "GET /a b HTTP/1.1" apart; what is no request is a path.
func cutRequest(b []byte) (method, path []byte) {
	i := bytes.IndexByte(b, ' ')
	if i <= 0 {
		return []byte("-"), b
	}
	method, path = b[:i], b[i+1:]
	if j := bytes.LastIndex(path, []byte(" HTTP/")); j >= 0 {
		path = path[:j]
	}
	return method, path
}

// readTime puts the hour of 02/Jan/2006:15:04:05 into f.
func (f *logFormat) readTime(b []byte) bool {
	month := strings.Index("JanFebMarAprMayJunJulAugSepOctNovDec", string(b[3:6]))
	if month%3 != 0 || b[2] != '/' || b[6] != '/' || b[11] != ':' || b[14] != ':' || b[17] != ':' {
		return false
	}
	month = month/3 + 1
	copy(f.hour[:], b[7:11])
	f.hour[4], f.hour[5], f.hour[6], f.hour[7] = '-', byte('0'+month/10), byte('0'+month%10), '-'
	copy(f.hour[8:], b[:2])
	f.hour[10] = 'T'
	copy(f.hour[11:], b[12:14])
	return countDigits(f.hour[:4]) == 4 && countDigits(b[:2]) == 2 && countDigits(b[12:14]) == 2
}

// parseJSON reads an object. Status and path must be there.
func (f *logFormat) parseJSON(line []byte, r *request) error {
	clear(f.fields)
	if err := json.Unmarshal(line, &f.fields); err != nil {
		return err
	}
	r.status, r.path = f.text("status"), f.text("path")
	if !isStatus(r.status) {
		return errors.New("no status of three digits")
	}
	if r.path == nil {
		return errors.New("no path")
	}
	if r.method = f.text("method"); len(r.method) == 0 {
		r.method = []byte("-")
	}
	if size := f.text("bytes"); size != nil && string(size) != "-" {
		n, ok := parseSmall(size)
		if !ok || n < 0 {
			return errors.New("the size is not a whole number")
		}
		r.bytes = n
	}
	if text := f.text("latency"); text != nil && f.unit > 0 {
		r.latency = f.micros(string(text))
	}
	if at := f.text("time"); at != nil {
		return f.readJSONTime(at, r)
	}
	return nil
}

// readJSONTime takes RFC 3339, the combined form, and seconds since 1970, which are UTC.
func (f *logFormat) readJSONTime(at []byte, r *request) error {
	r.hour = f.hour[:]
	if t, err := time.Parse(time.RFC3339, string(at)); err == nil {
		copy(f.hour[:], t.Format("2006-01-02T15"))
		return nil
	}
	if len(at) >= 20 && f.readTime(at) {
		return nil
	}
	seconds, err := strconv.ParseFloat(string(at), 64)
	if err != nil || !(seconds >= 0 && seconds < 253402300800) {
		return errors.New("the time is neither RFC 3339 nor seconds since 1970")
	}
	copy(f.hour[:], time.Unix(int64(seconds), 0).UTC().Format("2006-01-02T15"))
	return nil
}

// text returns a field as text, a string without its quotes; nil if it is not there.
func (f *logFormat) text(what string) []byte {
	for _, name := range f.names[what] {
		raw, ok := f.fields[name]
		if !ok || string(raw) == "null" {
			continue
		}
		var s string
		if raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
			return []byte(s)
		}
		return raw
	}
	return nil
}

// printable returns text in which bytes that would spoil a table are written as \x09.
func printable(b []byte) []byte {
	if bytes.IndexFunc(b, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0 {
		return b
	}
	var out []byte
	for _, c := range b {
		if c < ' ' || c == 0x7f {
			const hex = "0123456789abcdef"
			out = append(out, '\\', 'x', hex[c>>4], hex[c&15])
		} else {
			out = append(out, c)
		}
	}
	return out
}
