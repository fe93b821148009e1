package stint_test

import (
	"strings"
	"testing"

	"stint"
)

func TestEscapedTextStandsForBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", ";;": ";;", "é": "é", `\0`: "\x00", `\n\r\t\\`: "\n\r\t\\", `\xff\x0A`: "\xff\n", `a\x41b`: "aAb", "\x00\n": "\x00\n", `\\0`: `\0`,
	} {
		if got, err := stint.Unescape(text); err != nil || got != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`\`, `a\`, `\x`, `\x4`, `\xg0`, `\x+1`, `\q`, `\é`, `\"`} {
		_, err := stint.Unescape(text)
		if stint.CodeOf(err) != stint.Invalid || !strings.Contains(err.Error(), `bad_escape: `) || !strings.Contains(err.Error(), `\xNN`) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("\x00\n\r\t\\\x7f\xff\x1bé\u0085")
	f.Fuzz(func(t *testing.T, bytes string) {
		text := stint.Escape(bytes)
		if got, err := stint.Unescape(text); err != nil || got != bytes || strings.ContainsAny(text, "\x00\n\r\t\x7f") || strings.ToValidUTF8(text, "") != text {
			t.Errorf("%q is written %q, which stands for %q, %v", bytes, text, got, err)
		}
	})
}
