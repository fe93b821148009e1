package manifest

import (
	"path"
	"slices"
	"strings"

	"stint"
)

// FileName is what a manifest is called that lies in a folder or an archive.
const FileName = "program.yaml"

// maxFiles is how many files a program may have: each request carries their names.
const maxFiles = 10_000

// Resolve puts the files that lie beside a manifest in the place of the patterns
// of a parsed program, and the names of files in the place of the patterns of its
// stages. Without patterns the program has all of them but the manifest itself and
// what has a name, or lies in a folder, that begins with a dot. Warnings name files
// that look like secrets.
func Resolve(p stint.Program, beside []stint.ProgramFile) (stint.Program, []string, error) {
	chosen, err := choose(p, beside)
	if err != nil {
		return p, nil, err
	}
	if len(chosen) > maxFiles {
		return p, nil, stint.Errorf(stint.Invalid, "too_many: %d files; the limit is %d: name those that are needed with files:, or pack them", len(chosen), maxFiles)
	}
	slices.SortFunc(chosen, func(a, b stint.ProgramFile) int { return strings.Compare(a.Name, b.Name) })
	p.Files = chosen
	p.Stages = slices.Clone(p.Stages)
	var warnings []string
	for i := range p.Stages {
		said, err := resolveStage(&p.Stages[i], chosen)
		if err != nil {
			return p, nil, err
		}
		warnings = append(warnings, said...)
	}
	for _, f := range chosen {
		if looksSecret(f.Name) {
			warnings = append(warnings, "file "+quote(f.Name)+" looks like a secret, and goes to every node that performs the program")
		}
	}
	return p, warnings, nil
}

func choose(p stint.Program, beside []stint.ProgramFile) ([]stint.ProgramFile, error) {
	var chosen []stint.ProgramFile
	if p.Files == nil {
		for _, f := range beside {
			if f.Name != FileName && !hidden(f.Name) {
				chosen = append(chosen, f)
			}
		}
		return chosen, nil
	}
	taken := make(map[string]bool)
	for _, pattern := range p.Files {
		matched := false
		for _, f := range beside {
			if !matches(pattern.Name, f.Name) {
				continue
			}
			matched = true
			if !taken[f.Name] {
				taken[f.Name] = true
				chosen = append(chosen, f)
			}
		}
		if !matched {
			return nil, noSuchFile("files", pattern.Name, beside)
		}
	}
	return chosen, nil
}

func noSuchFile(what, pattern string, files []stint.ProgramFile) error {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Name
	}
	if hint := stint.Nearest(pattern, names); hint != "" {
		return stint.Errorf(stint.Invalid, "unknown_reference: %s: there is no file %s; did you mean %s?", what, quote(pattern), quote(hint))
	}
	return stint.Errorf(stint.Invalid, "unknown_reference: %s: there is no file %s beside the manifest", what, quote(pattern))
}

// resolveStage expands the stage's patterns and looks at what it starts.
func resolveStage(s *stint.Stage, files []stint.ProgramFile) (warnings []string, err error) {
	var names []string
	for _, pattern := range s.Files {
		found := false
		for _, f := range files {
			if !matches(pattern, f.Name) {
				continue
			}
			found = true
			if !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		}
		if !found {
			return nil, noSuchFile("stage "+s.Name, pattern, files)
		}
	}
	if s.Files != nil {
		slices.Sort(names)
		s.Files = names
	}
	actions := []stint.Action{s.Action}
	if s.Combine != nil {
		actions = append(actions, *s.Combine)
	}
	for _, a := range actions {
		warning, err := start(s, a, files)
		if err != nil {
			return nil, err
		}
		if warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return warnings, nil
}

// start looks for the file that a command names and lets it be executed, as files
// that are given to a command without a manifest are. It refuses a path to none, and to one that the stage does not use.
func start(stage *stint.Stage, a stint.Action, files []stint.ProgramFile) (warning string, err error) {
	args := slices.Concat(a.Command, a.SDK)
	if len(args) == 0 || path.IsAbs(args[0]) {
		return "", nil
	}
	name := path.Clean(args[0])
	i := slices.IndexFunc(files, func(f stint.ProgramFile) bool { return f.Name == name })
	switch {
	case i < 0 && strings.Contains(args[0], "/"):
		return "", noSuchFile("stage "+stage.Name, name, files)
	case i >= 0 && strings.Contains(args[0], "/") && stage.Files != nil && !slices.Contains(stage.Files, name):
		return "", stint.Errorf(stint.Invalid, "unknown_reference: stage %s: it starts %s, which is not among its files", stage.Name, quote(name))
	case i < 0 || files[i].Mode&0o111 != 0:
		return "", nil
	}
	files[i].Mode |= 0o111
	return "file " + quote(name) + " had no execute permission; stage " + stage.Name + " starts it, so it is given one", nil
}

// matches reports whether a pattern names a file, or a folder that it lies in.
func matches(pattern, name string) bool {
	for ; name != "." && name != ""; name = path.Dir(name) {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}

// badPattern says what is wrong with a pattern.
func badPattern(pattern string) (code, why string) {
	switch {
	case strings.HasPrefix(pattern, "/") || climbs(pattern):
		return "bad_path", "expected a name or a pattern below the manifest's folder"
	case pattern != "" && path.Clean(pattern) != pattern:
		return "bad_path", "write it as " + quote(path.Clean(pattern))
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return "bad_glob", "a bracket is not closed, or a backslash escapes nothing; \\ before *, ? and [ takes them as they are"
	}
	return "", ""
}

func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}

// looksSecret reports whether a file is called as secrets are.
func looksSecret(name string) bool {
	base := path.Base(name)
	return slices.Contains([]string{".env", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc", ".pgpass", ".npmrc", "credentials"}, base) ||
		strings.HasSuffix(base, ".pem") || strings.HasSuffix(base, ".key") || strings.HasSuffix(base, ".p12")
}
