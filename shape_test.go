package stint_test

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// goroutines says which files may start goroutines, and who waits for them.
func goroutines() map[string]string {
	return map[string]string{
		"cmd/stint/bench.go":               "spawnLoop waits for its group",
		"cmd/stint/bench_resume.go":        "writing the reference waits for its group",
		"cmd/stint/leftover.go":            "retireLeftover and retire wait for their groups",
		"cmd/stint/children.go":            "reads the lifeline, which nothing can interrupt, until the process ends",
		"cmd/stint/cmd_server.go":          "run waits for its group",
		"cmd/stint/cmd_up.go":              "supervise waits for its group; upEmbedded reads its lifeline until the process ends",
		"internal/agent/checkpoint.go":     "archive waits for its group",
		"internal/agent/logs.go":           "putLogs waits for its writer",
		"internal/agent/compare.go":        "reading what is compared waits for its group",
		"internal/agent/sources.go":        "asking the sources of an order waits for its group",
		"internal/object/bucketlist.go":    "having a list in pieces waits for its group",
		"internal/object/bucketinput.go":   "listing the folders of a glob waits for its group",
		"internal/object/bucketcommit.go":  "copying parts waits for its group",
		"internal/object/lines.go":         "counting lines waits for its group",
		"internal/object/s3test/server.go": "waits for the server of a test, which the test ends",
		"internal/agent/verify.go":         "looking at packs and checkpoints waits for its group",
		"internal/agent/process.go":        "converse waits for its group",
		"internal/agent/run.go":            "the node's loops: run waits for them",
		"internal/agent/session.go":        "attach waits for its group",
		"internal/api/events.go":           "the stream of one request waits for its reader",
		"internal/fsck/atonce.go":          "each waits for its group",
		"internal/link/session.go":         "run waits for the sender of its session",
		"internal/provider/local/run.go":   "Run waits for every child it started",
		"internal/server/logs.go":          "asking the nodes for logs waits for its group",
		"internal/server/run.go":           "the service's loops: Run waits for them",
		"internal/worker/run.go":           "Run waits for its receiver",
	}
}

// fieldsReadElsewhere are fields that are read by reflection or by a standard
// package, which a search for selectors cannot see.
func fieldsReadElsewhere() []string { return nil }

// file is one source file, parsed.
type file struct {
	path string
	set  *token.FileSet
	tree *ast.File
}

func (f file) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, f.set.Position(n.Pos()).Line)
}

func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

func TestNoTypeHasAVagueName(t *testing.T) { t.Parallel(); report(t, vagueNames(files(t))) }

func TestNoMethodGuardsAgainstANilReceiver(t *testing.T) {
	t.Parallel()
	report(t, nilReceivers(files(t)))
}

func TestGoroutinesStartOnlyWhereSomebodyWaits(t *testing.T) {
	t.Parallel()
	report(t, goStatements(files(t), goroutines()))
}

func TestErrorsAreLoggedOrReturnedNeverBoth(t *testing.T) {
	t.Parallel()
	report(t, logThenReturn(files(t)))
}

func TestEveryConfigurationFieldIsRead(t *testing.T) {
	t.Parallel()
	report(t, unreadFields(files(t), fieldsReadElsewhere()))
}

func TestNoTwoOptionStructsShareTheirFields(t *testing.T) {
	t.Parallel()
	report(t, twinOptions(files(t)))
}

func TestTestsDoNotSleep(t *testing.T) { t.Parallel(); report(t, sleeps(files(t))) }

func TestCommentsDoNotNarrateAnEdit(t *testing.T) { t.Parallel(); report(t, narration(files(t))) }

func TestEachSmellIsFoundWhenPlanted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, path, source, want string }{
		{"vague name", "a.go", "package a\ntype NodeManager struct{}", "a.go:2: NodeManager"},
		{"nil receiver", "a.go", "package a\ntype T int\nfunc (t *T) F() {\n\tif t == nil {\n\t\treturn\n\t}\n}", "a.go:4: (t *T)"},
		{"goroutine", "a.go", "package a\nfunc F() {\n\tgo F()\n}", "a.go:3: go"},
		{"goroutine of a group", "a.go", "package a\nfunc F() {\n\tg.Go(F)\n}", "a.go:3: go"},
		{"stale permission", "b.go", "package b", "gone.go: is allowed"},
		{"log then return", "a.go", "package a\nfunc F() error {\n\tif err := F(); err != nil {\n\t\tlogger.Error(\"x\", \"err\", err)\n\t\treturn err\n\t}\n\treturn nil\n}", "a.go:4: err"},
		{"unread field", "a.go", "package a\ntype Pool struct {\n\tLimit int\n\tSeen int\n}\nfunc (p *Pool) F() int { p.Limit = 3; return p.Seen }", "a.go:3: Pool.Limit"},
		{"twin options", "a.go", "package a\ntype T struct {\n\tA, B int\n\tC string\n}\ntype TConfig struct {\n\tA, B int\n\tC string\n}", "a.go:6: TConfig"},
		{"sleep", "a_test.go", "package a\nimport \"time\"\nfunc TestA(t *testing.T) {\n\ttime.Sleep(1)\n}", "a_test.go:4: time.Sleep"},
		{"narration", "a.go", "package a\n\n// F now also closes the file.\nfunc F() {}", "a.go:3: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			planted := []file{parse(t, c.path, c.source)}
			found := slices.Concat(vagueNames(planted), nilReceivers(planted), goStatements(planted, map[string]string{"gone.go": ""}),
				logThenReturn(planted), unreadFields(planted, nil), twinOptions(planted), sleeps(planted), narration(planted))
			if !slices.ContainsFunc(found, func(s string) bool { return strings.HasPrefix(s, c.want) }) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

func vagueNames(all []file) (found []string) {
	vague := regexp.MustCompile(`(Manager|Helper|Helpers|Util|Utils|Impl|Processor|Wrapper|Common|Misc)$`)
	each(all, func(f file, n ast.Node) {
		if s, ok := n.(*ast.TypeSpec); ok && vague.MatchString(s.Name.Name) {
			found = append(found, f.at(s)+": "+s.Name.Name+": what does it know that nobody else knows? Call it that")
		}
	})
	return found
}

func nilReceivers(all []file) (found []string) {
	each(all, func(f file, n ast.Node) {
		fn, ok := n.(*ast.FuncDecl)
		if !ok || fn.Recv == nil || fn.Body == nil || len(fn.Body.List) == 0 || len(fn.Recv.List[0].Names) == 0 {
			return
		}
		guard, ok := fn.Body.List[0].(*ast.IfStmt)
		if !ok {
			return
		}
		receiver := fn.Recv.List[0].Names[0].Name
		cond, ok := guard.Cond.(*ast.BinaryExpr)
		if ok && cond.Op == token.EQL && isName(cond.X, receiver) && isName(cond.Y, "nil") {
			found = append(found, fmt.Sprintf("%s: (%s %s) is compared with nil: who calls it so?", f.at(guard), receiver, text(fn.Recv.List[0].Type)))
		}
	})
	return found
}

func goStatements(all []file, allowed map[string]string) (found []string) {
	used := make(map[string]bool)
	each(all, func(f file, n ast.Node) {
		call, isCall := n.(*ast.CallExpr)
		group := isCall && len(call.Args) == 1 && selects(call.Fun, "Go")
		if _, plain := n.(*ast.GoStmt); !plain && !group || f.isTest() {
			return
		}
		used[f.path] = true
		if _, ok := allowed[f.path]; !ok {
			found = append(found, f.at(n)+": go: who waits for it to end? Name the file in goroutines()")
		}
	})
	for path := range allowed {
		if !used[path] {
			found = append(found, path+": is allowed to start goroutines and starts none")
		}
	}
	return found
}

func logThenReturn(all []file) (found []string) {
	each(all, func(f file, n ast.Node) {
		block, ok := n.(*ast.BlockStmt)
		if !ok || f.isTest() {
			return
		}
		logged := ""
		for _, s := range block.List {
			if e, ok := s.(*ast.ExprStmt); ok {
				logged += " " + loggedError(e.X)
			}
			r, ok := s.(*ast.ReturnStmt)
			if !ok {
				continue
			}
			for _, v := range r.Results {
				if name := mentionedError(v); name != "" && slices.Contains(strings.Fields(logged), name) {
					found = append(found, f.at(block.List[0])+": "+name+" is logged and returned: who acts on it, and once?")
				}
			}
		}
	})
	return found
}

// loggedError returns the name of the error that a call hands to a logger.
func loggedError(x ast.Expr) string {
	call, ok := x.(*ast.CallExpr)
	if !ok || !selects(call.Fun, "Error", "Warn", "Info", "Debug", "ErrorContext", "WarnContext", "InfoContext", "DebugContext", "LogAttrs", "Printf", "Println") {
		return ""
	}
	for _, arg := range call.Args {
		if name := mentionedError(arg); name != "" {
			return name
		}
	}
	return ""
}

func mentionedError(x ast.Expr) (name string) {
	ast.Inspect(x, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && (id.Name == "err" || strings.HasSuffix(id.Name, "Err")) {
			name = id.Name
		}
		return true
	})
	return name
}

// unreadFields finds exported fields that the product sets or offers and never
// reads. Fields with a tag are documents; others read those.
func unreadFields(all []file, except []string) (found []string) {
	read := make(map[string]bool)
	each(all, func(f file, n ast.Node) {
		if f.isTest() {
			return
		}
		if a, ok := n.(*ast.AssignStmt); ok && a.Tok == token.ASSIGN {
			for _, left := range a.Lhs {
				if s, ok := left.(*ast.SelectorExpr); ok {
					s.Sel = ast.NewIdent("_")
				}
			}
		}
		if s, ok := n.(*ast.SelectorExpr); ok {
			read[s.Sel.Name] = true
		}
	})
	structs(all, func(f file, name string, s *ast.StructType) {
		for _, field := range s.Fields.List {
			for _, id := range field.Names {
				if id.IsExported() && (field.Tag == nil || name == "Request") && !read[id.Name] && !slices.Contains(except, name+"."+id.Name) {
					found = append(found, f.at(id)+": "+name+"."+id.Name+" is never read: which user turns it?")
				}
			}
		}
	})
	return found
}

func twinOptions(all []file) (found []string) {
	options := regexp.MustCompile(`(Config|Options|Opts|Params|Settings)$`)
	fields := make(map[string][]string)
	structs(all, func(f file, name string, s *ast.StructType) {
		for _, field := range s.Fields.List {
			for _, id := range field.Names {
				key := filepath.Dir(f.path) + "." + name
				fields[key] = append(fields[key], strings.ToLower(id.Name)+" "+text(field.Type))
			}
		}
	})
	structs(all, func(f file, name string, s *ast.StructType) {
		if !options.MatchString(name) {
			return
		}
		me := filepath.Dir(f.path) + "." + name
		for other, theirs := range fields {
			shared := 0
			for _, field := range fields[me] {
				if slices.Contains(theirs, field) {
					shared++
				}
			}
			if other != me && shared >= 3 {
				found = append(found, fmt.Sprintf("%s:%d: %s shares %d fields with %s: which of the two may go?", f.path, f.set.Position(s.Pos()).Line, name, shared, other))
			}
		}
	})
	return found
}

func sleeps(all []file) (found []string) {
	each(all, func(f file, n ast.Node) {
		fn, ok := n.(*ast.FuncDecl)
		if !ok || !f.isTest() {
			return
		}
		var sleep ast.Node
		bubble := false
		ast.Inspect(fn, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				switch text(call.Fun) {
				case "time.Sleep":
					sleep = call
				case "synctest.Test":
					bubble = true
				}
			}
			return true
		})
		if sleep != nil && !bubble {
			found = append(found, f.at(sleep)+": time.Sleep in a test without synctest")
		}
	})
	return found
}

func narration(all []file) (found []string) {
	edit := regexp.MustCompile(`(?i)\b(now also|we now|now we|was renamed|renamed from|used to (be|have|do)|changed (to|from)|refactored|new implementation|old implementation|previous(ly| version)|as before|bug ?fix)\b`)
	for _, f := range all {
		for _, group := range f.tree.Comments {
			for _, c := range group.List {
				if edit.MatchString(c.Text) {
					found = append(found, f.at(c)+": "+c.Text+": tells of an edit, not of the code")
				}
			}
		}
	}
	return found
}

func each(all []file, visit func(f file, n ast.Node)) {
	for _, f := range all {
		ast.Inspect(f.tree, func(n ast.Node) bool {
			if n != nil {
				visit(f, n)
			}
			return true
		})
	}
}

// structs visits the named structs of the product.
func structs(all []file, visit func(f file, name string, s *ast.StructType)) {
	each(all, func(f file, n ast.Node) {
		if spec, ok := n.(*ast.TypeSpec); ok && !f.isTest() {
			if s, ok := spec.Type.(*ast.StructType); ok {
				visit(f, spec.Name.Name, s)
			}
		}
	})
}

func isName(x ast.Expr, name string) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == name
}

func selects(x ast.Expr, names ...string) bool {
	s, ok := x.(*ast.SelectorExpr)
	return ok && slices.Contains(names, s.Sel.Name)
}

// text returns an expression made of names, stars and dots as it was written.
func text(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.StarExpr:
		return "*" + text(x.X)
	case *ast.SelectorExpr:
		return text(x.X) + "." + x.Sel.Name
	case *ast.ArrayType:
		return "[]" + text(x.Elt)
	case *ast.MapType:
		return "map[" + text(x.Key) + "]" + text(x.Value)
	}
	return fmt.Sprintf("%T", x)
}

// files parses every source file of the module but this one, whose planted
// smells are meant.
func files(t *testing.T) []file {
	t.Helper()
	var all []file
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || path == "shape_test.go":
			return nil
		}
		if f := parse(t, filepath.ToSlash(path), nil); !tagged(f) {
			all = append(all, f)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// tagged reports whether a build constraint keeps the file out of the product.
func tagged(f file) bool {
	for _, group := range f.tree.Comments {
		if group.Pos() < f.tree.Package && slices.ContainsFunc(group.List, func(c *ast.Comment) bool { return constraint.IsGoBuild(c.Text) }) {
			return strings.Contains(group.Text(), "keep") || strings.Contains(group.List[0].Text, "keep")
		}
	}
	return false
}

func parse(t *testing.T, path string, source any) file {
	t.Helper()
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, path, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file{path: path, set: set, tree: tree}
}

func report(t *testing.T, found []string) {
	t.Helper()
	for _, f := range found {
		t.Error(f)
	}
}
