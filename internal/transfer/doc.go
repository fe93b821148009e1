// Package transfer moves blocks between nodes: partition ranges of the output of
// operations, from the node that holds them to the one that needs them, over
// HTTP/1.1 and TLS with the certificates of both nodes.
//
// A request asks one node for one partition of many operations of one stage:
// POST [Path] with a [Request] encoded by package wire. The answer is
//
//	header{op, length, records, sum}   one frame of package wire
//	length bytes
//	header …                           operations in ascending order
//	header{end, present, missing}
//
// An operation whose block has no bytes in the partition has no header of its
// own; it is listed as present. Every operation asked for is in present or in
// missing, so that what is not there is never mistaken for what is empty. An
// answer without its end is not whole, whatever came before it.
//
// A request for whole blocks, which a node keeps as copies, is answered alike:
// each header lists the block's partitions with their checksums instead, and a
// block without any bytes is only listed as present.
//
// # What can go wrong
//
//	block unknown, or unreadable when opened   missing: Lost, with a MissingError
//	bytes altered on disk or on the way        Lost, with a ChecksumError
//	read error or cut connection in between    Unavailable: the answer has no end
//	no byte for 30 s                           Unavailable
//	503, more than 64 requests in progress     asked again as Retry-After says, for 30 s; then Unavailable
//	another node answers at the address        Denied
//
// The caller decides whether to ask again, to ask another copy or to report the
// source as lost. What [Fetch] returned besides an error is verified and usable.
package transfer
