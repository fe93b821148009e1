// Package plan separates an execution: a program and the frozen listing of its
// input become stages, operations and parts. It is pure; the same request,
// listing and choice give the same plan in every process and version.
//
// # Graphs
//
// Stages stand in an order in which each comes after those that it reads. By its
// input a stage has its operations:
//
//	input       a subset each; every such stage has cuts of its own, of the objects
//	            of one of the program's inputs
//	shuffle     a partition each, of all that the stage upstream leaves
//	gather      one, that reads all of the stage upstream in order
//	one-to-one  the same number of the stage upstream each
//
// Beside that it reads other stages whole: further shuffles, whose records are
// joined by key, and broadcasts, which are there as files. How a stage leaves its
// output follows from who reads it: partitioned and sorted if all readers are
// shuffles, as it was written if none is. Shuffles of one stage, and shuffles that are
// joined, have the same partitions; so the numbers that are given are compared over
// all stages that are connected so, and one counts for all.
//
// # Cuts
//
// A large object is cut at multiples of the subset size, counted from its
// start. Small objects that follow each other in the listing are packed into
// one operation; where a pack ends is decided by the hashes of the names nearby,
// so that an object that is added, removed or changed makes its own operation
// another one and at most those beside it. A subset size that the user gave is
// kept exactly: nothing is packed. An object that is compressed is never cut. By
// count, the listing says where the operations of each object begin.
//
// # Parts
//
// The output must not depend on how the input was cut or on how many nodes
// there are. A last stage that reads a shuffle writes one part per partition,
// and the number of partitions is chosen from the listing alone. A last stage
// that reads the input, directly or one to one through others, has its parts fixed
// as ranges of the listing first, where the input is cut; no subset crosses one.
// Where each part then is one operation, that operation writes it; otherwise a gather
// stage is put behind the last that concatenates the operations of each part in
// order. Which objects are in one part is decided as for packs. A program's own
// gather leaves one part.
//
// # Identities
//
// What an operation's output depends on is hashed into its identity
// ([Plan.Identity]), which names the output wherever it is kept, also after the
// plan was made anew for an input or a program that changed. [Same] finds the
// operations that two plans have in common.
package plan
