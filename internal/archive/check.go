package archive

import (
	"fmt"
	"io"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"stint"
)

// checker collects what entries say, and refuses what does not go together.
type checker struct {
	files    []Entry
	warnings []string
	seen     map[string]int    // number of the entry with that name, folded
	folders  map[string]bool   // that entries lie in, folded
	links    map[string]header // by name
	entries  int
	names    int64 // bytes
	unpacked int64
	stripped int
}

func newChecker() *checker {
	return &checker{seen: make(map[string]int), folders: make(map[string]bool), links: make(map[string]header)}
}

// entry checks one entry with all its bytes.
func (c *checker) entry(h header, body io.Reader) error {
	if c.entries++; c.entries > MaxEntries {
		return stint.Errorf(stint.Invalid, "too_many_entries: limit %d", MaxEntries)
	}
	name, err := cleanName(h)
	if err != nil {
		return err
	}
	if c.names += int64(len(h.name)); c.names > maxNames {
		return stint.Errorf(stint.Invalid, "name_too_long: entry %d: all names together: the limit is %d bytes", h.number, maxNames)
	}
	if err := c.throughLink(h, name); err != nil {
		return err
	}
	switch h.kind {
	case folder:
		return nil
	case symlink:
		c.links[name] = h
		return nil
	case hardLink:
		return stint.Errorf(stint.Invalid, "link_not_allowed: entry %d: %.200q is a hard link", h.number, h.name)
	case other:
		return stint.Errorf(stint.Invalid, "bad_archive: entry %d: %.200q is %s; expected files and folders", h.number, h.name, h.what)
	case regular:
	}
	if name == "" {
		return stint.Errorf(stint.Invalid, "bad_name: entry %d: a file without a name", h.number)
	}
	if err := c.unique(h, name); err != nil {
		return err
	}
	if err := c.size(h, body, name); err != nil {
		return err
	}
	c.strip(h)
	c.files = append(c.files, Entry{Name: name, Size: h.size, Mode: h.mode & 0o777})
	return nil
}

// throughLink refuses an entry that lies behind a link.
func (c *checker) throughLink(h header, name string) error {
	for p := name; p != "." && p != ""; p = path.Dir(p) {
		if link, ok := c.links[p]; ok {
			return stint.Errorf(stint.Invalid, "link_then_file: entry %d: %.200q goes through entry %d, a link", h.number, h.name, link.number)
		}
	}
	return nil
}

// unique refuses a name that there is, in whatever case and form, or that is a
// file here and a folder there.
func (c *checker) unique(h header, name string) error {
	key := fold(name)
	if first, twice := c.seen[key]; twice {
		return stint.Errorf(stint.Invalid, "duplicate_entry: entry %d: %.200q is entry %d too, maybe in another case or Unicode form", h.number, h.name, first)
	}
	if c.folders[key] {
		return stint.Errorf(stint.Invalid, "duplicate_entry: entry %d: %.200q is a file, and a folder that others lie in", h.number, h.name)
	}
	c.seen[key] = h.number
	for p := path.Dir(key); p != "." && !c.folders[p]; p = path.Dir(p) {
		if first, is := c.seen[p]; is {
			return stint.Errorf(stint.Invalid, "duplicate_entry: entry %d: %.200q lies in entry %d, which is a file", h.number, h.name, first)
		}
		c.folders[p] = true
	}
	if len(c.folders) > MaxEntries {
		return stint.Errorf(stint.Invalid, "too_many_entries: entry %d: the folders that files lie in: limit %d", h.number, MaxEntries)
	}
	return nil
}

// fold makes names equal that some file system takes for the same.
func fold(name string) string {
	return norm.NFC.String(strings.Map(unicode.ToLower, strings.Map(unicode.ToUpper, norm.NFC.String(name))))
}

// size reads an entry to its end and refuses it if it is not as declared.
func (c *checker) size(h header, body io.Reader, name string) error {
	if h.size < 0 || h.size > MaxFile {
		return stint.Errorf(stint.Invalid, "size_mismatch: entry %d: %.200q declares %d bytes; the limit is %d", h.number, h.name, uint64(h.size), int64(MaxFile))
	}
	if c.unpacked += h.size; c.unpacked > MaxUnpacked {
		return stint.RefuseTooLarge(MaxUnpacked, "unpacked_too_large: limit %d bytes", int64(MaxUnpacked))
	}
	read := &exactReader{r: body, left: h.size, name: h.name}
	if name == jarManifest {
		return checkJar(read, h)
	}
	_, err := io.Copy(io.Discard, read)
	return err
}

// strip tells what of an entry is dropped, as long as that is not too much to tell.
func (c *checker) strip(h header) {
	const special, most = 0o7000, 10
	dropped := h.dropped
	if h.mode&special != 0 {
		dropped = strings.TrimPrefix(dropped+", setuid, setgid or sticky bits", ", ")
	}
	if dropped == "" {
		return
	}
	if c.stripped++; c.stripped <= most {
		c.warnings = append(c.warnings, fmt.Sprintf("entry %d: %.200q: %s dropped", h.number, h.name, dropped))
	}
}

// finish refuses links that no entry goes through.
func (c *checker) finish() error {
	first := header{}
	for _, l := range c.links {
		if first.number == 0 || l.number < first.number {
			first = l
		}
	}
	if first.number > 0 {
		return stint.Errorf(stint.Invalid, "link_not_allowed: entry %d: %.200q is a link; archive the file itself", first.number, first.name)
	}
	return nil
}

// cleanName returns the path of an entry below the folder that it is unpacked
// into, "" for that folder itself.
func cleanName(h header) (string, error) {
	name := h.name
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", stint.Errorf(stint.Invalid, "bad_name: entry %d: %.200q: expected UTF-8 text without control characters", h.number, name)
	}
	slashed := strings.ReplaceAll(name, `\`, "/")
	parts := strings.Split(slashed, "/")
	drive := len(slashed) > 1 && slashed[1] == ':'
	if strings.HasPrefix(slashed, "/") || drive {
		return "", stint.Errorf(stint.Invalid, "path_escape: entry %d: %.200q: expected a relative name", h.number, name)
	}
	var kept []string
	for _, part := range parts {
		switch {
		case part == "..":
			return "", stint.Errorf(stint.Invalid, "path_escape: entry %d: %.200q: no name may have ..", h.number, name)
		case len(part) > maxComponent:
			return "", stint.Errorf(stint.Invalid, "name_too_long: entry %d: %.80q…: %d bytes between slashes; the limit is %d", h.number, name, len(part), maxComponent)
		case part != "" && part != ".":
			kept = append(kept, part)
		}
	}
	if len(name) > maxPath {
		return "", stint.Errorf(stint.Invalid, "name_too_long: entry %d: %.80q…: %d bytes; the limit is %d", h.number, name, len(name), maxPath)
	}
	if len(kept) > maxDepth {
		return "", stint.Errorf(stint.Invalid, "name_too_long: entry %d: %.80q…: %d names between slashes; the limit is %d", h.number, name, len(kept), maxDepth)
	}
	if strings.Contains(name, `\`) && !h.windows {
		return "", stint.Errorf(stint.Invalid, "bad_name: entry %d: %.200q: a backslash is a separator to some", h.number, name)
	}
	return strings.Join(kept, "/"), nil
}
