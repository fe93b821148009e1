package fsck

import (
	"cmp"
	"slices"

	"stint"
)

// Severity is what a finding means.
type Severity string

// The severities, the worst first.
const (
	Lost       Severity = "lost"       // something acknowledged is lost or wrong
	Repairable Severity = "repairable" // it costs work or copies, and the service sees to it by itself
	Leftover   Severity = "leftover"   // it takes room, and nothing else
)

func (s Severity) rank() int { return slices.Index([]Severity{Lost, Repairable, Leftover}, s) }

// Code is the kind of a finding. Codes are stable.
type Code string

// The closed set of codes; [Codes] says what each means.
const (
	RecordMissing         Code = "record_missing"
	RecordTorn            Code = "record_torn"
	RecordDamaged         Code = "record_damaged"
	RecordStray           Code = "record_stray"
	DraftStray            Code = "draft_stray"
	ExecutionUnreadable   Code = "execution_unreadable"
	ExecutionInconsistent Code = "execution_inconsistent"
	ListingMissing        Code = "listing_missing"
	ListingDamaged        Code = "listing_damaged"
	ProgramUnreadable     Code = "program_unreadable"
	ProgramFileMissing    Code = "program_file_missing"
	ProgramFileDamaged    Code = "program_file_damaged"
	CredentialsUnreadable Code = "credentials_unreadable"
	KeyExposed            Code = "key_exposed"
	KeyMissing            Code = "key_missing"
	KeyDamaged            Code = "key_damaged"
	CertificateExpired    Code = "certificate_expired"
	NodeUnreadable        Code = "node_unreadable"
	LogAltered            Code = "log_altered"
	LogForeign            Code = "log_foreign"
	BlockMissing          Code = "block_missing"
	BlockDamaged          Code = "block_damaged"
	NodeFileDamaged       Code = "node_file_damaged"
	StorageForeign        Code = "storage_foreign"
	ClaimMissing          Code = "claim_missing"
	ClaimAltered          Code = "claim_altered"
	SavedStateGone        Code = "saved_state_gone"
	SavedRecordMissing    Code = "saved_record_missing"
	SavedRecordDamaged    Code = "saved_record_damaged"
	PackMissing           Code = "pack_missing"
	PackDamaged           Code = "pack_damaged"
	CheckpointMissing     Code = "checkpoint_missing"
	CheckpointDamaged     Code = "checkpoint_damaged"
	StagedMissing         Code = "staged_missing"
	StagedDamaged         Code = "staged_damaged"
	KeptLogDamaged        Code = "kept_log_damaged"
	OutputMissing         Code = "output_missing"
	ManifestDamaged       Code = "manifest_damaged"
	ManifestAltered       Code = "manifest_altered"
	PartMissing           Code = "part_missing"
	PartDamaged           Code = "part_damaged"
	SuccessMissing        Code = "success_missing"
	SuccessUnfounded      Code = "success_unfounded"
	CommitLeft            Code = "commit_left"
	BlocksLeft            Code = "blocks_left"
	WorkLeft              Code = "work_left"
	SavedLeft             Code = "saved_left"
	PacksLeft             Code = "packs_left"
	LogsLeft              Code = "logs_left"
	BlobsLeft             Code = "blobs_left"
	TempLeft              Code = "temp_left"
	StagingLeft           Code = "staging_left"
	StagingStray          Code = "staging_stray"
	DraftLeft             Code = "draft_left"
	OutputLeft            Code = "output_left"
)

// Meaning is what a code says and what is to be done about it.
type Meaning struct {
	Code     Code
	Severity Severity // the worst that it can have
	Says     string
	Advice   string
}

const (
	restoreRecord = "restore server/store.db with its -wal and .open files from a copy, all of one moment"
	restoreFile   = "bring the file back from a copy"
	resumeRedo    = "bring it back from a copy, or resume with --redo, which performs again what is gone"
	runAgain      = "bring it back from a copy, or run the program again (stint duplicate)"
	nothing       = "nothing: the service sees to it by itself"
	mayRemove     = "nothing; it may be removed"
	ifNobodyElse  = "nothing; it may be removed if no other service uses the storage"
)

// Codes returns what every code means, in the order in which people read it.
func Codes() []Meaning {
	return []Meaning{
		{RecordMissing, Lost, "the data folder has no record", restoreRecord},
		{RecordTorn, Lost, "the record was not closed, and the log with its latest changes is gone or is another's", restoreRecord},
		{RecordDamaged, Lost, "SQLite finds the record damaged", restoreRecord},
		{RecordStray, Lost, "the record has journal entries or snapshots of an execution that it does not list", restoreRecord},
		{DraftStray, Lost, "the record has an execution that it lists as a submission that is not recorded, too: a service that starts removes what is staged for it", restoreRecord},
		{ExecutionUnreadable, Lost, "the request, journal or snapshot of an execution cannot be read or replayed", restoreRecord},
		{ExecutionInconsistent, Lost, "the state of an execution contradicts itself or the list of executions", restoreRecord},
		{ListingMissing, Lost, "the listing of an execution's input is not in storage", restoreFile},
		{ListingDamaged, Lost, "the listing of an execution's input is not what it was", restoreFile},
		{ProgramUnreadable, Lost, "a version of a registered program cannot be read, or is not what its digest says", "upload the program again"},
		{ProgramFileMissing, Lost, "a file of a program that is registered or not over is not in storage", "upload the program again"},
		{ProgramFileDamaged, Lost, "a file of a program is not what its digest says", "remove it and upload the program again"},
		{CredentialsUnreadable, Lost, "a set of credentials cannot be decrypted with the key of this service", "bring server/secrets.key back, or set the credentials again"},
		{KeyExposed, Lost, "others than its owner may read a secret", "chmod 600 the file; if others have been on the machine, replace what it protects"},
		{KeyMissing, Lost, "a secret that others refer to is not there", "bring the file back from a copy; nodes and clients must join anew without it"},
		{KeyDamaged, Lost, "a secret or certificate cannot be read, or two do not belong together", restoreFile},
		{CertificateExpired, Lost, "a certificate has expired", "have the node join again; of the authority, make a new one"},
		{NodeUnreadable, Lost, "an agent's folder does not say which node it is", "bring node.json back, or remove the folder: the node joins anew"},
		{LogAltered, Repairable, "the log of a segment is altered: what stands behind that is not believed", nothing},
		{LogForeign, Repairable, "a log is of another execution or segment than its name says, and is not believed", "put it back where it came from, or remove it"},
		{BlockMissing, Repairable, "output that the record says is on a node is not there", nothing + ": another copy is used, or the operation is performed again"},
		{BlockDamaged, Repairable, "output on a node does not have its checksum", nothing + ": another copy is used, or the operation is performed again"},
		{NodeFileDamaged, Repairable, "a program file that a node has fetched is not what its digest says", nothing + ": it is fetched again"},
		{StorageForeign, Lost, "the storage has no marker, or is not the one that the service has used there", "mount the right file system, or name the storage"},
		{ClaimMissing, Lost, "nothing says that this service owns an execution that it goes on with", "bring it back from a copy"},
		{ClaimAltered, Lost, "what says who owns an execution, or how it ended, cannot be read", "bring it back from a copy"},
		{SavedStateGone, Lost, "nothing is left of the saved state of a suspended execution", "bring it back from a copy; else stint duplicate runs it anew"},
		{SavedRecordMissing, Lost, "a suspended execution has no record in storage: no other service could resume it", "bring it back from a copy"},
		{SavedRecordDamaged, Lost, "the record of a suspended execution in storage cannot be read or replayed", "bring it back from a copy"},
		{PackMissing, Lost, "a pack with saved output is not in storage", resumeRedo},
		{PackDamaged, Lost, "a pack with saved output is not what it was", resumeRedo},
		{CheckpointMissing, Lost, "the checkpoint of an operation is not in storage", resumeRedo},
		{CheckpointDamaged, Lost, "the checkpoint of an operation is not what it was", resumeRedo},
		{StagedMissing, Lost, "a part of the output that was staged is not there", resumeRedo},
		{StagedDamaged, Lost, "a part of the output that was staged is not what it was", resumeRedo},
		{KeptLogDamaged, Lost, "a file of logs in storage cannot be read to its end", restoreFile},
		{OutputMissing, Lost, "a completed execution has no output in storage", runAgain},
		{ManifestDamaged, Lost, "the manifest of an output is missing beside its parts, or cannot be read", runAgain},
		{ManifestAltered, Lost, "the manifest of an output is not what the execution has written", runAgain},
		{PartMissing, Lost, "a part of an output is not there", runAgain},
		{PartDamaged, Lost, "a part of an output is not what it was", runAgain},
		{SuccessMissing, Lost, "a whole output has no _SUCCESS", "create the empty file _SUCCESS beside the manifest"},
		{SuccessUnfounded, Lost, "there is a _SUCCESS, and the output is not whole", "remove _SUCCESS"},
		{CommitLeft, Lost, "the mark of a commit that has ended is still there: in a folder, no other output can take the place", "remove _commit from the execution's folder in _stint, or from _stint itself in a bucket"},
		{BlocksLeft, Leftover, "a node keeps output of an execution that does not need it there", mayRemove},
		{WorkLeft, Leftover, "a node keeps working folders of an execution that is not performed there", mayRemove},
		{SavedLeft, Leftover, "storage keeps saved state of an execution that is over", mayRemove},
		{PacksLeft, Leftover, "storage has packs or checkpoints that no operation refers to", "nothing; they go with the execution"},
		{LogsLeft, Leftover, "storage has logs of executions that the record does not know", ifNobodyElse},
		{BlobsLeft, Leftover, "storage has listings or program files that nothing refers to", ifNobodyElse},
		{TempLeft, Leftover, "storage has temporary files of writers that died", mayRemove},
		{StagingLeft, Leftover, "parts of an execution that is over are still staged", mayRemove},
		{StagingStray, Leftover, "something is staged for an execution that the record does not know", ifNobodyElse},
		{DraftLeft, Leftover, "a submission came to nothing, and what it may have left is not removed", "nothing: the service removes it within minutes"},
		{OutputLeft, Leftover, "storage has the output of an execution that the record does not know", ifNobodyElse},
	}
}

// MeaningOf returns what a code means.
func MeaningOf(code Code) Meaning {
	all := Codes()
	return all[slices.IndexFunc(all, func(m Meaning) bool { return m.Code == code })]
}

// Finding is one thing that is wrong.
type Finding struct {
	Code      Code              `json:"code"`
	Severity  Severity          `json:"severity"`
	Execution stint.ExecutionID `json:"execution,omitempty"`
	Place     string            `json:"place"` // file, key or location
	Text      string            `json:"text"`  // one sentence
	Advice    string            `json:"advice"`

	wide bool // a look at its execution alone does not find it
}

// spot tells findings apart: where two looks find the same.
func (f *Finding) spot() string {
	return string(f.Code) + "\x00" + string(f.Execution) + "\x00" + f.Place
}

// sortFindings puts the worst first, then by code and place.
func sortFindings(list []Finding) {
	order := Codes()
	at := func(c Code) int { return slices.IndexFunc(order, func(m Meaning) bool { return m.Code == c }) }
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity.rank(), b.Severity.rank()), cmp.Compare(at(a.Code), at(b.Code)), cmp.Compare(a.Execution, b.Execution), cmp.Compare(a.Place, b.Place))
	})
}
