// Package archive reads archives that strangers made: zip and jar, tar, and tar
// that is compressed with gzip or zstd. Nothing is written anywhere: entries are
// shown one after the other, with a reader for the bytes of each.
//
// # What is refused
//
// An archive is taken whole or not at all, so callers look at all of it with
// [Check] before they take entries with [Walk]. Refused is whatever two readers
// might understand differently (entries twice, also in another case or Unicode
// form; local headers that differ from the directory; bytes before, between or
// behind the entries), whatever leaves the folder it is unpacked into (absolute
// names, .., links), and whatever costs more than its size promises (too many
// entries, sizes that are not as declared, windows and headers of any size).
//
// # What is dropped
//
// Owners, times, extended attributes, and the bits setuid, setgid and sticky.
// Archives inside the archive are files as any other.
package archive
