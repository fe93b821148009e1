// Package coord is the state machine of one execution. It is pure: it reads no
// clock, starts nothing, sends nothing. Times and ids arrive in events; what is
// to be done leaves as a [Delta].
//
//	          Step(event)                 Apply(record)
//	event ───────────────► records ───────────────────► state
//	                          │
//	                          └──► messages, acknowledgements, errands: released
//	                               by the caller once the records are committed
//
// Step validates, makes records, applies them at once and so runs ahead of the
// disk; whatever leaves the process waits for the commit. After a crash the
// state is the fold of Apply over the committed records, which never fails and
// decides nothing that is not in the record. If a commit is refused or its
// outcome unknown, the state is dropped and loaded again.
//
// # Operations
//
// An operation is 20 bytes in an array, not an object. Its life:
//
//	pending ─grant─► granted ─report─► begun ─report─► done
//	   ▲                │ returned,       │ failed: retried elsewhere after a
//	   │                │ node away,      │ back-off, until it has used up its
//	   └────────────────┴─ new incarnation┘ attempts: failed
//	   ▲                                       done ─ the node that holds the
//	   └───────────────────────────────────────────── output is lost, and the
//	                                                  output is still needed
//
// A job is a run of operations of one stage with the same attempt number,
// granted to one node in one incarnation. Only a journaled grant lets a node
// begin; a grant is used once. Operations leave a node that is alive only by
// its own word ([stint.Returned]); those of a node that is away or came back in
// a new incarnation are free at once, because its grants are void. What the node
// had begun of a voided job is still counted when it tells of it.
//
// The first completion that is committed counts. A completion of an operation
// that has since been granted to another node is refused as superseded.
//
// # Edges
//
// Stages read each other along edges, see package plan. A stage that reads others
// as a whole, by shuffles and broadcasts, begins when all those are complete. One that
// reads one to one, or gathers, has each operation wait for its own; so several
// stages are in progress at once. Output is needed while any reader still needs it,
// and may be dropped when all have read it and what they made of it is safe. Nodes
// are told of that, and those that attach are told again.
// Everything that happens to an operation is passed on along all edges.
//
// # Errors
//
// Attempts that failed are grouped by cause: stage, code, and message without its
// numbers and quoted text. Records that a program fails on may be left out up to a share
// of those of a stage; when a stage is complete, or as soon as there can be no
// more, a larger share ends the execution as a failed operation does.
//
// # Two times
//
// A silent node is away: its unfinished operations go elsewhere, its blocks are
// unreachable and not lost. Lost comes later, or at once when its folder is
// known to be gone; then every operation whose only copy was there and whose
// output is still needed goes back to pending, all in one record. Output that is
// lost and not needed is marked: it may be needed later, when what was made of
// it is lost as well.
//
// A report from a node that is believed gone, or after a gap, has the node attach
// anew: what it says then settles what both sides know.
//
// # Where output lies
//
// The output of a completed operation lies on its node, on further nodes that
// keep a copy, and in packs of long-term storage. When its node loses it, a copy
// takes that place. Lost is what is nowhere. A part of the execution's output
// lies staged in the output location, which outlives the nodes.
//
// What is to be saved and copied follows from the state: it is found out in one
// look at all operations, kept up as operations complete, and handed out in
// errands of about 64 MiB, a few at a time. Errands are not recorded, only their
// results are; a new owner issues what is left under other names.
//
// # Suspending
//
//	in progress ──► suspending: stop ──► save ──► record ──► suspended
//	     ▲               │ nothing is     │ errands  │ the server     │ nodes forget
//	     │               │ granted        │ of nodes │ writes it      │ everything
//	     └───────────────┴──── resume ────┴──────────┘                │
//	     ▲                                                            │
//	     └──────── resume, with a generation that was claimed ────────┘
//
// The phase is not recorded either: something is granted or begun, or needed
// output is not saved, or neither. A node that does not stop what it has within
// a minute after the grace period has it taken back; one that is away for so long
// is given up with what it alone holds, and so is one that is connected and does
// not answer errands: each has a deadline, which is doubled, and after the third
// the node counts as away. So a suspend ends, whatever is lost. One that is taken
// back goes on under a higher generation, too, if storage can be asked: nobody is
// to resume from a record that was written or is on its way.
//
// A job can be suspended by itself: what it did not complete is held back. A job
// that moves is stopped in the same way, and performed elsewhere. A node that is
// drained gets nothing new, and what it alone holds is copied away.
package coord
