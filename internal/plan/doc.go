// Package plan separates an execution: a program and the frozen listing of its
// input become stages, operations and parts. It is pure; the same request,
// listing and choice give the same plan in every process and version.
//
// # Cuts
//
// A large object is cut at multiples of the subset size, counted from its
// start. Small objects that follow each other in the listing are packed into
// one operation; where a pack ends is decided by the hashes of the names nearby,
// so that an object that is added, removed or changed makes its own operation
// another one and at most those beside it. A subset size that the user gave is
// kept exactly: nothing is packed.
//
// # Parts
//
// The output must not depend on how the input was cut or on how many nodes
// there are. A last stage that reads a shuffle writes one part per partition,
// and the number of partitions is chosen from the listing alone. A last stage
// that reads the input has its parts fixed as ranges of the listing first; no
// subset crosses one. Where each part then is one operation, that operation
// writes it; otherwise a gather stage is put behind that concatenates the
// operations of each part in order. Which objects are in one part is decided as
// for packs.
//
// # Identities
//
// What an operation's output depends on is hashed into its identity
// ([Plan.Identity]), which names the output wherever it is kept, also after the
// plan was made anew for an input or a program that changed. [Same] finds the
// operations that two plans have in common.
package plan
