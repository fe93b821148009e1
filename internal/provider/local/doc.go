// Package local gets machines from the machine it runs on: it starts node
// managers, and the service they belong to, as child processes and keeps them
// running.
//
//	stint up ──┬── stint server --data DATA …
//	           ├── stint agent --data DATA/agents/1 …
//	           └── stint agent --data DATA/agents/2 …
//
// A child that ends is started again with the same arguments, hence on the same
// folder, after a delay that doubles while it does not stay up ([Delay]), or while
// what it needs is not there: an agent needs the service, which may be away for long.
// A child that refuses its very first start as a usage error (exit code 2) ends
// the supervision with what it said last, and so does one that has never had what it
// needs.
//
// Children end with their supervisor, whatever ends it. In order: a signal asks
// each to stop, and after the grace period it is killed. Out of order: each
// child's standard input is a pipe that nobody writes, its lifeline, which ends
// when the supervisor does, and the kernel sends it SIGTERM then as well, so
// that it can still end what it started itself. Every child is a process group
// of its own, so that Ctrl-C at a terminal reaches the supervisor alone.
package local
