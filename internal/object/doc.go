// Package object reaches what lies outside the service: the objects an execution
// reads, the place it leaves its output in, and system storage. All goes through an
// [Access], which knows the credentials and the addresses that may be reached.
//
// # Locations
//
// A location is a file:// URL or a plain absolute path, s3://[SET@]bucket/key, where
// SET is a named set of credentials, or, of an input, http(s)://host/path.
//
// In a location the characters * ? [ ] { } are those of a glob, unless something
// exists under the location as it is spelled. In a URL they stand for themselves
// when they are percent-encoded. Listings contain only URLs in one spelling:
// unreserved characters and slashes as they are, every other byte as %XX. They
// are sorted in byte order of that spelling.
//
// In a bucket a folder is what keys begin with up to a slash; a key with nothing
// behind its last slash stands for a folder and is no object. s3://bucket/a names the
// object a and the folder a/, s3://bucket/a/ the folder alone. Keys keep empty names
// between slashes. Keys below a _stint are refused, or left out.
//
// A URL of the web names one object, in the version of its ETag, or else of its time
// and length. One whose length the server does not say is read once to measure it,
// and read from its beginning each time.
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
// waits for _SUCCESS. Everything below _stint is ours alone and goes away; a call that
// comes late does not make it again.
//
// # Commit
//
// [Access.Commit] may die between any two of these steps and is then called again,
// here or elsewhere, with the same arguments. Each step is durable before the next.
// In a folder:
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
// _commit, by which the next call goes forward ([Access.Commit] with the same parts) or
// all the way back ([Access.Clear], or Commit with other parts: renamed parts return to
// their staged names first). While another execution has a _commit, a commit is
// refused even with overwrite.
//
// Commits of one execution follow each other, see [Turn], and the manifest says which
// one it is of. Once a later one has begun, an earlier one that comes late is refused.
//
// [Access.Clear] removes what is staged, goes back if a commit has begun, and takes
// back the output of its own turn: _SUCCESS goes first, then the manifest becomes
// <output>/_stint/<execution>/_reopened, then the parts go. A commit that comes after
// that finds nothing staged.
//
// An output that is without something, since operations failed for good, lists
// that in its manifest, gets no _SUCCESS and keeps its staging folder. A later
// commit of the same execution, with what was missing, takes it back between
// steps 1 and 2: its manifest goes to <output>/_stint/<execution>/_reopened, parts
// that are the same in both go back to their staged names, the others go away.
//
// # Commit in a bucket
//
// A bucket has neither renames nor locks, but conditions: an object is written only
// if nothing is there, or if a version is. What a write whose outcome is not known
// has done is read from the object, which says who wrote it.
//
//		<output>/_stint/_commit                  the one commit that may go on here
//		<output>/_stint/<execution>/_staging     the execution may stage parts
//		<output>/_stint/<execution>/<name>       parts as attempts stage them
//
//	 1. If _manifest.json is this execution's, go on at step 8.
//	 2. Every staged part is there and has its size. Nothing is in the way, or it is
//	    to be replaced.
//	 3. _commit is created if it is not there: the manifest, the staged names, the
//	    names that are to go, and the version of the manifest that is there. Another
//	    of this execution, and one whose output is whole, is replaced, in its version.
//	    Step 1 is looked at again.
//	 4. _SUCCESS of an output that is replaced is deleted. A mark that says whose
//	    commit has taken the place is written under the name of the manifest: if there is
//	    none, or in place of the one that is replaced, in its version, which is no output any
//	    more. No two marks are the same.
//	 5. Parts are copied to their names; those that have them in the staged version
//	    stay.
//	 6. Names that are to go are deleted. The parts are listed and have their sizes,
//	    and _commit is still this one.
//	 7. The manifest is written in place of the mark, in its version. When it was there
//	    first, step 1 is looked at again.
//	 8. _SUCCESS is written, and deleted again if the manifest has gone meanwhile; what is
//	    staged is deleted and uploads that were broken off
//	    are given up, _staging first; _commit is deleted last.
//
// Two calls of one commit do the same with the same objects. What decides, steps 3,
// 4 and 7, succeeds once; a call that was held up finds its sources gone and looks
// again. [Access.Clear] deletes _staging first. A commit looks for that before it puts its
// mark and again when it has it; without it, it ends and clears up after itself. Then a clear
// puts a mark of its own, which names the parts, in place of the manifest of its own turn,
// and of a mark that a commit of the execution has put: so step 7 of a call that was held up
// has none to replace. Of a commit between steps 3 and 7 it deletes
// the names that that has made, unless a manifest stands there that it has not replaced,
// which gets _SUCCESS back if step 4 has deleted that; then its marks, each in
// its version. What is left of an execution that has
// nothing staged is in nobody's way. An output that lacks something keeps what is staged, and a later commit
// replaces its manifest as that of any other.
//
// Names of parts and _SUCCESS are deleted under no condition. So a call of an execution that
// is over, which sleeps between looking and deleting for as long as another execution's whole commit
// takes, can delete parts of that output. As long as something is staged, nobody
// else commits; so this takes a late commit and a clear of one execution at once, or two
// clears, and a third that commits. The manifest stays and tells of it. A server that does not know
// If-Match of a delete can lose that manifest, too.
//
// # System storage
//
// [Storage] keeps small things under slash-separated keys below one folder, or one
// prefix of a bucket. A value appears whole or not at all and is durable when Put
// returns; temporary files lie in <storage>/tmp and mean nothing. The file or object
// <storage>/stint-storage.json makes a place a storage: without it nothing is written
// there, and a key that is not found is not missing but away.
package object
