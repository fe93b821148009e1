// Package block keeps the output of operations on a node's disk. Workers write
// it, each through a [Writer] on the segment of its slot; the agent finds and
// serves it through a [Store]. Neither knows what a job is.
//
// # On disk
//
//	<folder>/<execution>/<id>.seg     blocks, one after another, about 256 MiB
//	<folder>/<execution>/<id>.log     what the worker recorded of them, or
//	<folder>/<execution>/<id>.copies  where blocks came from elsewhere: see [Copied]
//	<folder>/<execution>/condemned    blocks that were found not to be whole
//	<folder>/<execution>.removed      an execution that is being removed, or was when its process died
//
// A block is the output of one operation: its partitions in order, without gaps
// and without anything between them. It has no header: where it lies, what is in
// it and the checksum of each partition are in its [Index], which the worker
// puts into the log together with the completion of the operation. A log begins
// with a line that names its execution and segment: brought elsewhere, it is
// refused. What follows is the worker's and the agent's affair.
//
// # Invariants
//
//   - A block exists once its index is in a log. Bytes of a segment that no index
//     speaks of are the rest of something that was given up: they are cut off by
//     [Writer.Discard], written over by the next block, or left behind by a
//     process that died, and never read.
//   - Blocks are written by write(2) before their index is logged: safe from the
//     death of any process. They are not synced: after a crash of the machine
//     [Store.Verify] says which are not whole.
//   - A segment is written by one process and only grows while its blocks are
//     read. Ids are not used again while the execution has a folder.
//   - The store in memory is a cache of the logs: about 60 bytes for a block of one
//     partition and 21 for each further one. Opened again it is empty until the
//     agent has read the logs and added their blocks.
//   - An index that contradicts itself is refused by [Store.Add], so that what is
//     opened lies within the block; whether the bytes are the right ones is seen
//     by the checksum that [Store.Open] returns.
//
// # Packs
//
// In long-term storage, blocks of one stage lie in packs, some 64 MiB each:
//
//	blocks             one after another; between them perhaps bytes that were
//	                   given up, of blocks that turned out not to be whole
//	index              for each block, by operation: operation (4 bytes), offset (5),
//	                   length (5), number of partitions (3); for each of its partitions:
//	                   partition (3), offset in the block (5), records (5), XXH3-64 (8)
//	footer             "stintpak", format 1 (4), stage (4), blocks (4), offset of the
//	                   index (8), its length (8), its XXH3-64 (8), XXH3-64 of the footer (8)
//
// All numbers are little-endian. A [Packing] makes one, [ReadPackIndex] reads it.
//
// Files that are not the store's are left alone until their execution is removed.
package block
