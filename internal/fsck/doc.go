// Package fsck looks at everything that a service has written and says what is
// wrong with it: the record, the folders of agents on this machine, storage, outputs
// and keys. It changes nothing.
//
//	record ──copy──► replay ──► state ─┐
//	agents' folders ─► logs ─► blocks ─┼─► judge ──► findings
//	storage ─► claims, records, packs ─┤
//	outputs ─► manifests, parts ───────┘
//
// # Reading and judging
//
// Each part of what is looked at is read once, its digests by all cores, and comes
// down to a few plain values: which blocks of an execution are whole in a folder
// ([holding]), what lies in storage, which parts are what they were. What they mean
// together is judged by functions of these values and of the state that the journal
// makes; they do no I/O. The state is that of package coord, made by the same
// functions as in a server that starts, and checked against itself by
// [coord.State.Faults], which the simulator asks as well.
//
// One execution is looked at after the other: memory is bounded by the largest.
//
// # While the service runs
//
// The record is copied as it is at one moment; what lies elsewhere goes on changing.
// So what seems wrong is looked at again, under a newer copy of the record, and
// reported if it is wrong in every look. What is merely left over is not reported
// of executions that are not over.
package fsck
