// Package frame is the language that a worker and the process of an SDK program
// speak: the worker on the program's standard input, the program on its standard
// output. STINT_FRAMES=1 is in the environment of a process to which it is spoken.
// Any language can speak it: the checksum is that of zlib, which all have in their
// standard libraries, as they have not CRC-32C.
//
// # A frame
//
// All numbers are unsigned and little-endian. A frame is 12 bytes of header and a
// payload:
//
//	byte 0      version: 1
//	byte 1      type
//	bytes 2-3   0
//	bytes 4-7   length of the payload, at most 96 MiB
//	bytes 8-11  CRC-32 (IEEE 802.3, as zlib and gzip have it) of bytes 0-7 and the payload
//
// # Types
//
//	1 begin     worker → program   an operation begins: JSON, see [Begin]
//	2 records   both               some records, see below
//	3 end       worker → program   the operation has no more input: u64 number of its records
//	4 counter   program → worker   JSON: {"group": …, "name": …, "add": …}
//	5 status    program → worker   UTF-8 text
//	6 bad       program → worker   a record, or a group, that the program fails on and leaves out:
//	                               u64 number of its first record in the operation, from 0; u64 how many
//	                               records; u32 length of the reason; the reason, UTF-8; the
//	                               record, or the group's key, its first 4 KiB; each once, in their order
//	7 done      program → worker   the operation is complete: u32 number of the operation as in
//	                               begin; u64 number of records that were written; u8 1, or
//	                               nothing: no two of them have the same key
//	8 failed    program → worker   the operation failed: u32 number of the operation; the reason, UTF-8
//
// # Records
//
// The payload of a records frame is four columns: for n records
//
//	u32           n
//	u32           1 if edges follow, 0 if none do
//	n × u32       lengths of the keys
//	n × u32       lengths of the values plus one; 0: the value is absent, which is not the same as empty
//	n × u8        only with edges: the number of the edge that the record came by, see below
//	…             the bytes: key and value of the first record, key and value of the second, …
//
// So a program reads all lengths of a batch in one step. Records of no bytes are
// records. A key has at most 16 MiB, a value at most 64 MiB; a frame holds about
// 256 KiB, and no more than twice that before its last record.
//
// In the role map a record is what the stage reads, a line without its end or a
// whole file: it is the value, and its key has no bytes. In the roles combine and
// reduce the records come sorted by key; records of one key are a group. Edges
// are there for a join: 0 for the stage's input, 1 and up for what it reads
// beside that.
//
// # Combining early
//
// Where begin has gather above 0, what the program writes is combined by the same
// program afterwards, in the role combine. It may do some of that before: keep so
// many bytes of what it would write, and write the combined values of a key
// instead of the values. Which values it combines may depend on nothing but the
// operation's records, and the values of a key stay in their order, a combined one
// where the first of it was; so an operation writes the same bytes wherever it is
// performed. A program that does without is right too. One that has written no key
// twice, and was told to gather, may say so in done, and is spared the role combine.
//
// # A conversation
//
//	worker    begin, records…, end
//	program          records…, counter…, status…, bad…  done or failed
//
// The program reads one operation after the other until its standard input ends,
// and then exits; between operations it may be killed at any time. It may write at
// any time after begin. If it writes done or failed before it has read up to end,
// that counts; it then reads on to end and drops what comes, or is ended if that is
// much. An operation that is to end early is announced by
// SIGTERM, if the process catches that: the program may write done or failed soon,
// or save itself in the folder begin names and exit.
//
// # When it goes wrong
//
// Whoever reads a frame that is not as above ends the conversation. Messages begin
// with a word: protocol_error, truncated_frame (the stream ends inside a frame),
// truncated_stream (it ends before done), key_too_long, record_too_long.
package frame
