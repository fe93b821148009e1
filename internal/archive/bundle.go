package archive

import (
	"fmt"
	"io"
	"strings"

	"stint"
)

// Bundle is an archive with a text at its top that says what it is.
type Bundle struct {
	Manifest []byte
	Files    []Entry // with the manifest, and with names as they are below Folder
	Folder   string  // that everything lies in, with a slash at its end; empty: nothing is around it
	Warnings []string
}

// OpenBundle checks all of an archive and reads its manifest, of at most so many
// bytes, which has that name and lies at the top, or in the one folder at the top.
func OpenBundle(r Source, size int64, name string, most int64) (Bundle, error) {
	list, warnings, err := Check(r, size)
	if err != nil {
		return Bundle{}, err
	}
	b := Bundle{Folder: around(list), Warnings: warnings}
	top := b.Folder + name
	for _, e := range list {
		if strings.HasSuffix(e.Name, "/"+name) && e.Name != top {
			b.Warnings = append(b.Warnings, fmt.Sprintf("%q is a file as any other: the manifest is the one at the top", e.Name))
		}
		e.Name = strings.TrimPrefix(e.Name, b.Folder)
		b.Files = append(b.Files, e)
	}
	found := false
	err = Walk(r, size, func(e Entry, body io.Reader) error {
		if e.Name != top {
			return nil
		}
		if found = true; e.Size > most {
			return stint.RefuseTooLarge(most, "manifest_too_large: %s: %d bytes; the limit is %d", name, e.Size, most)
		}
		b.Manifest, err = io.ReadAll(body)
		return err
	})
	if err == nil && !found {
		err = stint.Errorf(stint.Invalid, "no_manifest: there is no %s at the top of the archive", name)
	}
	return b, err
}

// around returns the one folder that all files lie in, as in archives that are
// made of a folder.
func around(list []Entry) string {
	if len(list) == 0 {
		return ""
	}
	folder, _, inside := strings.Cut(list[0].Name, "/")
	if !inside {
		return ""
	}
	folder += "/"
	for _, e := range list {
		if !strings.HasPrefix(e.Name, folder) {
			return ""
		}
	}
	return folder
}
