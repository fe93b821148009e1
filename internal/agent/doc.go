// Package agent is the node manager of one computing node: it performs the jobs
// that the server grants, keeps what its operations put out, serves it to its
// peers, and tells the server what became of everything.
//
// # Who does what
//
// One goroutine, the loop, owns the state as plain values: the [Ledger] with
// the rules of the protocol, the slots, the orders that are ready. Others talk
// to it by one channel of notices:
//
//	session     dials the server, hands over what it says, sends what the loop says
//	preparer    opens the inputs of operations before a slot needs them
//	process     one worker: starts it, hands it orders, reads what its log holds
//	errand      lists, probes, commits, clears, reads logs, saves, copies, verifies
//	copier      brings output that was put out elsewhere into this node's store
//	packs       opens packs of long-term storage that operations read from
//	cache       removes output that nobody needs, when the room is wanted
//	spawner     starts processes from one thread, kills strays
//	data plane  serves blocks to peers
//
// The loop never waits for any of them.
//
// # An operation
//
// A grant is entered in the ledger once. Operations at the front are handed to
// the preparer: it opens the objects of a subset, or finds the blocks that each edge
// of the stage reads, on this node or by fetching them from others into a scratch
// file, and creates the staged part. An order that is ready goes to a slot that
// serves its execution. The worker's log is the truth about what began, was
// completed and failed: events only repeat it, and it is read when a worker
// dies and when the agent starts. What the ledger learns goes into numbered
// reports, which are kept until the server has them on disk.
//
// # Where output is read from
//
// A grant names sources of what its operations read: this node, peers, packs in
// long-term storage, several of them for the same operations. A search asks
// the first of each, and the next for what that does not give whole. Copies that
// turn out damaged are reported, whether the operation finds others or not.
// Blocks fetched and ranges of packs are verified by the agent; blocks on this node
// by the worker that reads them and, once an attempt has failed, by the agent too.
//
// What is read as a broadcast is fetched once for an execution, whole and verified,
// into one file, by the first operation that wants it while others wait. It is looked
// at by every operation and read by attempts after the first: a program may have
// written to it. A node that was told an execution anew, or is to do without
// operations that failed for good, makes another file.
//
// # What operations weigh
//
// An operation takes one slot, or as many as its stage says, or those whose share of
// the memory it needs. What workers have in hand weighs no more than the node's
// slots, but an operation may be performed alone whatever it weighs. One that does
// not fit has the slots emptied for it, unless its execution has something in hand:
// so executions of heavy and light operations take turns.
//
// # What happens on failure
//
//	a worker dies            its log is read; the operation in progress failed as
//	                         Lost, those behind it are handed out again
//	an input cannot be had   the operation fails: Invalid if it changed, Lost with
//	                         the node that should have it, Unavailable for what
//	                         this node lacks
//	an operation takes long  what its worker was handed behind it is handed out
//	                         again, to another slot or back to the server
//	a job is to stop         what has not begun is given back; what is in progress
//	                         may complete, or save itself in its checkpoint folder,
//	                         until the grace period ends; the folder goes to
//	                         long-term storage, stays until the server knows that,
//	                         and is unpacked where the operation goes on
//	the server is away       work goes on; after the lease (15 minutes) everything
//	                         is stopped and given back
//	the agent dies           its workers die with it; the next incarnation reads
//	                         the logs, checks the segments and says what it has
//	the machine restarts     as when the agent dies, and every checksum is verified
//	the disk is full         operations fail as Unavailable; until there is room
//	                         again what has not begun is given back, and one
//	                         operation of it says why. One whose own output has
//	                         filled the disk fails as a program does. A start has
//	                         the cache give way, or fails as Unavailable
//	a block is not whole     it is condemned, for all incarnations, and lost
//	the storage is away      what was to be saved waits; what is not found there is
//	                         not missing
//
// # The folder
//
//	lock              held by the process that owns the folder; says which
//	node.json         node, name, incarnation, boot id of the last checked start
//	blocks/           segments and logs (package block)
//	files/            program files by digest, fetched once
//	work/<execution>/ files/, slot-N/, checkpoints/<stage>-<operation>/, broadcast/
package agent
