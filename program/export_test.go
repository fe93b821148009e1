package program

// Serve is what Main does with its standard input and output.
var Serve = serve

// Gathering returns the test with another budget of what operations combine early;
// below 0: nothing.
func (t Test) Gathering(budget int64) Test {
	t.gather = budget
	return t
}
