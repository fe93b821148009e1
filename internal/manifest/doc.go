// Package manifest reads and writes program.yaml, the text in which people
// describe a program. It is pure: what lies beside a manifest is handed to it as
// a list of files.
//
// # Strictness
//
// A manifest is one YAML document of UTF-8 text. What YAML has beyond plain
// mappings, lists and scalars (anchors, aliases, tags, merge keys, directives)
// is refused, and so is text that some readers of YAML take for something else:
// no, 012, 1:30 and 1e3 must be quoted where text is expected. Unknown keys are
// errors. Every refusal begins with a code word, then says where it is (file,
// line, column), what was found and what is allowed; there may be several, one a
// line, in the order of the text.
//
// # From text to program
//
//	text ── tree ──▶ nodes ── reader ──▶ program ── arrange ──▶ stages in order
//	                                                   └─ plan.CheckProgram
//
// Files are named by patterns until [Resolve] has seen what there is.
package manifest
