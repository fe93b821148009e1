// Package sim runs the pure cores of the service, and nothing else of it, in a
// world made of one seed: coord's state machine under the rules of the server's
// drive, sched's decisions, the agent's ledger, over a simulated store, network,
// disks, workers and clock. No goroutine, no clock and no map order has a say:
// the same seed gives the same run, event for event.
//
// # A run
//
// For half a minute of its own time executions of random shape are performed
// while faults happen, each kind in about half of the seeds and at a rate of the
// seed's own. Then everything is healed, and within a bound every execution must
// be over.
//
//	server   killed (what is not committed is gone, what is being committed may
//	         be either), restarted, its commits' outcome unknown, its decisions late
//	store    commits in groups after a while; an owner reads snapshot and journal
//	link     delayed, cut, down for a while; what was under way is lost, or comes
//	         late, in the next session; messages are repeated
//	agent    killed and restarted on its folder, paused, out of a server for long
//	machine  crashed: the tails of logs and the blocks that were not synced are
//	         gone; folder gone; disk full; slow
//	worker   killed; attempts fail; some operations fail always
//	peers    cut off from each other
//	output   the commit unavailable, or done with its answer lost
//	people   terminate; ask, and remember what they were told
//
// # Laws
//
// They are checked at every event that could break them, against books that are
// kept beside the cores: what the store has committed, what workers did, what
// lies on disks.
//
//	ack        what an agent is told is committed is committed
//	grant      an operation is granted to one node at a time, and not when it is done, unless its
//	           output was lost while needed; never after the execution has stopped
//	begin      an attempt begins under a committed grant of the node's own incarnation, once
//	final      a final status stays; what people were told does not go backwards; what was
//	           acknowledged as terminated is not completed
//	books      operations done and attempts performed, as the document says, are what follows from
//	           the committed records
//	fold       the fold of the committed records is the state
//	output     the parts are what one machine would have written; completed is what has an output
//	counters   counters and bytes count every operation once
//	attempts   the number of attempts performed is the number of attempts that workers wrote down
//	           and that a committed record tells of; what a dead node never told is not in it
//	blame      an execution fails only if its own attempts did
//	live       after healing all is over in time, everything acknowledged, and nothing is left on nodes
package sim
