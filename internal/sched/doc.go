// Package sched decides which node gets how many operations of which stage. It
// is pure: it sees a snapshot and returns wishes; the executions' own state
// machines cut the jobs and refuse what is stale.
//
// It thinks in classes, not operations: a demand is "stage k of execution x has
// n operations ready that last m milliseconds each". A node is given a little
// more than its slots can hold, so that a slot that ends an operation never
// waits for the server: the queue of a node is aimed at [horizon] of work, and
// at one operation ahead of each slot at least. What was given too early can be
// taken back: where one node has nothing and another has a queue, the queue is
// halved by a retraction.
//
// Executions share the slots of a node equally, in the order of their ids from
// a place that moves with every round, so that none is always first.
package sched
