// Package python holds the SDK for programs in Python: one file, stint.py, that is
// put among the files of a program.
package python

import _ "embed"

// FileName is what the file is called, so that a program can import it.
const FileName = "stint.py"

//go:embed stint.py
var module string

// Module returns the text of the file.
func Module() string { return module }
