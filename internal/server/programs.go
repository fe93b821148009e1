package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"stint"
	"stint/internal/archive"
	"stint/internal/failpoint"
	"stint/internal/manifest"
	"stint/internal/plan"
	"stint/internal/store"
)

// expectedUploads names for people what can be uploaded.
const expectedUploads = archive.Expected + ", or a manifest alone (" + manifest.FileName + ")"

// UploadProgram takes a program into the registry: an archive with a manifest at
// its top, or a manifest alone. When it returns, the version is committed, with all
// its files. What is refused leaves no trace.
func (s *Server) UploadProgram(ctx context.Context, u stint.ProgramUpload) (stint.RegisteredProgram, error) {
	received, err := s.takeIn(u.Body)
	if err != nil {
		return stint.RegisteredProgram{}, uploadError(err)
	}
	defer received.discard()
	failpoint.Reach("upload.after-receiving")
	p, err := s.unpack(ctx, received, u)
	if err != nil {
		return stint.RegisteredProgram{}, uploadError(err)
	}
	if err := s.DB.SaveProgram(ctx, s.epoch, p.version); err != nil {
		return stint.RegisteredProgram{}, err
	}
	failpoint.Reach("upload.before-answer")
	s.Logger.InfoContext(ctx, "program uploaded", "count", len(p.version.Program.Files), "bytes", p.version.Size)
	out := registered(p.version)
	out.Warnings = p.warnings
	return out, nil
}

// received is an upload in a temporary file.
type received struct {
	file *os.File
	size int64
}

func (r received) discard() {
	_ = r.file.Close() // it is read only by now
	_ = os.Remove(r.file.Name())
}

// takeIn writes an upload into a temporary file. After an error there is none.
func (s *Server) takeIn(body io.Reader) (received, error) {
	f, err := os.CreateTemp(s.Uploads, "upload-")
	if err != nil {
		return received{}, fmt.Errorf("receive program: %w", err)
	}
	size, err := io.Copy(f, body)
	if err != nil {
		received{file: f}.discard()
		return received{}, fmt.Errorf("receive program: %w", err)
	}
	return received{file: f, size: size}, nil
}

// clearUploads removes what a server that died was receiving.
func (s *Server) clearUploads() error {
	if s.Uploads == "" {
		return nil
	}
	if err := os.RemoveAll(s.Uploads); err != nil {
		return fmt.Errorf("clear uploads: %w", err)
	}
	failpoint.Reach("upload.after-clearing")
	if err := os.MkdirAll(s.Uploads, 0o700); err != nil {
		return fmt.Errorf("clear uploads: %w", err)
	}
	return nil
}

// uploadError says when it is the disk that is full.
func uploadError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &stint.Error{Code: stint.Unavailable, Err: fmt.Errorf("no_space: upload area: %w", err)}
	}
	return err
}

// unpacked is an upload that is understood, with its files in system storage.
type unpacked struct {
	version  store.RegisteredVersion
	warnings []string
}

func (s *Server) unpack(ctx context.Context, r received, u stint.ProgramUpload) (unpacked, error) {
	c, err := openUpload(r)
	if err != nil {
		return unpacked{}, err
	}
	out := unpacked{warnings: c.Warnings}
	program, said, err := manifest.Parse(manifest.FileName, c.Manifest)
	out.warnings = append(out.warnings, said...)
	if err != nil {
		return out, err
	}
	if u.Name != "" {
		program.Name = u.Name
	}
	if err := s.checkRegistrable(program); err != nil {
		return out, err
	}
	program, said, err = manifest.Resolve(program, programFiles(c.Files))
	out.warnings = append(out.warnings, said...)
	if err == nil {
		err = errors.Join(plan.CheckProgram(program), s.Validate(program, nil))
	}
	if err != nil {
		return out, err
	}
	size, err := s.keepFiles(ctx, r, c, program.Files)
	if err != nil {
		return out, err
	}
	digest, err := plan.DigestOf(program)
	out.version = store.RegisteredVersion{
		Version: digest.String(), Program: program, Manifest: string(c.Manifest), Size: size, Uploaded: nowMillis(), By: u.By,
	}
	return out, err
}

// programFiles describes the files of an archive, whose digests are not known yet.
func programFiles(list []archive.Entry) []stint.ProgramFile {
	out := make([]stint.ProgramFile, len(list))
	for i, e := range list {
		out[i] = stint.ProgramFile{Name: e.Name, Size: e.Size, Mode: e.Mode}
	}
	return out
}

// checkRegistrable refuses names that are another program's.
func (s *Server) checkRegistrable(p stint.Program) error {
	if err := manifest.CheckName(p.Name); err != nil {
		return err
	}
	if slices.ContainsFunc(s.Shipped, func(known stint.Program) bool { return known.Name == p.Name }) {
		return stint.Errorf(stint.Conflict, "name_taken: %s is a program that ships with the service: choose another name", p.Name)
	}
	return nil
}

// openUpload looks at all of an upload and reads its manifest.
func openUpload(r received) (archive.Bundle, error) {
	kind, err := archive.Detect(r.file, r.size)
	switch {
	case err != nil:
		return archive.Bundle{}, err
	case kind == archive.None:
		return openManifest(r)
	}
	return archive.OpenBundle(r.file, r.size, manifest.FileName, manifest.MaxBytes)
}

// openManifest reads an upload that is a manifest alone, if it looks like text.
func openManifest(r received) (archive.Bundle, error) {
	const looked = 512
	head := make([]byte, min(r.size, looked))
	if _, err := r.file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return archive.Bundle{}, fmt.Errorf("read upload: %w", err)
	}
	text := bytes.ToValidUTF8(head, nil) // the last letter may be cut
	binary := bytes.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\n' && c != '\r' && c != '\t' }) || len(head)-len(text) >= utf8.UTFMax
	if len(head) == 0 || binary || head[0] == '%' {
		return archive.Bundle{}, archive.Unknown(r.file, r.size, expectedUploads)
	}
	if r.size > manifest.MaxBytes {
		return archive.Bundle{}, stint.RefuseTooLarge(manifest.MaxBytes, "manifest_too_large: %d bytes; the limit is 1 MiB", r.size)
	}
	b, err := io.ReadAll(io.NewSectionReader(r.file, 0, r.size))
	return archive.Bundle{Manifest: b}, err
}

// keepFiles stores the chosen files and fills in their digests.
func (s *Server) keepFiles(ctx context.Context, r received, c archive.Bundle, chosen []stint.ProgramFile) (size int64, err error) {
	if len(chosen) == 0 {
		return 0, nil
	}
	places := make(map[string]int, len(chosen))
	for i, f := range chosen {
		places[c.Folder+f.Name] = i
		size += f.Size
	}
	err = archive.Walk(r.file, r.size, func(e archive.Entry, body io.Reader) error {
		i, wanted := places[e.Name]
		if !wanted {
			return nil
		}
		digest, _, err := s.Storage.PutBlob(ctx, "files", body, archive.MaxFile)
		if err != nil {
			return fmt.Errorf("keep file %.200q: %w", e.Name, err)
		}
		chosen[i].Digest = digest
		failpoint.Reach("upload.after-file")
		return nil
	})
	return size, err
}

// Program finds a program that ships, or a version of one in the registry: the
// newest, or the one whose digest begins with version.
func (s *Server) Program(ctx context.Context, name, version string) (stint.RegisteredProgram, error) {
	for _, p := range s.Shipped {
		if p.Name == name && version == "" {
			return stint.RegisteredProgram{Program: p, Shipped: true, Manifest: string(manifest.Render(p))}, nil
		}
	}
	all, err := s.DB.ProgramVersions(ctx, name, "")
	if err != nil {
		return stint.RegisteredProgram{}, err
	}
	found, err := s.chooseVersion(ctx, all, name, version)
	if err != nil {
		return stint.RegisteredProgram{}, err
	}
	out := registered(found)
	out.Manifest = found.Manifest
	for _, v := range all {
		out.Versions = append(out.Versions, stint.ProgramVersion{Version: v.Version, Bytes: v.Size, Uploaded: time.UnixMilli(v.Uploaded).UTC(), By: v.By})
	}
	return out, nil
}

// chooseVersion returns the newest of a program's versions, or the one that a
// prefix names.
func (s *Server) chooseVersion(ctx context.Context, all []store.RegisteredVersion, name, prefix string) (store.RegisteredVersion, error) {
	var found []store.RegisteredVersion
	for _, v := range all {
		if strings.HasPrefix(v.Version, prefix) {
			found = append(found, v)
		}
	}
	switch {
	case len(all) == 0:
		return store.RegisteredVersion{}, s.noProgram(ctx, name)
	case len(found) == 0:
		return store.RegisteredVersion{}, stint.Errorf(stint.NotFound, "program %s: no version begins with %s; the newest is %s", name, prefix, all[0].Version)
	case prefix != "" && len(found) > 1:
		return store.RegisteredVersion{}, stint.Errorf(stint.Conflict, "program %s: %d versions begin with %s; give more digits", name, len(found), prefix)
	}
	return found[0], nil
}

// noProgram refuses a name that no program has.
func (s *Server) noProgram(ctx context.Context, name string) error {
	known, err := s.Programs(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(known))
	for i, p := range known {
		names[i] = p.Name
	}
	const most = 50
	if hint := stint.Nearest(name, names); hint != "" {
		return stint.Errorf(stint.NotFound, "program %.80q: there is none of this name; did you mean %s? There are %s", name, hint, strings.Join(names[:min(most, len(names))], ", "))
	}
	return stint.Errorf(stint.NotFound, "program %.80q: expected one of %s", name, strings.Join(names[:min(most, len(names))], ", "))
}

// RemoveProgram removes a version of a registered program, or all if version is
// "". It is refused while an execution has it that is not over. Files stay in
// storage: other programs, and executions, may have them.
func (s *Server) RemoveProgram(ctx context.Context, name, version string) error {
	all, err := s.DB.ProgramVersions(ctx, name, "")
	if err != nil {
		return err
	}
	if len(all) == 0 && slices.ContainsFunc(s.Shipped, func(p stint.Program) bool { return p.Name == name }) {
		return stint.Errorf(stint.Conflict, "program %s ships with the service and stays", name)
	}
	chosen := all
	if version != "" || len(all) == 0 {
		one, err := s.chooseVersion(ctx, all, name, version)
		if err != nil {
			return err
		}
		chosen = []store.RegisteredVersion{one}
	}
	var versions []string
	for _, v := range chosen {
		versions = append(versions, v.Version)
	}
	return s.DB.RemoveProgram(ctx, s.epoch, name, versions, func(p stint.Program) bool {
		digest, err := plan.DigestOf(p)
		return err != nil || slices.Contains(versions, digest.String())
	})
}

// Programs returns the programs that ship, and the newest version of each that
// was uploaded, by name.
func (s *Server) Programs(ctx context.Context) ([]stint.RegisteredProgram, error) {
	list, err := s.DB.Programs(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]stint.RegisteredProgram, 0, len(s.Shipped)+len(list))
	for _, p := range s.Shipped {
		out = append(out, stint.RegisteredProgram{Program: p, Shipped: true})
	}
	for _, v := range list {
		out = append(out, registered(v))
	}
	return out, nil
}

// registered is the document about a version.
func registered(v store.RegisteredVersion) stint.RegisteredProgram {
	uploaded := time.UnixMilli(v.Uploaded).UTC()
	return stint.RegisteredProgram{Program: v.Program, Version: v.Version, Bytes: v.Size, Uploaded: &uploaded, By: v.By}
}
