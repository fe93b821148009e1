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
// reads: pieces of input, a generated range, one partition of each of the stages
// that it shuffles, merged by key, or the output of earlier operations as it is.
// Beside that, the output of stages that are broadcast is there as files. What it writes:
// records, sorted into a block; bytes, into a block; or bytes, into a part file,
// which is synced. The input is looked at again afterwards: an object that was
// changed meanwhile fails the operation for good.
//
// Of a join every record comes over one of its edges; for one key, those of the
// first edge come first. Records that are put out sorted go to the partition that
// the partitioner of the stage says: by hash, by fields of the key, or by ranges,
// whose boundaries are the lines of a broadcast.
//
// In a stage whose action is a command and whose input is not whole files, bytes
// are lines: a missing LF at the end of an operation's output is added, so that
// the lines of the next are not joined to it.
//
// # The working directory
//
// When an operation begins, its process finds a link to each of the program's files
// that the stage uses, in folders as the file's name says, and to each broadcast
// under the name of its stage, and nothing else. STINT_BROADCAST_NAME has the path
// of a broadcast, too. The directory itself stays from one operation to the next,
// since a process that performs many is in it; it is emptied where an operation has
// left something, or the next is to find something else.
//
// # Memory
//
// Sorting takes half of the slot's memory and merging the other; of a stage that
// says how much an operation takes of its node, they have half of that.
//
// # Bad records
//
// Where an execution leaves out bad records, a native operator or an SDK program says
// which they are. Of a command that ends badly they are found by trials on halves of
// its input, in a stage behind a shuffle of its groups, and the operation is
// performed once more over all others. A failure that no single record is to blame
// for stays what it is. What was left out is in the operation's Done.
//
// # Checkpoints and stopping
//
// A process finds a folder under STINT_CHECKPOINT_DIR, of its operation alone, in
// which it may save itself for another attempt; the folder goes when the operation
// has completed and its Done is in the log. A [Stop] drops what waits and gives what
// is in progress a grace period; an operation that does not complete in it is
// recorded as interrupted.
//
// # The slot log
//
// Before an operation begins its Begun is in the log; after its output is
// written and before the next begins, its Done, Failed or Interrupted is. Both go out in one
// write, but for a Done that a checkpoint folder waits for, and only what is written
// is told to the agent, in batches. So what the agent knows is in the log, whatever
// dies when; see [ReadLog] for what stands at the end of a log whose worker was killed.
//
// # Whose fault
//
// The code of a failure: Failed, the program; Invalid, the program or its input
// and for ever; Unavailable, this node's disk or limits, but Failed if it is the
// operation's own output that filled the disk; Lost, the output of an
// earlier operation; Canceled, the agent asked.
package worker
