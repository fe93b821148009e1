// Package program is for those who write programs for Stint in Go: functions that
// map, combine and reduce, with keys and values of Go types.
//
//	func main() {
//		program.Main(program.Stages{
//			"count": {Map: program.Map(words), Combine: program.Combine(sum)},
//			"total": {Reduce: program.Reduce(total)},
//		})
//	}
//
//	func words(ctx *program.Context, line string, emit func(string, int64)) error {
//		for word := range strings.FieldsSeq(line) {
//			emit(word, 1)
//		}
//		return nil
//	}
//
// In the program's manifest such a stage says sdk instead of command:
//
//	stages:
//	  - name: count
//	    sdk: [./wordcount]
//	    combine: {sdk: [./wordcount]}
//	  - name: total
//	    sdk: [./wordcount]
//	    input: {from: count, shuffle: key}
//
// One process performs many operations of a stage, one after the other, so what a
// function keeps in variables is there for the next operation, on this node, until
// the process ends; nothing may depend on that.
//
// # Keys and values
//
// A string or []byte is its bytes; an integer is decimal digits; a float64 the
// shortest decimal number that is it; [None], and a []byte that is nil, is an absent
// value; every other type is JSON. A []byte that a function is given is valid until it returns or asks for the
// next value. Keys are sorted by their bytes: of integers, 10 comes before 9. A
// text that is no number, or no JSON of its type, is a bad record.
//
// # Errors
//
// A function that returns an error, or panics, has met a bad record, or a bad
// group. What it emitted of it is dropped, and where the execution leaves out bad records, the
// operation goes on with the next. [Fatal] marks an error as one of the
// operation, which is then tried again.
//
// # Standard output
//
// belongs to Stint. Main lets os.Stdout be os.Stderr: what a program prints is in
// the operation's log.
package program
