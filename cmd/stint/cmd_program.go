package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"stint"
	"stint/internal/archive"
	"stint/internal/manifest"
	"stint/internal/plan"
	"stint/internal/runner/native"
)

func (a *app) programCommand() *cobra.Command {
	c := group("program", "Programs by name and version, and what to write them with")
	c.Long = `Programs that come with Stint, and those that were uploaded to the service: by name,
and by version, which is a digest of all that a program does. stint run takes them as
NAME or NAME@VERSION; the first digits of a version are enough.`
	c.AddCommand(a.programUploadCommand(), a.programListCommand(), a.programShowCommand(), a.programRemoveCommand(), a.programSDKCommand())
	return c
}

func (a *app) programUploadCommand() *cobra.Command {
	var name string
	var asJSON bool
	c := &cobra.Command{
		Use:   "upload PATH",
		Short: "Register a program",
		Long: `Register the program at PATH: a folder with program.yaml, such a manifest with the
files beside it, or an archive (zip, jar, tar, tar.gz, tar.zst) with program.yaml at
its top. It is run by its name then. Each content is a version of its own; the one
that was uploaded last is the newest.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkGiven(c, "name"); err != nil {
				return err
			}
			p, err := a.uploadProgram(c.Context(), args[0], name)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(p)
			}
			fmt.Fprintf(a.out, "%s@%s\n", p.Name, p.Version) //nolint:errcheck // nobody is left to be told
			a.warn(p.Warnings)
			return nil
		},
	}
	c.Flags().StringVar(&name, "name", "", "what to call the program, if not as its manifest does")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return c
}

// uploadProgram sends an archive as it is, and of a folder what the program has.
func (a *app) uploadProgram(ctx context.Context, path, name string) (stint.RegisteredProgram, error) {
	service, err := a.connect()
	if err != nil {
		return stint.RegisteredProgram{}, err
	}
	f, err := openProgram(path)
	if err != nil {
		return stint.RegisteredProgram{}, err
	}
	defer f.Close() //nolint:errcheck // read only by now
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return stint.RegisteredProgram{}, fmt.Errorf("read program: %w", err)
	}
	return service.UploadProgram(ctx, name, size, f)
}

// openProgram opens an archive, or packs what is no archive into a temporary one
// that has no name any more.
func openProgram(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() {
		f, err := os.Open(path)
		if err != nil {
			return nil, stint.Errorf(stint.Invalid, "program: %w", err)
		}
		kind, err := detect(path, f, info.Size())
		if err == nil && (kind != archive.None || !isManifest(path) && !isText(f)) {
			return f, nil // what is neither, the service refuses
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	l, err := load(path)
	if err != nil {
		return nil, errors.Join(err, l.discard())
	}
	f, err := os.CreateTemp("", "stint-upload-")
	if err != nil {
		return nil, fmt.Errorf("pack program: %w", err)
	}
	if err := errors.Join(os.Remove(f.Name()), pack(f, &l)); err != nil {
		return nil, errors.Join(fmt.Errorf("pack program: %w", err), f.Close())
	}
	return f, nil
}

// isText reports whether a file begins as text does.
func isText(f *os.File) bool {
	const looked = 512
	head := make([]byte, looked)
	n, _ := f.ReadAt(head, 0) // what cannot be read is told of later
	head = head[:n]
	binary := bytes.ContainsFunc(head, func(c rune) bool { return c < ' ' && c != '\n' && c != '\r' && c != '\t' })
	return n > 0 && !binary && head[0] != '%'
}

// pack writes a program's manifest and its files as a tar.
func pack(w io.Writer, l *loaded) error {
	t := tar.NewWriter(w)
	head := &tar.Header{Name: manifest.FileName, Size: int64(len(l.manifest)), Mode: 0o644, Typeflag: tar.TypeReg}
	if err := t.WriteHeader(head); err != nil {
		return err
	}
	if _, err := t.Write(l.manifest); err != nil {
		return err
	}
	for _, u := range l.uploads {
		if u.file.Name == manifest.FileName {
			continue // it is the first already
		}
		if err := packFile(t, u); err != nil {
			return err
		}
	}
	return t.Close()
}

func packFile(t *tar.Writer, u upload) error {
	f, err := os.Open(u.path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	err = t.WriteHeader(&tar.Header{Name: u.file.Name, Size: u.file.Size, Mode: int64(u.file.Mode), Typeflag: tar.TypeReg})
	if err == nil {
		_, err = io.Copy(t, f)
	}
	return err
}

func (a *app) programListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the programs that ship, and those that are registered",
		Long:  "List the programs that ship with Stint and, if a service runs, those that are\nregistered with it, in their newest versions.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			programs, err := a.programs(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(programs)
			}
			t := a.table("NAME", "TYPE", "VERSION", "STAGES", "DESCRIPTION")
			for _, p := range programs {
				t.row(p.Name, p.Type, shortVersion(p.Version), stageNames(p.Stages), p.Description)
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array of documents")
	return c
}

func stageNames(stages []stint.Stage) string {
	names := make([]string, len(stages))
	for i, s := range stages {
		names[i] = s.Name
	}
	return strings.Join(names, " → ")
}

// shortVersion shows as many digits as people need to name a version.
func shortVersion(version string) string {
	const digits = 12
	return version[:min(digits, len(version))]
}

// programs asks the service; without one there are those that ship.
func (a *app) programs(ctx context.Context) ([]stint.RegisteredProgram, error) {
	service, err := a.connect()
	if stint.CodeOf(err) == stint.Unavailable && a.server == "" {
		out := []stint.RegisteredProgram{}
		for _, p := range native.Programs() {
			out = append(out, stint.RegisteredProgram{Program: p, Shipped: true})
		}
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	return service.Programs(ctx)
}

func (a *app) programShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show NAME[@VERSION]",
		Short: "Show the manifest of a program",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			name, version, err := stint.SplitProgramName(args[0])
			if err != nil {
				return err
			}
			p, err := a.program(c.Context(), name, version)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(p)
			}
			_, err = io.WriteString(a.out, manifestText(&p))
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return c
}

// program finds a program that ships without asking the service.
func (a *app) program(ctx context.Context, name, version string) (stint.RegisteredProgram, error) {
	for _, p := range native.Programs() {
		if p.Name == name && version == "" {
			return stint.RegisteredProgram{Program: p, Shipped: true, Manifest: string(manifest.Render(p))}, nil
		}
	}
	service, err := a.connect()
	if err != nil {
		return stint.RegisteredProgram{}, err
	}
	return service.Program(ctx, name, version)
}

// manifestText is a manifest below comments that say which version it is.
func manifestText(p *stint.RegisteredProgram) string {
	var b strings.Builder
	if p.Shipped {
		fmt.Fprintf(&b, "# %s ships with Stint\n", p.Name)
	} else {
		fmt.Fprintf(&b, "# %s@%s\n# uploaded %s", p.Name, p.Version, p.Uploaded.Format("2006-01-02T15:04:05Z"))
		if p.By != "" {
			fmt.Fprintf(&b, " by %s", p.By)
		}
		fmt.Fprintf(&b, "\n# %s, %s\n", plural(int64(len(p.Files)), "file"), sizeText(float64(p.Bytes)))
		for _, f := range p.Files {
			fmt.Fprintf(&b, "#   %s\n", f.Name)
		}
		for i, v := range p.Versions {
			if i > 0 || v.Version != p.Version {
				fmt.Fprintf(&b, "# version %s, uploaded %s\n", shortVersion(v.Version), v.Uploaded.Format("2006-01-02T15:04:05Z"))
			}
		}
	}
	t := plan.TemplateOf(p.Type)
	fmt.Fprintf(&b, "# type %s: %s; subsets of at most %s, %d attempts\n", t.Type, t.Description, sizeText(float64(t.SubsetSize)), t.Attempts)
	b.WriteString(p.Manifest)
	if !strings.HasSuffix(p.Manifest, "\n") {
		b.WriteByte('\n')
	}
	return b.String()
}

func (a *app) programRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME[@VERSION]",
		Short: "Forget a registered program, or one version of it",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			name, version, err := stint.SplitProgramName(args[0])
			if err != nil {
				return err
			}
			service, err := a.connect()
			if err != nil {
				return err
			}
			return service.RemoveProgram(c.Context(), name, version)
		},
	}
}
