// Package stint is the vocabulary of Stint, a distributed program execution
// service: programs, executions, stages, jobs, operations, nodes, their ids,
// their states, their errors, and the messages about them that more than one
// package speaks of. It imports the standard library alone and does nothing.
//
// A program is separated into stages; a stage into operations, each over one
// subset of the input or one partition of an earlier stage's output; operations
// that follow each other are granted to a node as a job. A node reports what
// began, completed and failed. What was recorded as completed is never
// performed again while a copy of its output lives.
//
// # Where a line belongs
//
//	wire                           turns values into bytes, in messages and on disk
//	failpoint                      has a process die at a named step, in builds for tests
//	plan, coord, sched             decide from values: no I/O, clock, goroutine, randomness
//	manifest                       reads what people write of programs
//	archive,
//	object, split, shuffle,
//	block, transfer                turn bytes into bytes; know nothing of jobs
//	worker, runner/command,
//	runner/native, runner/sdk      perform one operation
//	frame                          what a worker and an SDK program say to each other
//	program, sdk/python            the SDKs for those who write programs
//	examples/wordcount-go          a program written with it
//	link                           speaks between server and agent
//	agent, server                  keep the loops alive
//	store                          remembers
//	provider/local                 gets machines
//	auth, api                      face people and machines
//	fsck                           looks at all that was written, and changes nothing
//	sim                            runs the pure cores against seeded faults
//	client                         the Go SDK of the API
//	cmd/stint                      the one binary
//	object/s3test                  starts a server of object storage for tests
//	memnet                         is a network in memory for tests
//	test/e2e                       drives the binary as people do
//	test/chaos                     takes away what the binary stands on while it works
//	test/harness                   what both have in common: commands, files, waiting
//
// # Log keys
//
// Structured logs use these keys and no others: component, execution, stage,
// job, operation, attempt, node, incarnation, block, seq, errand, addr, path,
// pid, status, count, bytes, err, took.
package stint
