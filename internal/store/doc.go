// Package store is the durable record of the service: executions with their
// journals and snapshots, and nodes. It runs on SQLite in WAL mode with
// synchronous=FULL: what was committed survives the death of the process and of
// the machine.
//
// # The journal
//
// A row of the journal is one batch of records of one execution, as its state
// machine decided them together. Batches of many executions are committed
// together: while one transaction is being synced, the next fills. Each batch
// names the epoch and the version that it follows; the transaction checks both
// and refuses that batch alone if another owner, or another history, is there.
// Three outcomes reach the caller: done (nil), refused ([stint.Conflict]) and
// unknown ([stint.Unknown]: the commit itself failed, or the batch could not be
// written, so the caller must read again what is there). If the disk refused to do
// something for a commit, such as to sync it, its outcome is known when the record is
// opened again: until then nothing is committed and no execution is loaded, and
// [DB.Run] ends with [ErrFailed]. Lists still show what was committed before.
//
// # Snapshots
//
// A snapshot replaces the journal up to its version, in the same transaction
// that appends the batch it was made after. Operations are kept in chunks, of
// which only those that changed are rewritten.
//
// # What is refused
//
// While the record is open a file <record>.open lies beside it, with a number that
// is a fact in the record too. A record that was not closed is refused if its log
// is gone or the numbers differ: what was acknowledged would be forgotten. One that
// SQLite finds damaged is refused, too, and never repaired.
package store
