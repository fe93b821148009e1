// Package server is the system manager: it takes submissions, drives every live
// execution, keeps the sessions of the nodes and the record.
//
// # Loops and what each owns
//
//	drive   one per live execution: its coord.State and nothing else. Events come
//	        in by its inbox; what Step decides is committed in batches, one in
//	        flight while the next fills, and only then released: messages to
//	        nodes, acknowledgements, answers to callers.
//	place   the scheduler's rounds: reads the demands that drives publish, asks
//	        sched.Place, puts its wishes into inboxes. A demand is acted on once.
//	fleet   the silence of nodes: 30 s without a session makes a node away,
//	        LostAfter makes it lost, another node under its name does so at once.
//	        And whether another server has taken over: then Run ends.
//	due     resumes suspended executions at their time; what was not possible is
//	        tried again, and shown as why the execution waits.
//	accept  one per session, in the session's own goroutine: turns what an agent
//	        says into events.
//
// # When a commit is refused or unknown
//
// The drive drops its state and everything that waits for the commit, closes
// all sessions and loads the execution again. Nodes come back with what they
// hold; what is missing on either side is sent again. That is the way a restart
// of the whole server goes too, so there is one way and it is walked often.
//
// A record that cannot be read is tried again from time to time. Meanwhile the
// execution is known, its inbox is emptied and everything in it refused: nodes
// keep what they hold of it and are acknowledged nothing, other executions go on.
//
// # Suspend and resume
//
// A suspend is the state machine's business; the server's own part is the errand
// "record": it claims the first generation in long-term storage, if nobody has,
// and writes all that a fresh service needs. A resume is the server's: verify,
// claim, go on. Nodes verify first, and on any fault nothing has changed. Then
// the next generation is claimed by creating its owner-… object: of two that
// try, one succeeds, and what the other does under its lower generation is
// refused from then on, by nodes too. Only then the state machine is told. Dying
// in between leaves a claim of our own, over which the next resume claims again.
//
// An execution from elsewhere is its record with the moment added that the record
// could not have in it: that it was written. It is entered as suspended, with
// its nodes lost, and resumed like any other; where its saved state lies stays
// its home.
//
// When a record is replaced under a live drive (what is lost or changed is to be
// performed again; a later record came from elsewhere), the drive is told to load
// it again, as if a commit had been refused.
//
// # Submission
//
// Bad input costs nothing but the refusal: the input is listed and the output
// location probed by a node, and the plan made, before anything is recorded.
package server
