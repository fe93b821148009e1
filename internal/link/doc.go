// Package link is the session between a server and an agent: the messages, and
// both ends of the stream that carries them. It knows what may be said, by whom
// and in which order; what follows from a message is decided by server and agent.
//
// # The stream
//
// A session is one bidirectional Connect stream (connectrpc.com/connect) over
// HTTP/2 and TLS with client certificates, dialled by the agent. Messages are
// plain Go structs encoded by package wire, at most [MaxMessage] long, not
// compressed. Connections are made for one session and closed with it.
//
//	agent                                      server
//	Hello{protocol, node, incarnation,   ──►   certificate names the node? protocol
//	      holdings}                            understood? fields in range?
//	                                     ◄──   Welcome{epoch, storage}
//	Beat every 2 s                       ──►
//	                                     ◄──   Echo
//	                                     ◄──   Spec       of an execution, once, before its first Grant
//	                                     ◄──   Grant      a job: run of operations of one stage
//	Report 1: begun 0-3, done 0-1        ──►   commits to the journal
//	                                     ◄──   Ack 1
//	                                     ◄──   Retract    give back at most n operations not begun
//	Report 2: done 2, returned 5-9       ──►
//	                                     ◄──   Ack 2
//	                                     ◄──   Errand     list, probe, commit, clear, log
//	Result                               ──►
//	                                     ◄──   Forget     stop and remove everything of an execution
//
// The server refuses a Hello whose node is not that of the client certificate
// (identity_mismatch), whose protocol it does not understand, or with a field
// out of range; the agent's Dial returns the refusal. Every later Report must
// name the same node and an incarnation not newer than the Hello's.
//
// A refusal ends the stream with a code and a text. What an agent decides by beyond
// the code stands in fields of its own, in the metadata of the stream's end, each
// there or not: Stint-Known-Incarnation, Stint-Removed-Node. Texts are for people.
//
// # Order and acknowledgement
//
// Within a session messages arrive in the order in which they were sent, whole
// or not at all. Nothing is promised across sessions: when one ends, either end
// may have sent what the other never saw. Therefore
//
//   - reports of one (execution, node, incarnation) carry numbers from 1 without
//     gaps; an agent keeps each until an Ack with its number or a higher one,
//     which the server sends only after the commit; a repeated report changes nothing;
//   - grants are consumed by a cursor in the agent's log, so one that comes twice,
//     or late from a former session, starts nothing twice;
//   - the server keeps Specs, Grants, Retracts, Errands and Forgets in its journal
//     until their effect was reported, and may send any of them again.
//
// # Reconnecting
//
// An agent that lost its session goes on working, waits by [Backoff], dials, and
// sends a Hello with its [stint.Holding] per execution: jobs accepted in this
// incarnation, operations completed with their output whole, operations begun in
// earlier incarnations and not ended, and the number of its last report. After the
// Welcome it first sends all reports that are not acknowledged, in their order and
// unchanged, and then new ones. The server compares holdings with its record and
// asks for what it has not with Resend, sends Forget for executions that ended,
// and sends Specs and Grants again that the agent does not name.
//
// A second session of the same node replaces the first; that is the server's to do,
// by ending the first with a Conflict.
//
// # Silence and slowness
//
// Each end closes a session in which nothing arrived for [SilenceTimeout]: the
// server when no Beat came, the agent when no Echo came. HTTP/2 pings find dead
// connections below. The server's Send never blocks: messages wait in a queue of
// at most 65,536 messages and 64 MiB, and an agent that does not read them is cut
// off. The agent's Send blocks while the server does not read, at most
// [SilenceTimeout]. More than 100 beats within a second end the session.
package link
