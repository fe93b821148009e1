package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/zeebo/blake3"

	"stint"
	"stint/client"
	"stint/internal/manifest"
	"stint/internal/runner/command"
	"stint/internal/runner/native"
)

// requestFlags are the flags of run that say what to execute.
type requestFlags struct {
	mapper, combiner, reducer string
	files, inputs             []string
	params, env, cmdenv       []string
	split, subsetSize         string
	save, reuse, keep         string
	skipBad, backoff          string
	completeErrors            bool
	streams                   streamFlags
	request                   stint.Request
}

func (r *requestFlags) define(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.mapper, "map", "", "command that gets the input's lines; makes a streaming program")
	f.StringVar(&r.combiner, "combine", "", "command that combines a map operation's sorted output")
	f.StringVar(&r.reducer, "reduce", "", "command that gets the map output's lines sorted by key; aggregate, as with Hadoop; NONE")
	r.streams.define(c)
	f.StringArrayVar(&r.files, "file", nil, "file to put into the working directory of every operation")
	f.StringArrayVar(&r.inputs, "input", nil, "location: URL, path, glob, folder, or range:FIRST..LAST; NAME=LOCATION for a program whose inputs have names")
	f.StringVar(&r.request.Output, "output", "", "location of the result; without it, system storage")
	f.StringArrayVar(&r.params, "param", nil, "name=value, for a parameter of the program")
	f.StringArrayVar(&r.env, "env", nil, "name=value, for the environment of the program's processes")
	f.StringArrayVar(&r.cmdenv, "cmdenv", nil, "the same as --env")
	f.StringVar(&r.request.Name, "name", "", "what to call the execution")
	f.IntVar(&r.request.Nodes, "nodes", 0, "use at most so many nodes")
	f.IntVar(&r.request.Slots, "slots", 0, "perform at most so many operations at once on one node")
	f.StringVar(&r.split, "split", "", "how the input is separated: lines, files (default: as the program says, or lines)")
	f.StringVar(&r.subsetSize, "subset-size", "", "input of one operation, as 64MiB; values of a range")
	f.IntVar(&r.request.Partitions, "partitions", 0, "of shuffles for which the program says none; as many parts has a result that is shuffled")
	f.IntVar(&r.request.Attempts, "attempts", 0, "of an operation before the execution fails (default: as the program says, or 4)")
	f.StringVar(&r.backoff, "backoff", "", "wait before the second attempt of an operation, doubled for each further one (default: as the program says, or 200ms)")
	f.StringVar(&r.skipBad, "skip-bad-records", "", "share of a stage's records, as 0.01%, that may be left out because the program fails on them (default: as the program says, or none)")
	f.StringVar(&r.request.Compression, "compression", "", `none: read the bytes of .gz, .zst and .bz2 files as they are; without it they are decompressed`)
	f.IntVar(&r.request.Replication, "replication", 0, "nodes that keep each intermediate output that is needed (default 1)")
	f.StringVar(&r.save, "save", string(stint.SaveOnSuspend), "when intermediate output goes to long-term storage: on-suspend, continuous")
	f.StringVar(&r.reuse, "reuse", "", "an earlier execution, whose operations that are the same are not performed again")
	f.StringVar(&r.keep, "keep", "24h", "how long nodes keep intermediate output for --reuse after the end; 0: not at all")
	f.BoolVar(&r.completeErrors, "complete-as-much-as-possible", false, "go on without operations that fail for good (exit code 3; default: as the program says)")
	f.BoolVar(&r.request.Overwrite, "overwrite", false, "replace an output that is there")
}

// defaultKeep is what the service does when it is not told.
const defaultKeep = 24 * time.Hour

// upload is a program file and where it lies.
type upload struct {
	path string
	file stint.ProgramFile
}

// asked is what a command line asks for: a request, and what its program's files
// are made of.
type asked struct {
	request stint.Request
	uploads []upload
	named   string // program that the service is to be asked for; empty: it is in the request
	loaded  loaded
}

// build makes the request that the flags and the command's arguments ask for.
func (r *requestFlags) build(c *cobra.Command, args []string) (asked, error) {
	var q asked
	var err error
	if q.request, q.uploads, err = r.values(c); err != nil {
		return q, err
	}
	switch {
	case r.mapper == "" && r.streams.given():
		return q, stint.Errorf(stint.Invalid, "--mode, --stream and --partitioner go with --map")
	case r.mapper == "" && len(args) == 1 && isPath(args[0]) && r.combiner+r.reducer == "":
		q.loaded, err = load(args[0])
	case r.mapper == "" && len(args) == 1 && !slices.Contains(shippedNames(), args[0]) && r.combiner+r.reducer == "":
		q.named = args[0]
		return q, nil
	default:
		q.loaded.program, err = r.program(args, q.request.Params)
	}
	if err == nil {
		err = r.complete(&q)
	}
	return q, err
}

// find asks the service for a program that is known by its name alone.
func (r *requestFlags) find(ctx context.Context, c *client.Client, q *asked) error {
	if q.named == "" {
		return nil
	}
	var err error
	if q.loaded, err = lookUp(ctx, c, q.named); err != nil {
		return err
	}
	return r.complete(q)
}

// complete puts the program into the request. Files that were given beside take the
// place of its own of their names.
func (r *requestFlags) complete(q *asked) error {
	q.request.Program = q.loaded.program
	given := q.uploads
	q.uploads = slices.Concat(q.loaded.uploads, given)
	withFiles(&q.request.Program, given)
	return r.settle(&q.request)
}

// withFiles adds files to a program, in the place of those of their names.
func withFiles(p *stint.Program, uploads []upload) {
	for _, u := range uploads {
		p.Files = slices.DeleteFunc(p.Files, func(f stint.ProgramFile) bool { return f.Name == u.file.Name })
		p.Files = append(p.Files, u.file)
	}
}

// values makes a request of the flags' values, all but its program.
func (r *requestFlags) values(c *cobra.Command) (stint.Request, []upload, error) {
	req := r.request
	uploads, err := describeFiles(r.files)
	if err != nil {
		return req, nil, err
	}
	if err := errors.Join(checkGiven(c, "map", "combine", "reduce", "output", "split", "reuse", "skip-bad-records", "backoff"),
		checkNumbers(c, "nodes", "slots", "partitions", "attempts", "subset-size", "replication")); err != nil {
		return req, nil, err
	}
	if req.Params, err = pairs("--param", r.params); err == nil {
		req.Environment, err = pairs("--env", slices.Concat(r.env, r.cmdenv))
	}
	if err == nil && r.subsetSize != "" {
		req.SubsetSize, err = stint.ParseSize(r.subsetSize)
		if err == nil && req.SubsetSize == 0 {
			err = stint.Errorf(stint.Invalid, "--subset-size %q: expected at least 1", r.subsetSize)
		}
	}
	if err == nil {
		err = r.errorPolicy(c, &req)
	}
	if err == nil {
		req.Output, err = location(req.Output)
	}
	if err == nil {
		err = r.durability(&req)
	}
	if err == nil {
		err = checkChoices(r, &req)
	}
	return req, uploads, err
}

// errorPolicy reads the flags that say what becomes of operations that fail.
func (r *requestFlags) errorPolicy(c *cobra.Command, req *stint.Request) error {
	if c.Flags().Changed("complete-as-much-as-possible") {
		req.CompleteErrors = &r.completeErrors
	}
	if r.skipBad != "" {
		share, err := manifest.ParseShare(r.skipBad)
		if err != nil {
			return fmt.Errorf("--skip-bad-records: %w", err)
		}
		if req.SkipBadRecords = share; share == 0 {
			req.SkipBadRecords = -1
		}
	}
	if r.backoff == "" {
		return nil
	}
	d, err := parseSpan("--backoff", r.backoff)
	if err == nil && (d < time.Millisecond || d > time.Hour) {
		err = stint.Errorf(stint.Invalid, "--backoff %q: expected 1ms to 1h", r.backoff)
	}
	req.Backoff = d.Milliseconds()
	return err
}

// durability reads the flags that say what is kept, where and how long.
func (r *requestFlags) durability(req *stint.Request) error {
	if r.save != string(stint.SaveOnSuspend) && r.save != string(stint.SaveContinuous) {
		return stint.Errorf(stint.Invalid, "--save %.80q: expected on-suspend or continuous", r.save)
	}
	if r.save == string(stint.SaveContinuous) {
		req.Save = stint.SaveContinuous
	}
	if r.reuse != "" {
		id, err := stint.ParseExecutionID(r.reuse)
		if err != nil {
			return fmt.Errorf("--reuse: %w", err)
		}
		req.Reuse = id
	}
	keep, err := parseSpan("--keep", r.keep)
	if err != nil {
		return err
	}
	switch {
	case keep == 0:
		req.Keep = -1
	case keep != defaultKeep:
		req.Keep = int64(math.Ceil(keep.Seconds()))
	}
	return nil
}

// checkGiven refuses flags that were given and are empty: that a variable of a
// script was not set is no reason to do something else.
func checkGiven(c *cobra.Command, names ...string) error {
	for _, name := range names {
		if f := c.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
			return stint.Errorf(stint.Invalid, `--%s "": give it a value or leave it out`, name)
		}
	}
	return nil
}

// checkApart refuses a flag that was given together with one of others.
func checkApart(c *cobra.Command, name string, others ...string) error {
	for _, other := range others {
		if c.Flags().Changed(name) && c.Flags().Changed(other) {
			return stint.Errorf(stint.Invalid, "--%s and --%s: give one of them", name, other)
		}
	}
	return nil
}

// checkNumbers refuses numbers that were given and ask for nothing.
func checkNumbers(c *cobra.Command, names ...string) error {
	for _, name := range names {
		if f := c.Flags().Lookup(name); f.Changed && (f.Value.String() == "" || f.Value.String()[0] == '-' || strings.Trim(f.Value.String(), "0") == "") {
			return stint.Errorf(stint.Invalid, "--%s %q: expected at least 1", name, f.Value)
		}
	}
	return nil
}

func checkChoices(r *requestFlags, req *stint.Request) error {
	if req.Compression != "" && req.Compression != "none" {
		return stint.Errorf(stint.Invalid, "--compression %.80q: expected none", req.Compression)
	}
	if r.split != "" && r.split != string(stint.SplitLines) && r.split != string(stint.SplitFiles) {
		return stint.Errorf(stint.Invalid, "--split %.80q: expected lines or files", r.split)
	}
	return nil
}

// program makes a streaming program of --map, --combine and --reduce, or finds
// the shipped program that is named.
func (r *requestFlags) program(args []string, params map[string]string) (stint.Program, error) {
	switch {
	case r.mapper == "" && len(args) == 1:
		if r.combiner != "" || r.reducer != "" {
			return stint.Program{}, stint.Errorf(stint.Invalid, "--combine and --reduce go with --map, not with program %.80q", args[0])
		}
		return native.Program(args[0], params)
	case r.mapper == "":
		return stint.Program{}, stint.Errorf(stint.Invalid, "nothing to execute: name a program (%s) or give --map CMD", strings.Join(shippedNames(), ", "))
	case len(args) > 0:
		return stint.Program{}, stint.Errorf(stint.Invalid, "both program %.80q and --map: give one", args[0])
	case len(params) > 0:
		return stint.Program{}, stint.Errorf(stint.Invalid, "--param goes with a program that declares parameters; a command gets its values by --env")
	case r.combiner != "" && r.reducer == "":
		return stint.Program{}, stint.Errorf(stint.Invalid, "--combine without --reduce: there is nothing to combine for")
	}
	return r.streaming()
}

// edgeSplit leaves the default unsaid, so that one program has one spelling.
func (r *requestFlags) edgeSplit() stint.Split {
	if r.split == string(stint.SplitLines) {
		return ""
	}
	return stint.Split(r.split)
}

func shippedNames() []string {
	var names []string
	for _, p := range native.Programs() {
		names = append(names, p.Name)
	}
	return names
}

// streamingName is the name of programs that are made of commands.
const streamingName = "streaming"

func (r *requestFlags) streaming() (stint.Program, error) {
	program := stint.Program{Name: streamingName, Type: stint.Custom}
	mapper, err := action("--map", r.mapper)
	if err != nil {
		return program, err
	}
	program.Stages = []stint.Stage{{Name: "map", Action: *mapper, Input: stint.Edge{Kind: stint.FromInput, Split: r.edgeSplit()}}}
	if r.reducer == "" {
		err = r.streams.apply(&program)
		return program, err
	}
	if r.combiner != "" {
		if program.Stages[0].Combine, err = action("--combine", r.combiner); err != nil {
			return program, err
		}
	}
	if err = addReducer(&program, r.reducer); err == nil {
		err = r.streams.apply(&program)
	}
	return program, err
}

func action(flag, text string) (*stint.Action, error) {
	args, err := command.SplitArgs(text)
	if err != nil {
		return nil, stint.Errorf(stint.Invalid, "%s: %s", flag, err)
	}
	if len(args) == 0 {
		return nil, stint.Errorf(stint.Invalid, "%s %q: no command in it", flag, text)
	}
	return &stint.Action{Command: args}, nil
}

// describeFiles reads every file once, for its digest.
func describeFiles(paths []string) ([]upload, error) {
	var uploads []upload
	byName := make(map[string]string)
	for _, path := range paths {
		u, err := describeFile(path)
		if err != nil {
			return nil, err
		}
		if other, ok := byName[u.file.Name]; ok {
			return nil, stint.Errorf(stint.Invalid, "--file %s and --file %s have the same name in the working directory: %s", other, path, u.file.Name)
		}
		byName[u.file.Name] = path
		uploads = append(uploads, u)
	}
	return uploads, nil
}

func describeFile(path string) (upload, error) {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return upload{}, stint.Errorf(stint.NotFound, "--file %s: there is no such file", path)
	case err != nil:
		return upload{}, stint.Errorf(stint.Invalid, "--file: %w", err)
	case !utf8.ValidString(filepath.Base(path)):
		return upload{}, stint.Errorf(stint.Invalid, "--file %q: the name is not UTF-8 text; rename the file or deliver a copy", path)
	case !fi.Mode().IsRegular():
		return upload{}, stint.Errorf(stint.Invalid, "--file %s: expected a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return upload{}, stint.Errorf(stint.Invalid, "--file: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	hash := blake3.New()
	size, err := io.Copy(hash, f)
	if err != nil {
		return upload{}, stint.Errorf(stint.Invalid, "--file: %w", err)
	}
	u := upload{path: path, file: stint.ProgramFile{Name: filepath.Base(path), Size: size, Mode: uint32(fi.Mode().Perm())}}
	hash.Sum(u.file.Digest[:0])
	return u, nil
}

// pairs reads name=value flags.
func pairs(flag string, given []string) (map[string]string, error) {
	out := make(map[string]string, len(given))
	for _, p := range given {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, stint.Errorf(stint.Invalid, "%s %.80q: expected name=value", flag, p)
		}
		if _, twice := out[name]; twice {
			return nil, stint.Errorf(stint.Invalid, "%s %.80q: %s is given twice", flag, p, name)
		}
		out[name] = value
	}
	return out, nil
}

func locations(given []string) ([]string, error) {
	out := make([]string, 0, len(given))
	for _, s := range given {
		l, err := location(s)
		if err != nil {
			return nil, err
		}
		if l == "" {
			return nil, stint.Errorf(stint.Invalid, `--input "": expected a location`)
		}
		out = append(out, l)
	}
	return out, nil
}

// location makes a plain path absolute: the service and its nodes have other
// working directories. URLs and ranges stay as they are. A path that is no plain
// text becomes a URL, in which every byte can be written.
func location(s string) (string, error) {
	if s == "" || strings.Contains(s, "://") || strings.HasPrefix(s, "range:") {
		return s, nil
	}
	path, err := filepath.Abs(s)
	if err != nil {
		return "", stint.Errorf(stint.Invalid, "location %.80q: %w", s, err)
	}
	if !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl) {
		return pathURL(path), nil
	}
	return path, nil
}

// pathURL leaves the characters of a glob as they are.
func pathURL(path string) string {
	url := []byte("file://")
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '%' || c == '#' {
			url = fmt.Appendf(url, "%%%02X", c)
		} else {
			url = append(url, c)
		}
	}
	return string(url)
}
