// Package sched decides which node gets how many operations of which stage. It
// is pure: it sees a snapshot and returns wishes; the executions' own state
// machines cut the jobs and refuse what is stale.
//
// It thinks in classes, not operations: a demand is "stage k of execution x has
// n operations ready that last m milliseconds each". A node is given a little
// more than its slots can hold, so that a slot that ends an operation never
// waits for the server: the queue of a node is aimed at half a second of work,
// and at one operation ahead of each slot at least. What is ready goes where it can
// begin at once before any of it goes behind something else.
//
// What was given too early can be taken back by a retraction, where one node has a
// slot that does nothing and another has a queue. One operation for each slot is not
// too early: it hides the way to the server and back, and as a rule begins before it
// could elsewhere. A longer queue is halved. A queue that nothing has left for half
// a second ([coord.Load.Stuck]) has turned out to be longer than was aimed at,
// however few it holds: it waits behind operations that have lasted so long already,
// and what lasts long is likely to last as long again. Of such a queue the idle slots
// get all that they can begin. So how long the operation ahead lasts need not be
// known, and nothing is given up that has begun: a node answers a retraction with
// exactly what it gave up, and only that is given to another.
//
// Executions share the slots of a node equally, in the order of their ids from
// a place that moves with every round, so that none is always first.
package sched
