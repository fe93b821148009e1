package archive

import (
	"io"
	"slices"
	"strings"

	"stint"
)

// jarManifest is the entry in which a jar says what it is.
const jarManifest = "META-INF/MANIFEST.MF"

// maxJarManifest is how much of it is looked at, in bytes.
const maxJarManifest = 1 << 20

// checkJar reads a jar's manifest and refuses one that loads code from elsewhere.
func checkJar(r io.Reader, h header) error {
	text, err := io.ReadAll(io.LimitReader(r, maxJarManifest))
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		return err
	}
	unfolded := strings.NewReplacer("\r\n ", "", "\n ", "", "\r ", "").Replace(string(text))
	for line := range strings.FieldsFuncSeq(unfolded, func(c rune) bool { return c == '\n' || c == '\r' }) {
		key, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(key, "Class-Path") {
			continue
		}
		for place := range strings.FieldsSeq(value) {
			if outside(place) {
				return stint.Errorf(stint.Invalid, "bad_jar: entry %d: Class-Path: %.200q lies outside the archive; put the classes into it", h.number, place)
			}
		}
	}
	return nil
}

// outside reports whether a place of a class path may be outside the archive: a
// URL with a scheme, an absolute path, or one that climbs.
func outside(place string) bool {
	return strings.Contains(place, ":") || strings.HasPrefix(place, "/") || slices.Contains(strings.Split(place, "/"), "..")
}
