package manifest

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"stint"
)

// Bounds of a manifest.
const (
	MaxBytes  = 1 << 20
	maxDepth  = 16
	maxTokens = 30_000
)

// place is a position in the text, from 1.
type place struct{ line, column int }

// kind is what a node of the tree is.
type kind int

const (
	scalar kind = iota
	list
	mapping
)

// node is a value in the text.
type node struct {
	place
	kind    kind
	text    string // of a scalar
	plain   bool   // a scalar without quotes, whose type YAML guesses
	items   []*node
	entries []entry
}

// entry is a key of a mapping and its value.
type entry struct {
	place
	name  string
	value *node
}

// tree reads the one document of a text. Its error is a refusal.
func tree(file string, text []byte) (*node, error) {
	if err := checkText(file, text); err != nil {
		return nil, err
	}
	tokens := lexer.Tokenize(string(text))
	if err := checkTokens(file, tokens); err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxError(file, err)
	}
	var body ast.Node
	for _, d := range parsed.Docs {
		if body != nil && d.Body != nil {
			return nil, refusal(file, at(d.Body), "one_document_only", "a second document begins here; a manifest is one")
		}
		if d.Body != nil {
			body = d.Body
		}
	}
	if body == nil {
		return nil, refusal(file, place{1, 1}, "not_a_manifest", "there is nothing in it; expected name: and stages:")
	}
	b := builder{file: file}
	return b.node(body, 1)
}

// checkText refuses what is no text that YAML is written in.
func checkText(file string, text []byte) error {
	if len(text) > MaxBytes {
		return stint.RefuseTooLarge(MaxBytes, "manifest_too_large: %s: %d bytes; the limit is 1 MiB", file, len(text))
	}
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff", "\x00"} {
		if strings.HasPrefix(string(text), mark) {
			return refusal(file, place{1, 1}, "bad_encoding", "it begins with bytes % x: expected UTF-8 without a byte order mark", mark)
		}
	}
	line, column := 1, 1
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size == 1, r < ' ' && r != '\n' && r != '\t' && r != '\r', r >= 0x7f && r < 0xa0 && r != 0x85, r == 0xfeff:
			return refusal(file, place{line, column}, "not_a_manifest", "byte 0x%02x: expected UTF-8 text", text[i])
		case r == '\n':
			line, column = line+1, 0
		}
		i += size
		column++
	}
	return nil
}

// checkTokens refuses, before anything is made of the tokens, what a manifest
// does not have, and nesting that would cost more than the text is worth.
func checkTokens(file string, tokens token.Tokens) error {
	flow, run, line := 0, 0, 0
	for i, t := range tokens {
		where := place{t.Position.Line, t.Position.Column}
		if t.Position.Line != line {
			line, run = t.Position.Line, 0
		}
		if i == maxTokens {
			return refusal(file, where, "too_many", "more than %d words and marks", maxTokens)
		}
		if code, what := unwanted(t); code != "" {
			return refusal(file, where, code, "%s", what)
		}
		switch t.Type { //nolint:exhaustive // others do not nest
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			run++
		}
		if flow+run > maxDepth {
			return refusal(file, where, "too_deep", "nested deeper than %d levels", maxDepth)
		}
	}
	return nil
}

// unwanted says what of YAML a manifest does not have.
func unwanted(t *token.Token) (code, what string) {
	switch t.Type { //nolint:exhaustive // all others are wanted
	case token.AliasType, token.AnchorType:
		return "aliases_not_allowed", "anchors and aliases (& and *) are not allowed: write the value where it is used, or quote it"
	case token.MergeKeyType:
		return "aliases_not_allowed", "merge keys (<<) are not allowed: write the values where they are used"
	case token.TagType:
		return "tags_not_allowed", "tags (!) are not allowed: quote the value to make it text"
	case token.DirectiveType:
		return "not_a_manifest", "directives (%) are not allowed"
	case token.MappingKeyType:
		return "not_a_manifest", "keys behind ? are not allowed: write key: value"
	case token.InvalidType:
		return "not_a_manifest", "it is not YAML: " + t.Error
	}
	return "", ""
}

func syntaxError(file string, err error) error {
	if known, ok := errors.AsType[*yaml.SyntaxError](err); ok && known.Token != nil {
		p := known.Token.Position
		return refusal(file, place{p.Line, p.Column}, "not_a_manifest", "it is not YAML: %s", known.Message)
	}
	return refusal(file, place{1, 1}, "not_a_manifest", "it is not YAML: %s", err)
}

func at(n ast.Node) place {
	p := n.GetToken().Position
	return place{p.Line, p.Column}
}

// builder makes our tree of the library's.
type builder struct{ file string }

func (b *builder) node(n ast.Node, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, refusal(b.file, at(n), "too_deep", "nested deeper than %d levels", maxDepth)
	}
	switch v := n.(type) {
	case *ast.MappingNode:
		out := &node{place: b.start(v), kind: mapping}
		return out, b.entries(out, v.Values, depth)
	case *ast.MappingValueNode:
		out := &node{place: at(v.Key), kind: mapping}
		return out, b.entries(out, []*ast.MappingValueNode{v}, depth)
	case *ast.SequenceNode:
		out := &node{place: at(v), kind: list}
		for _, item := range v.Values {
			inner, err := b.node(item, depth+1)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, inner)
		}
		return out, nil
	case *ast.LiteralNode:
		return &node{place: at(v), text: v.Value.Value}, nil
	case ast.ScalarNode:
		t := v.GetToken()
		if t.Type == token.ImplicitNullType {
			return &node{place: at(v), plain: true}, nil
		}
		quoted := t.Type == token.DoubleQuoteType || t.Type == token.SingleQuoteType
		return &node{place: at(v), text: t.Value, plain: !quoted}, nil
	}
	return nil, refusal(b.file, at(n), "not_a_manifest", "%s is not allowed: expected a mapping, a list, or a plain value", strings.ToLower(n.Type().String()))
}

func (*builder) start(v *ast.MappingNode) place {
	if len(v.Values) > 0 && !v.IsFlowStyle {
		return at(v.Values[0].Key)
	}
	return at(v)
}

func (b *builder) entries(out *node, values []*ast.MappingValueNode, depth int) error {
	seen := make(map[string]place, len(values))
	for _, v := range values {
		where := at(v.Key)
		key, ok := v.Key.(ast.ScalarNode)
		if !ok {
			return refusal(b.file, where, "not_a_manifest", "a key is %s: expected a word", strings.ToLower(v.Key.Type().String()))
		}
		name := key.GetToken().Value
		if first, twice := seen[name]; twice {
			return refusal(b.file, where, "duplicate_key", "%s is there twice, first at line %d", quote(name), first.line)
		}
		seen[name] = where
		value, err := b.node(v.Value, depth+1)
		if err != nil {
			return err
		}
		out.entries = append(out.entries, entry{place: where, name: name, value: value})
	}
	return nil
}

// refusal is one thing that is wrong, at a place.
func refusal(file string, p place, code, format string, args ...any) *stint.Error {
	return stint.Errorf(stint.Invalid, "%s: %s:%d:%d: %s", code, file, p.line, p.column, stint.Errorf(stint.Invalid, format, args...))
}

// quote shows a piece of the text, cut if it is long.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}
