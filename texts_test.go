package stint_test

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// comparedTexts says in which files the text of an error is looked into, and why
// nothing that the product does depends on what is found.
func comparedTexts() map[string]string {
	return map[string]string{
		"execution.go":             "does not say twice what a program said last",
		"cmd/stint/watch.go":       "does not say twice what a program said last",
		"logs.go":                  "looks for what a person looks for",
		"internal/api/programs.go": "makes a detail of each line",
	}
}

func TestTextsOfErrorsAreNeverCompared(t *testing.T) {
	t.Parallel()
	report(t, textComparisons(files(t), comparedTexts()))
}

func TestEveryWayToCompareTextsIsFound(t *testing.T) {
	t.Parallel()
	for body, found := range map[string]bool{
		`_ = strings.Contains(err.Error(), "gone")`:                              true,
		`_ = strings.HasPrefix(r.Error.Message, "gone: ")`:                       true,
		`_, _, _ = strings.Cut(r.Message, ": ")`:                                 true,
		`_ = err.Error() == "gone"`:                                              true,
		`_ = "gone" != r.Error.Message`:                                          true,
		`_, _ = fmt.Sscanf(err.Error(), "%d", &n)`:                               true,
		`_ = pattern.FindStringSubmatch(err.Error())`:                            true,
		`_, _ = regexp.MatchString("gone", err.Error())`:                         true,
		"switch err.Error() {\ncase \"gone\":\n}":                                true,
		"text := err.Error()\n_ = strings.HasSuffix(text, \"gone\")":             true,
		"text := strings.ToLower(err.Error())\n_ = text == \"gone\"":             true,
		"var text string\ntext = fmt.Sprint(err)\n_ = pattern.MatchString(text)": true,
		"text, code := err.Error(), 1\n_ = text == code":                         true,
		`_ = r.Message == ""`:                                                    false,
		`_ = r.Error.Code == stint.Conflict`:                                     false,
		`_ = strings.Contains(name, "/")`:                                        false,
		`_ = errors.Is(err, fs.ErrNotExist)`:                                     false,
		`fmt.Println(r.Message, err.Error())`:                                    false,
		"name := f.Name()\n_ = name == \"gone\"":                                 false,
	} {
		planted := parse(t, "a.go", "package a\nfunc F(err error) {\n"+body+"\n}")
		if got := textComparisons([]file{planted}, nil); len(got) > 0 != found {
			t.Errorf("%s: found %q", body, got)
		}
	}
	test := parse(t, "a_test.go", "package a\nfunc F(err error) bool { return err.Error() == \"gone\" }")
	if got := textComparisons([]file{test}, map[string]string{"b.go": ""}); len(got) != 1 || !strings.HasPrefix(got[0], "b.go: ") {
		t.Errorf("a test, and a permission that nobody needs: %q", got)
	}
}

// textComparisons finds where the product compares the text of an error with
// something, or looks into it. It follows a text into variables of the function.
func textComparisons(all []file, allowed map[string]string) (found []string) {
	needed := make(map[string]bool)
	each(all, func(f file, n ast.Node) {
		fn, ok := n.(*ast.FuncDecl)
		if !ok || fn.Body == nil || f.isTest() {
			return
		}
		texts := errorTexts{names: make(map[string]bool)}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			texts.follow(n)
			if !texts.compared(n) {
				return true
			}
			if _, is := allowed[f.path]; is {
				needed[f.path] = true
			} else {
				found = append(found, f.at(n)+": the text of an error is for people: give the error a code, a field or a type, and look at that")
			}
			return true
		})
	})
	for path := range allowed {
		if !needed[path] {
			found = append(found, path+": is allowed to look into the text of an error and does not")
		}
	}
	return found
}

// errorTexts knows which variables of a function hold texts of errors.
type errorTexts struct{ names map[string]bool }

// follow notes variables that take a text.
func (e errorTexts) follow(n ast.Node) {
	a, ok := n.(*ast.AssignStmt)
	if !ok || len(a.Lhs) != len(a.Rhs) {
		return
	}
	for i, to := range a.Lhs {
		if name, ok := to.(*ast.Ident); ok && name.Name != "_" && e.isText(a.Rhs[i]) {
			e.names[name.Name] = true
		}
	}
}

// isText reports whether an expression is the text of an error, or made of one.
func (e errorTexts) isText(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return e.names[x.Name]
	case *ast.ParenExpr:
		return e.isText(x.X)
	case *ast.SelectorExpr:
		return x.Sel.Name == "Message"
	case *ast.CallExpr:
		called, ok := x.Fun.(*ast.SelectorExpr)
		switch {
		case !ok:
			return false
		case called.Sel.Name == "Error" && len(x.Args) == 0:
			return true
		case isOf(called, "fmt") && called.Sel.Name == "Sprint":
			return slices.ContainsFunc(x.Args, isError)
		}
		return isOf(called, "strings") && strings.HasPrefix(called.Sel.Name, "T") && slices.ContainsFunc(x.Args, e.isText) // To…, Trim…
	}
	return false
}

// compared reports whether n compares a text, or looks into it.
func (e errorTexts) compared(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		return (n.Op == token.EQL || n.Op == token.NEQ) && (e.isText(n.X) && !isEmpty(n.Y) || e.isText(n.Y) && !isEmpty(n.X))
	case *ast.SwitchStmt:
		return n.Tag != nil && e.isText(n.Tag)
	case *ast.CallExpr:
		called, ok := n.Fun.(*ast.SelectorExpr)
		return ok && looksInto(called) && slices.ContainsFunc(n.Args, e.isText)
	}
	return false
}

// looksInto reports whether a function finds out what is in a text.
func looksInto(called *ast.SelectorExpr) bool {
	begins := func(beginnings ...string) bool {
		return slices.ContainsFunc(beginnings, func(s string) bool { return strings.HasPrefix(called.Sel.Name, s) })
	}
	switch {
	case isOf(called, "strings"):
		return begins("Contains", "Has", "Cut", "EqualFold", "Index", "LastIndex", "Compare", "Count", "Split")
	case isOf(called, "fmt"):
		return begins("Sscan")
	}
	return begins("MatchString", "FindString", "FindAllString")
}

func isOf(called *ast.SelectorExpr, pkg string) bool {
	name, ok := called.X.(*ast.Ident)
	return ok && name.Name == pkg
}

func isError(x ast.Expr) bool {
	name, ok := x.(*ast.Ident)
	return ok && name.Name == "err"
}

func isEmpty(x ast.Expr) bool {
	text, ok := x.(*ast.BasicLit)
	return ok && text.Value == `""`
}
