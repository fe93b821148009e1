// Package sdk performs operations by a process that speaks the frames of package
// frame: it is started once, and is given one operation after the other.
//
//	input ──► feeder ──► begin, records…, end ──► process ──► records, counters, …, done ──► listener ──► output
//	                                                 │ ──► stderr: counters, status, log
//
// Starting, ending, feeding and killing a process is package command's, whose
// runner keeps the process for this one. So whichever of the two performs, it
// knows all descendants of the worker, and leaves none of the other's.
//
// # What fails what
//
// A program that says that its operation failed stays, and is given the next one.
// One that dies, that closes its output, or that does not keep to the format has
// failed the operation that it was given, and is ended with all it started; the next operation
// starts another. So is one that was asked to end (SIGTERM), one that completes
// without having read its input, and one in whose working directory something was
// made or removed.
//
// Between operations a process may be killed at any time: it has nothing to save.
package sdk
