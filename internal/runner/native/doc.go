// Package native holds the operators that are built in, and the programs that
// are shipped, which are made of them.
//
//	operator           reads               writes
//	wordcount          text                (word, occurrences) for every distinct word
//	grep               lines               the lines that match, or with count=true (pattern, how many)
//	identity           anything            the same
//	noop               nothing             nothing
//	sum                sorted records      (key, sum of its values)                               also combines
//	sums               sorted records      (key, sums of its values' columns)                     also combines
//	distinct           sorted records      each key once, with its first value                    also combines
//	count              sorted records      (key, how many it has); of lines: (count, how many)
//	top                (key, number)       the n records with the greatest numbers
//	sample             the input           keys of a sample of its lines, as order makes them
//	splitters          keys, one a line    the least key of each partition but the first
//	order              lines               (key that sorts as the line, what else tells the line)
//	sorted             records of order    the lines
//	aggregate          (kind:key, value)   what Hadoop's reducer of that name makes; aggregate-combine combines for it
//	logstats           lines of a log      (section and name, requests and bytes)
//	log-totals         records of logstats the same added, of the paths only the first
//	log-report         that, as text       a table
//	index              whole files, lines  (term, document:occurrences)
//	postings           records of index    a line for each term with all its documents, sorted
//	montecarlo         seeds, one a line   (model, how many estimates, their sum and sum of squares)
//	montecarlo-result  the sums of those   mean and standard error
//	join-left, -right  lines               (key field, the other fields)
//	join               both, by key        lines of what has the same key
//
// sum, sums and distinct combine inside the shuffle. Each may be given values that
// it made of others before: the result is that of all at once.
//
// A word is a maximal run of bytes that are not ASCII white space; a term is one of
// letters, digits, _ and bytes beyond ASCII. Nothing is decoded, so invalid UTF-8
// is carried exactly. Sums are of decimal integers of any size.
//
// A key is counted in one table for the whole operation where memory allows; a
// table that is full is written out and begun again, so that the same word may
// come more than once. The sum that follows makes the result independent of that.
// Sums of estimates are of whole numbers too: fractions would depend on the order
// in which they are added.
//
// # Sorting
//
//	input ── sample ── splitters ─┐ broadcast
//	input ── order ───────────────┴─ shuffle by ranges ── sorted ── parts
//
// The order of lines is that of POSIX sort with the same options, in the locale C.
// order makes it the order of bytes: text ends with the least byte there is, in a
// reversed key every byte is the opposite, and a number is its sign, how many
// digits it has, and the digits. No key has an LF in it that its line has not, so
// that keys can be the lines of a file. The sample is taken at fixed places of each
// object; the result does not depend on it, only how even the parts are.
package native
