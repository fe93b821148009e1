package stint

import (
	"io"
	"strings"
	"time"
)

// RegisteredProgram is a program that the service knows by name: one that ships
// with it, or a version of one that was uploaded.
type RegisteredProgram struct {
	Program
	Version  string           `json:"version,omitempty"` // digest of all that the program does, 64 hexadecimal digits; empty: it ships
	Shipped  bool             `json:"shipped,omitempty"`
	Bytes    int64            `json:"bytes,omitempty"` // of its files
	Uploaded *time.Time       `json:"uploaded,omitempty"`
	By       string           `json:"uploaded_by,omitempty"`
	Manifest string           `json:"manifest,omitempty"` // as it was uploaded; not in lists
	Versions []ProgramVersion `json:"versions,omitempty"` // all there are, the newest first; not in lists
	Warnings []string         `json:"warnings,omitempty"` // what was accepted at the upload and may not be meant
}

// ProgramVersion is one version of a registered program.
type ProgramVersion struct {
	Version  string    `json:"version"`
	Bytes    int64     `json:"bytes"`
	Uploaded time.Time `json:"uploaded"`
	By       string    `json:"uploaded_by,omitempty"`
}

// ProgramUpload is an archive with a manifest, or a manifest alone, on its way into
// the registry.
type ProgramUpload struct {
	Name string // empty: as the manifest says
	By   string
	Body io.Reader
}

// SplitProgramName separates NAME@VERSION, where the version may be the beginning
// of one; empty is the newest.
func SplitProgramName(s string) (name, version string, err error) {
	name, version, versioned := strings.Cut(s, "@")
	const digits = 64
	if versioned && (version == "" || len(version) > digits || strings.Trim(version, "0123456789abcdef") != "") {
		return "", "", Errorf(Invalid, "bad_version: program %.150q: expected NAME@VERSION with the first digits of a version, 0-9 and a-f", s)
	}
	return name, version, nil
}
