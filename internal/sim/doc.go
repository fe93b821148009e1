// Package sim runs the pure cores of the service, and nothing else of it, in a
// world made of one seed: coord's state machine under the rules of the server's
// drive, sched's decisions, the agent's ledger, over a simulated store, network,
// disks, workers, long-term storage and clock. No goroutine, no clock and no map
// order has a say: the same seed gives the same run, event for event.
//
// # A run
//
// For half a minute of its own time executions of random shape are performed
// while faults happen, each kind in about half of the seeds and at a rate of the
// seed's own. Then everything is healed, and within a bound every execution must
// be over, or suspended and left so.
//
// Half of the programs are chains of shuffles, or copy their input; the others are
// graphs of any shape that the generator comes upon: diamonds, joins, broadcasts,
// chains one to one, gathers, two inputs. What an operation reads, the world finds out
// from the names in the specification, not from the plan.
//
//	server   killed (what is not committed is gone, what is being committed may
//	         be either), restarted, its commits' outcome unknown, its decisions late
//	store    commits in groups after a while; an owner reads snapshot and journal
//	link     delayed, cut, down for a while; what was under way is lost, or comes
//	         late, in the next session; messages are repeated
//	agent    killed and restarted on its folder, paused, out of a server for long
//	machine  crashed: the tails of logs and the blocks that were not synced are
//	         gone; folder gone; disk full; slow
//	blocks   altered on a disk or in a pack: it shows when they are read
//	worker   killed; attempts fail; some operations fail always
//	peers    cut off from each other
//	storage  late; refuses for a while; does what it was asked and does not say so;
//	         packs are taken away
//	output   the commit unavailable, or done with its answer lost
//	input    while an execution is suspended, or in progress: objects get another content, are
//	         touched, removed, added
//	cache    output that nodes keep after the end is evicted
//	process  of a server: paused, slow, one of two that have the record, killed between
//	         two effects of a commit; its clock jumps, as those of nodes do
//	record   its disk full, its sync failed, slow, not to be read; the commit refused to
//	         who does not own it any more
//	ways     cut in one direction, half open
//	disk     logs altered, or torn where there is no room; names of files lost; syncs and
//	         reads that fail; reads that are damaged once; folders swapped, put back from an
//	         older copy, or in use twice
//	rights   to storage denied, or to write to it; a removal that ends on the way
//	people   terminate; ask, and remember what they were told; suspend executions and
//	         jobs, with any grace; resume here, at a time, or elsewhere, two of them at
//	         once; take an execution away from its owner; move jobs; drain nodes, by a
//	         time or without, take them away then, or use them again; retry what failed,
//	         maybe after they have mended the cause; accept that operations are performed again
//	         whose input changed, or not; begin an execution that reuses another, with other
//	         nodes, another program in a stage, other input
//
// In one seed of four a fault stays when all else is healed: a node, a link, a pair of
// nodes, or one that is slow.
//
// Which faults there are is data (schedule): all that the seed's rates bring, or those
// that are listed, each by its kind and number. What breaks a law is shrunk to a short
// list, and can be kept. A scene is a small run in which faults are placed where something
// happens (phase); the fault matrix places every one in every phase.
//
// Elsewhere is a second service: another record, another server, other nodes. The
// two share long-term storage and nothing else.
//
// # Laws
//
// They are checked at every event that could break them, against books that are
// kept beside the cores: what the store has committed, what workers did, what
// lies on disks and in storage.
//
//	ack        what an agent is told is committed is committed
//	grant      an operation is granted to one node at a time, and not when it is done, in this
//	           stint or an earlier one, unless every copy of its output that the records tell of
//	           was lost while needed; never after the execution has stopped
//	begin      an attempt begins under a committed grant of the node's own incarnation, once
//	final      a final status stays; what people were told does not go backwards; what was
//	           acknowledged as terminated is not completed
//	books      operations done and attempts performed, as the document says, and what would be lost
//	           with each node, are what follows from the committed records
//	fold       the fold of the committed records, as they were written, is the state
//	waits      what is not over and does nothing says what it waits for
//	faults     what a decider finds wrong with its own state is never there
//	output     the parts are what one machine would have written; completed is what has an output
//	counters   counters and bytes count every operation once
//	attempts   the number of attempts performed is the number of attempts that workers wrote down
//	           and that a committed record tells of; what a node did not tell when it came back is not in it
//	blame      an execution fails only if its own attempts did, or if another service owns it
//	saved      what is recorded as saved is in storage; of a suspended execution all output that is
//	           needed is; saved state is where the execution says; after the end nothing is left
//	record     the record in storage says what the state says that was suspended, and a fresh service
//	           makes that state of it
//	pack       a pack is not replaced by one with less
//	owner      output is committed, and what is staged removed, only by who has claimed last
//	checkpoint a grant names what interrupted attempts of its operations have left, and it is there
//	held       operations of a suspended job are not granted before it is resumed
//	copies     no copy counts on a lost node; a node announces those it keeps; with replication, output that is on one node alone is
//	           being copied
//	drop       a node is told to drop only what no operation needs and what was made of it outlives
//	           a node, as the records say when that is decided, and to forget only what has stopped
//	drained    a node that is said to be drained has nothing to do and the only copy of nothing
//	errors     an operation is tried as often as was asked for, after its back-off, and then has
//	           failed for good; a grant names what is to be done without; what a document says
//	           is missing, why, and which records were left out, is so; it completes with errors
//	           only if that was asked for
//	reuse      what is taken over, by another execution or after a change of the input, is what
//	           one machine would make of exactly this input; nothing is performed again that is
//	           the same and whose output can be had; a grant names output as it is kept
//	cache      nodes keep, after the end, output of executions that may be kept, until its time
//	live       after healing all is over in time, everything acknowledged, and nothing is left on nodes
package sim
