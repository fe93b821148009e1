// Package command performs operations by starting a process for each: records
// go to its standard input, its standard output is the operation's output, its
// standard error carries messages. Programs written for Hadoop Streaming run
// unchanged.
//
// # One process, one thread
//
// Perform starts the process in a group of its own and then moves bytes with
// non-blocking pipes and poll in the goroutine that called it: no goroutine, no
// channel, no timer for an operation, since /bin/true takes less time than those.
//
//	input ──► stdin pipe ──► process ──► stdout pipe ──► output
//	                            │ ──► stderr pipe ──► counters, status, log
//	                            └──► pidfd: it has ended
//
// # Asked to end
//
// When the attempt is to end by itself, the process's group gets SIGTERM if one
// of it catches that; others just run on. Go and Java programs always catch it,
// whatever they do then. A program that was asked was interrupted, which is
// [stint.Canceled], however it exits: most that catch the signal exit with 0
// wherever they are. It has completed only if it exits with 0 and a file named
// completed is in its checkpoint folder. Whoever of its
// group is left when it has ended may go on until the context ends: a shell in
// front of a program is gone at once, and the program saves itself yet.
//
// # What is left of a process
//
// The calling process becomes the reaper of all its descendants. When the main
// process has ended, whoever is left of it may go on writing to standard output
// for [Runner.Drain]; then all of them are killed, also those that made a session
// or a group of their own, and reaped, before Perform returns. That
// "nobody is left" is one system call which says that there is no child.
//
// Hence at most one Perform may be in progress in an operating system process,
// and nothing else in it may have children.
//
// # A process that is kept
//
// [Runner.Keep] starts a process that performs many operations, see package sdk. It
// is a child of the same runner, which ends it, with all it started, before it
// performs a command, and before it keeps another.
//
// # Counters
//
// Group "stint": input_not_read (1: it ended before it was given all input),
// leftover_processes (killed after the main process), reporter_malformed (lines
// that begin as a message and are none).
package command
