// Package object reaches what lies outside the service: the objects an execution
// reads, the folder it leaves its output in, and system storage. Today every
// object is a file; a location is a file:// URL or a plain absolute path.
//
// # Locations
//
// In a location the characters * ? [ ] { } are those of a glob, unless something
// exists under the location as it is spelled. In a URL they stand for themselves
// when they are percent-encoded. Listings contain only URLs in one spelling:
// unreserved characters and slashes as they are, every other byte as %XX. They
// are sorted in byte order of that spelling.
//
// # The output folder
//
//	<output>/part-00000 …                    the parts; the number is that of the operation
//	<output>/_manifest.json                  what the output consists of, see [Manifest]
//	<output>/_SUCCESS                        empty; the last thing that appears
//	<output>/_stint/_lock                    held (flock) by who changes the folder
//	<output>/_stint/<execution>/<name>       parts as attempts stage them
//	<output>/_stint/<execution>/_commit      what a commit that has begun will do
//
// An output exists when its manifest does; who only knows Hadoop's convention
// waits for _SUCCESS. Everything below _stint is ours alone and goes away.
//
// # Commit
//
// [Commit] may die between any two of these steps and is then called again, here
// or elsewhere, with the same arguments. Each step is durable before the next.
//
//  1. Under the lock: if _manifest.json is this execution's, go on at step 6.
//  2. Every staged part is there and has its size. Nothing is in the way; with
//     overwrite, _SUCCESS is removed first, then the old parts, the old manifest last.
//  3. _commit is written: the manifest and the parts' staged names. From here on
//     a part-… in the folder is ours if it is not staged any more, and somebody
//     else's if it still is.
//  4. Parts are renamed; none ever replaces a file.
//  5. The manifest is written beside _commit and renamed.
//  6. _SUCCESS is created, then <output>/_stint/<execution> is removed.
//
// A death in step 2 leaves all parts staged. A death in steps 3 to 5 leaves
// _commit, by which the next call goes forward ([Commit] with the same parts) or
// all the way back ([Clear], or Commit with other parts: renamed parts return to
// their staged names first). While another execution has a _commit, a commit is
// refused even with overwrite.
//
// An output that is without something, since operations failed for good, lists
// that in its manifest, gets no _SUCCESS and keeps its staging folder. A later
// commit of the same execution, with what was missing, takes it back between
// steps 1 and 2: its manifest goes to <output>/_stint/<execution>/_reopened, parts
// that are the same in both go back to their staged names, the others go away.
//
// # System storage
//
// [Storage] keeps small things under slash-separated keys below one folder. A
// value appears whole or not at all and is durable when Put returns; temporary
// files lie in <storage>/tmp and mean nothing. The file <storage>/stint-storage.json
// makes a folder a storage: without it nothing is written there, and a key that
// is not found is not missing but away.
package object
