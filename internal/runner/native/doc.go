// Package native holds the operators that are built in, and the programs that
// are shipped, which are made of them.
//
//	operator   reads           writes
//	wordcount  text            (word, occurrences) for every distinct word
//	grep       lines           the lines that match, or with count=true (pattern, how many)
//	sum        sorted records  (key, sum of its values)
//	identity   anything        the same
//	noop       nothing         nothing
//
// A word is a maximal run of bytes that are not ASCII white space; nothing is
// decoded, so invalid UTF-8 is carried exactly. Sums are of decimal integers of
// any size.
//
// A key is counted in one table for the whole operation where memory allows; a
// table that is full is written out and begun again, so that the same word may
// come more than once. The sum that follows makes the result independent of that.
package native
