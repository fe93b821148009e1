// Package worker performs operations in a slot: a long-lived process for one
// execution, fed by the agent over a socket with orders and opened files. It
// holds no credentials and opens no input.
//
//	agent ──orders, descriptors──► queue ──► perform one ──► slot log ──► agent
//	                                          │   ▲
//	          split or shuffle.Merge ◄── input │   │ Runner
//	          shuffle.Writer, block or part ◄──┘   │
//
// # One operation
//
// It is performed by the [Runner] of its action, strictly one at a time. What it
// reads: pieces of input, a generated range, one partition of the stage before
// merged by key, or the output of earlier operations as it is. What it writes:
// records, sorted into a block; bytes, into a block; or bytes, into a part file,
// which is synced. The input is looked at again afterwards: an object that was
// changed meanwhile fails the operation for good.
//
// In a stage whose action is a command and whose input is not whole files, bytes
// are lines: a missing LF at the end of an operation's output is added, so that
// the lines of the next are not joined to it.
//
// # Checkpoints and stopping
//
// A process finds a folder under STINT_CHECKPOINT_DIR, of its operation alone, in
// which it may save itself for another attempt; the folder goes when the operation
// has completed. A [Stop] drops what waits and gives what is in progress a grace
// period; an operation that does not complete in it is recorded as interrupted.
//
// # The slot log
//
// Before an operation begins its Begun is in the log; after its output is
// written and before the next begins, its Done, Failed or Interrupted is. Both go out in one
// write, and only what is written is told to the agent, in batches. So what the
// agent knows is in the log, whatever dies when; see [ReadLog] for what stands
// at the end of a log whose worker was killed.
//
// # Whose fault
//
// The code of a failure: Failed, the program; Invalid, the program or its input
// and for ever; Unavailable, this node's disk or limits, but Failed if it is the
// operation's own output that filled the disk; Lost, the output of an
// earlier operation; Canceled, the agent asked.
package worker
