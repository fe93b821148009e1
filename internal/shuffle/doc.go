// Package shuffle sorts the records that an operation emits by partition and
// key, combines them, and merges such sorted runs again. It turns bytes into
// bytes and knows nothing of jobs; memory is bounded by a budget.
//
// # Records
//
// A record is a key, 0 to 16 MiB, and a value, 0 to 64 MiB or absent. As text it
// is a line: the key, then TAB and the value unless that is absent, then LF. In
// blocks and spill files it is
//
//	uvarint(length of key) uvarint(0 if absent, else length of value + 1) key value
//
// # Order
//
// Records are in order of (partition, key, edge that they come over, operation
// that emitted them, place in what it emitted). An operation that reads over one
// edge alone has all records of edge 0; of several, as in a join, [Merge.Edge] says
// over which a record came. Keys are compared bytewise, unsigned, shorter first. The
// order is total and stable, and does not depend on the budget: what comes out
// is a function of what went in.
//
// # Partitions
//
// A [Partitioner] says which partition a key belongs to: by hash, by fields of the
// key, or by ranges between given keys, which makes partitions that follow each
// other in the order of keys.
//
// # Writing
//
//	Emit → arena of encoded records + list of (prefix of key, ref)
//	         | full                              | Finish
//	         v                                   v
//	  sort, combine, one run per          sort, combine, Output
//	  partition in the spill file
//	         | Finish
//	         v
//	  merge the runs of a partition, combine again, Output
//
// The list is distributed by partition and then sorted by prefixes of 7 bytes;
// only where prefixes are equal and keys are longer is a record looked at, once
// for every further 7 bytes. Sums of memory held (arena, list and its spare)
// stay below the budget, except for a single record that is longer.
//
// # Merging
//
// A loser tree holds the prefix of each run's next record; equal keys come in
// the order of the runs. Runs that fit into the budget together are read at
// once. Otherwise each has a buffer of 64 KiB to 4 MiB, and while there are
// more than 256 runs, or more than such buffers fit, neighbours of one edge among
// them, the shortest possible, are merged to a spill file first: a run there has
// one edge, as every other. A record longer than its
// buffer has one of its own.
//
// # What goes wrong
//
// Every length is checked against its bound and against what is left of the run
// before memory is taken for it; a run's checksum is compared when its last byte
// was read, before the last records are returned. Damage is a [*RunError] with
// code Lost. What was returned before it was noticed must be thrown away: an
// operation that meets an error has no output. Spill files have no name and are
// gone with the process.
package shuffle
