// Package failpoint has a process die, stop or fail at a named point, so that a
// test can show what is left when it does. There is a point at every durable step:
// before and after a commit, a sync, a rename, the write of a record, a request
// that changes what is in object storage, and before an answer or a message that
// tells of one. A process that dies between two points next to each other leaves
// what one that dies at the second of them leaves, but for what the kernel has not
// done yet, which the tests of each package see to.
//
// # Names
//
// A point is named after its phase and the step: "journal.before-commit". The name
// is a literal at the call, and no two calls have the same. docs/testing.md lists
// all of them with what they stand between; a test compares the list with the
// sources.
//
// [Reach] marks a point. [Error] marks one at which the system could say no, the
// sync or write of something that is about to be acknowledged: there the point can
// return an error instead, in the place of the system's.
//
// # In a build for tests
//
// With the build tag failpoint, the variable FAILPOINT of the environment says what
// is to happen, as POINT:TIME:ACTION:FOLDER, or several of these with spaces in
// between. At the TIMEth passing of the point,
// counted over all processes that have the same folder, the process that passes it
// does what ACTION says:
//
//	kill   it kills itself, as kill -9 would
//	stop   it stops itself, until somebody continues it
//	hold   who passes waits, and nobody else, until there is a file "released" in FOLDER
//	fail   the point is an error, as of a disk: at an [Error] alone
//	count  nothing: passings are counted
//
// The point * is every point; with it, only count makes sense. In FOLDER, which
// exists, a file with the name of each point is as many bytes long as the point was
// passed: a passing appends a byte, and where that byte lies says which passing it
// is. So one process strikes, once, however many there are and however often they
// are started again. It writes into the file "struck" which point that was and who
// it is.
//
// # In any other build
//
// The functions are empty and inlined: neither a call nor a name is left of them. A
// test looks for the names in the executable as it is given out.
package failpoint
