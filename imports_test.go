package stint_test

import (
	"errors"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "stint"

// everything may be imported by the packages that put the others together.
const everything = "*"

// anybodys are the packages that every package may import, beside the root.
func anybodys() []string { return []string{"internal/wire", "internal/failpoint"} }

// imports says which of our packages each package may import, beside the root
// and those of [anybodys], which all may. A new line or a new name in a line is a
// change of the design and has a record in docs/adr.
func imports() map[string][]string {
	return map[string][]string{
		".":                       nil,
		"client":                  nil,
		"cmd/stint":               {everything},
		"internal/wire":           nil,
		"internal/failpoint":      nil,
		"internal/plan":           nil,
		"internal/coord":          {"internal/plan"},
		"internal/sched":          {"internal/coord"},
		"internal/manifest":       {"internal/plan"},
		"internal/archive":        nil,
		"internal/object":         nil,
		"internal/object/s3test":  nil,
		"internal/split":          nil,
		"internal/shuffle":        nil,
		"internal/block":          nil,
		"internal/transfer":       nil,
		"internal/worker":         {"internal/split", "internal/shuffle", "internal/block"},
		"internal/runner/command": nil,
		"internal/frame":          nil,
		"internal/runner/sdk":     {"internal/frame", "internal/shuffle", "internal/runner/command"},
		"program":                 {"internal/frame", "internal/shuffle"},
		"sdk/python":              nil,
		"examples/wordcount-go":   {"program"},
		"internal/runner/native":  {"internal/shuffle"},
		"internal/link":           nil,
		"internal/memnet":         nil,
		"internal/agent":          {"internal/block", "internal/transfer", "internal/object", "internal/split", "internal/link", "internal/worker"},
		"internal/server":         {"internal/plan", "internal/coord", "internal/sched", "internal/store", "internal/link", "internal/object", "internal/manifest", "internal/archive"},
		"internal/store":          {"internal/plan", "internal/coord"},
		"internal/provider/local": nil,
		"internal/auth":           nil,
		"internal/api":            {"internal/server", "internal/store", "internal/auth"},
		"internal/fsck":           {"internal/plan", "internal/coord", "internal/store", "internal/block", "internal/worker", "internal/object", "internal/server", "internal/auth"},
		"internal/sim":            {everything},
		"test/harness":            nil,
		"test/chaos":              {"client", "test/harness"},
		"test/e2e":                {"client", "test/harness"},
	}
}

// thirdParty says which packages may import a module that is not ours. Tests
// may import any of them.
func thirdParty() map[string][]string {
	return map[string][]string{
		"connectrpc.com/connect":           {"internal/link"},
		"github.com/danielgtaylor/huma/v2": {"internal/api"},
		"filippo.io/age":                   {"internal/auth"},
		"github.com/goccy/go-yaml":         {"internal/manifest"},
		"github.com/hashicorp/go-msgpack":  {"internal/wire"},
		"github.com/jedib0t/go-pretty":     {"cmd/stint"},
		"github.com/minio/minio-go":        {"internal/object"},
		"github.com/pressly/goose/v3":      {"internal/store"},
		"github.com/spf13/":                {"cmd/stint"},
		"github.com/zeebo/blake3":          {everything},
		"github.com/zeebo/xxh3":            {everything},
		"github.com/klauspost/compress":    {"internal/split", "internal/object", "internal/archive"},
		"golang.org/x/":                    {everything},
		"modernc.org/sqlite":               {"internal/store"},
	}
}

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	t.Parallel()
	table := imports()
	for name, p := range packages(t) {
		allowed, listed := table[name]
		if !listed {
			t.Errorf("package %s is not in the table of imports", name)
			continue
		}
		for _, path := range p.Imports {
			if target, ours := strings.CutPrefix(path, module+"/"); ours {
				if !slices.Contains(anybodys(), target) && !permits(allowed, target) {
					t.Errorf("%s imports %s, which the table of imports does not allow", name, target)
				}
				continue
			}
			if path != module && strings.Contains(strings.SplitN(path, "/", 2)[0], ".") && !permitsModule(name, path) {
				t.Errorf("%s imports %s, which is kept to other packages", name, path)
			}
		}
	}
}

func TestTheRootImportsTheStandardLibraryAlone(t *testing.T) {
	t.Parallel()
	for _, path := range packages(t)["."].Imports {
		if path == module || strings.Contains(path, ".") || strings.HasPrefix(path, module+"/") {
			t.Errorf("the root imports %s", path)
		}
	}
}

func TestEveryListedPackageExistsAndTheGuideNamesIt(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.FieldsFunc(string(guide), func(r rune) bool { return strings.ContainsRune(" \t\n,:", r) })
	found := packages(t)
	for name := range imports() {
		if found[name] == nil {
			t.Errorf("the table of imports lists %s, which does not exist", name)
		}
		if short := strings.TrimPrefix(name, "internal/"); name != "." && !slices.Contains(words, short) {
			t.Errorf("the guide in doc.go does not name %s", short)
		}
	}
}

func permits(allowed []string, target string) bool {
	return slices.Contains(allowed, everything) || slices.Contains(allowed, target)
}

func permitsModule(name, path string) bool {
	for prefix, users := range thirdParty() {
		if strings.HasPrefix(path, prefix) {
			return permits(users, name)
		}
	}
	return false
}

// packages returns the packages of the module by their folder.
func packages(t *testing.T) map[string]*build.Package {
	t.Helper()
	found := make(map[string]*build.Package)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		p, err := build.ImportDir(path, 0)
		if _, none := errors.AsType[*build.NoGoError](err); none {
			return nil
		}
		found[filepath.ToSlash(path)] = p
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
