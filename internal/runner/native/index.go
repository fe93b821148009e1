package native

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"stint"
	"stint/internal/shuffle"
)

func indexParams() []stint.Param {
	return []stint.Param{
		{Name: "documents", Values: []string{"files", "lines"}, Default: "files", Description: "what a document is: a file, named by its path, or a line, named by what is before its first TAB"},
		{Name: "fold", Type: stint.FlagParam, Default: "true", Description: "letters A to Z count as a to z"},
		{Name: "min_length", Type: stint.IntegerParam, Default: "1", Description: "of a term, in bytes"},
		{Name: "max_length", Type: stint.IntegerParam, Default: "64", Description: "of a term, in bytes; longer ones are left out"},
	}
}

// objectReader is an input that can give whole objects one by one.
type objectReader interface {
	Objects(each func(o stint.Object, content io.Reader) error) error
}

// index writes a record (term, document:occurrences) for every term of every
// document. A term is a maximal run of letters, digits, _ and bytes beyond ASCII.
func index(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	s, err := settleIndex(a.Params)
	if err != nil {
		return err
	}
	return emitTo(out, func(sink shuffle.Sink) error {
		d := &document{fold: s.flag("fold"), least: int(s.integer("min_length")), most: int(s.integer("max_length")), counts: make(map[string]*int), sink: sink}
		if s["documents"] == "lines" {
			return eachLine(ctx, in, d.line)
		}
		objects, ok := in.(objectReader)
		if !ok {
			return stint.Errorf(stint.Invalid, "native operator index: stage %q does not read whole files", a.Stage)
		}
		return objects.Objects(func(o stint.Object, content io.Reader) error {
			d.name = append(d.name[:0], documentName(o.URL)...)
			return errors.Join(d.read(ctx, content), d.flush())
		})
	})
}

func settleIndex(params map[string]string) (settings, error) {
	s, err := settle("index", indexParams(), params)
	if err == nil {
		err = s.atLeast("min_length", 1)
	}
	if err == nil {
		err = s.atLeast("max_length", s.integer("min_length"))
	}
	return s, err
}

// documentName returns the path of a file URL, and another URL as it is. What
// would end a name in a list is escaped.
func documentName(location string) string {
	if path, ok := strings.CutPrefix(location, "file://"); ok {
		if plain, err := url.PathUnescape(path); err == nil {
			location = plain
		}
	}
	return string(documentID([]byte(location)))
}

// documentID escapes the bytes of a name that have a meaning in a list.
func documentID(name []byte) []byte {
	var out []byte
	for _, c := range name {
		if c < ' ' || c == ',' || c == '%' || c == 0x7f {
			const hex = "0123456789ABCDEF"
			out = append(out, '%', hex[c>>4], hex[c&15])
		} else {
			out = append(out, c)
		}
	}
	return out
}

// maxTerms is how many terms of a document are counted before they are written.
const maxTerms = 1 << 17

// document counts the terms of one document.
type document struct {
	fold        bool
	least, most int // length of a term
	name        []byte
	counts      map[string]*int
	value       []byte
	sink        shuffle.Sink
}

// line takes a line for a document.
func (d *document) line(line []byte) error {
	id, text, _ := bytes.Cut(line, []byte{'\t'})
	d.name = append(d.name[:0], documentID(id)...)
	if err := d.terms(text); err != nil {
		return err
	}
	return d.flush()
}

// read counts the terms of a file. A term that does not end where a buffer does is
// carried over, as far as it is not too long anyway.
func (d *document) read(ctx context.Context, content io.Reader) error {
	buf := make([]byte, 64<<10)
	carried := 0
	for {
		if err := stopped(ctx); err != nil {
			return err
		}
		n, err := content.Read(buf[carried:])
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return err
		}
		n += carried
		end := n
		for !last && end > 0 && isTermByte(buf[end-1]) {
			end--
		}
		if err := d.terms(buf[:end]); err != nil || last {
			return err
		}
		carried = min(copy(buf, buf[end:n]), d.most+1) // a longer one is left out, with what follows of it
		if carried == len(buf) {
			buf = doubled(buf)
		}
	}
}

func isTermByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c >= 0x80
}

// terms counts the terms of text, which ends where one does.
func (d *document) terms(text []byte) error {
	if d.fold {
		lowerASCII(text)
	}
	for at := 0; at < len(text); {
		if !isTermByte(text[at]) {
			at++
			continue
		}
		end := at + 1
		for end < len(text) && isTermByte(text[end]) {
			end++
		}
		if n := end - at; n >= d.least && n <= d.most {
			if err := d.count(text[at:end]); err != nil {
				return err
			}
		}
		at = end
	}
	return nil
}

func (d *document) count(term []byte) error {
	n := d.counts[string(term)]
	if n == nil {
		if len(d.counts) >= maxTerms {
			if err := d.flush(); err != nil {
				return err
			}
		}
		n = new(int)
		d.counts[string(term)] = n
	}
	*n++
	return nil
}

// flush writes what was counted of the document. The order does not matter: what
// follows sorts.
func (d *document) flush() error {
	for term, n := range d.counts {
		d.value = append(append(d.value[:0], d.name...), ':')
		d.value = strconv.AppendInt(d.value, int64(*n), 10)
		if err := d.sink.Emit([]byte(term), d.value); err != nil {
			return err
		}
	}
	clear(d.counts)
	return nil
}

// posting is how often a term occurs in a document.
type posting struct {
	document []byte
	count    int64
}

// maxPostings is how many bytes of postings of one term are sorted in memory.
const maxPostings = 16 << 20

// postings writes for every term its documents, sorted, and how often it occurs in
// each: term TAB document:count,document:count…
func postings(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	p := &postingList{dir: a.Scratch, lines: lineWriter{out: out}}
	defer p.close()
	if err := eachGroup(ctx, in, p.write); err != nil {
		return err
	}
	return p.lines.flush()
}

// postingList writes the lists of terms, one after the other.
type postingList struct {
	list   []posting
	arena  []byte
	sorter *shuffle.Writer // of a term with very many
	dir    string
	line   []byte
	lines  lineWriter
}

func (p *postingList) close() {
	if p.sorter != nil {
		_ = p.sorter.Close() // spill files have no name
	}
}

func (p *postingList) write(term []byte, values *shuffle.Groups) error {
	p.list, p.arena = p.list[:0], p.arena[:0]
	spilled := false
	for {
		value, err := values.Value()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := p.take(term, value); err != nil {
			return err
		}
		if len(p.arena) > maxPostings {
			spilled = true
			if err := p.spill(); err != nil {
				return err
			}
		}
	}
	p.line = append(append(p.line[:0], term...), '\t')
	if spilled {
		return p.writeSpilled()
	}
	slices.SortFunc(p.list, func(a, b posting) int { return bytes.Compare(a.document, b.document) })
	for i := 0; i < len(p.list); {
		one := p.list[i]
		for i++; i < len(p.list) && bytes.Equal(p.list[i].document, one.document); i++ {
			one.count += p.list[i].count
		}
		p.append(one.document, strconv.AppendInt(nil, one.count, 10))
	}
	return p.endLine()
}

func (p *postingList) take(term, value []byte) error {
	i := bytes.LastIndexByte(value, ':')
	if i < 0 {
		return stint.Errorf(stint.Failed, "postings: the value %s of term %.80q is not document:count", describe(value), term)
	}
	n, ok := parseSmall(value[i+1:])
	if !ok {
		return stint.Errorf(stint.Failed, "postings: the value %s of term %.80q is not document:count", describe(value), term)
	}
	from := len(p.arena)
	p.arena = append(p.arena, value[:i]...)
	p.list = append(p.list, posting{p.arena[from:len(p.arena):len(p.arena)], n})
	return nil
}

// spill hands what is in memory to a sorter that keeps it in files.
func (p *postingList) spill() error {
	if p.sorter == nil {
		var err error
		if p.sorter, err = shuffle.NewWriter(shuffle.Config{Partitions: 1, Budget: maxPostings, Dir: p.dir, Combine: new(adder).add}); err != nil {
			return err
		}
	}
	for _, one := range p.list {
		if err := p.sorter.Emit(one.document, strconv.AppendInt(nil, one.count, 10)); err != nil {
			return err
		}
	}
	p.list, p.arena = p.list[:0], p.arena[:0]
	return nil
}

func (p *postingList) writeSpilled() error {
	if err := p.spill(); err != nil {
		return err
	}
	err := p.sorter.Visit(func(_ uint32, records shuffle.Source) error {
		for {
			document, count, err := records.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			p.append(document, count)
			if len(p.line) > lineBuffer {
				if err := p.flushLine(); err != nil {
					return err
				}
			}
		}
	})
	return errors.Join(err, p.endLine(), p.sorter.Reset())
}

func (p *postingList) append(document, count []byte) {
	p.line = append(append(append(append(p.line, document...), ':'), count...), ',')
}

// flushLine writes the beginning of a long line, all but its last byte, which may
// be a comma too many.
func (p *postingList) flushLine() error {
	if err := p.lines.flush(); err != nil {
		return err
	}
	n := len(p.line) - 1
	err := writeSome(p.lines.out, p.line[:n])
	p.line = append(p.line[:0], p.line[n])
	return err
}

// endLine writes the line without its last comma.
func (p *postingList) endLine() error { return p.lines.write(p.line[:len(p.line)-1]) }

func checkIndex(params map[string]string) error {
	_, err := settleIndex(params)
	return err
}

func indexProgram(params map[string]string) stint.Program {
	split := stint.SplitFiles
	if params["documents"] == "lines" {
		split = ""
	}
	return stint.Program{
		Name: "index", Type: stint.Indexing, Params: indexParams(),
		Description: "inverted index: for every term the documents in which it occurs, and how often",
		Stages: []stint.Stage{
			{Name: "terms", Action: stint.Action{Native: "index"}, Input: stint.Edge{Kind: stint.FromInput, Split: split}},
			{Name: "postings", Action: stint.Action{Native: "postings"}, Input: stint.Edge{Kind: stint.Shuffle, From: "terms"}},
		},
	}
}
