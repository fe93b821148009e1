// Package split says where an input may be cut and reads the pieces.
//
// # Lines
//
// A record is a line without the LF that ends it; a CR before the LF belongs to
// the record. A record begins at byte 0 of an object and after every LF that is
// not the object's last byte. The records of a piece [Offset, Offset+Length) are
// those that begin in it. So any cut of an object into pieces, at any bytes, in
// the middle of a line, a CR LF or a character, gives every record exactly once:
//
//   - a piece that does not begin at 0 is read from the byte after the first LF
//     at Offset-1 or later; if there is none before the last byte of the
//     piece, no record begins in it;
//   - it is read up to and with the first LF at Offset+Length-1 or later, or
//     to the end of the object: the size that was listed, whatever has been
//     appended since.
//
// What [Reader] delivers are these bytes as they are; a last line without LF is
// given one. An object that has become shorter than it was listed is an error.
//
// # Other ends of records
//
// A delimiter of any length may end records instead of LF; where occurrences
// overlap, the first counts, counted from the object's beginning. In Hadoop's
// format LF, CR and CR LF each end a record, and a byte order mark at the object's
// beginning is left out. Both, and records with their offsets, are delivered as the
// record and an LF; an LF within the record stays. The rule for pieces is the same.
// A piece is read from before its first byte: from so far back that no occurrence
// of the delimiter can reach over from before that, which is a few bytes as a rule.
//
// # Compressed objects
//
// An object whose name ends in .gz, .zst or .bz2 is one piece. Members, frames and
// streams follow one another; records are counted in what they hold, bytes as they
// are in the object. An object that is something else, is cut short, goes on with
// something else or holds beyond measure fails for good.
//
// # Files
//
// A record is a whole object, delivered as it is, or as what it holds if it is
// compressed, one after the other.
//
// # Ranges
//
// A record is a number in decimal digits, delivered as a line.
//
// Nothing is done per line: line ends are counted in bulk, and searched for only
// at the ends of pieces and of buffers. A buffer is never longer than the longest
// record allowed, so that a record that is too long always spans the end of one.
package split
