package block

// Index says where the block of one operation lies, and what is in it. Parts
// are sorted by partition, follow each other without gaps and fill the block;
// partitions without bytes are left out.
type Index struct {
	_struct struct{} `codec:",toarray"` //nolint:unused // tells the encoder to write an array
	Segment uint32   // of a block without bytes any, also 0: it lies nowhere
	Offset  int64    // of the block in the segment
	Length  int64    // bytes
	Parts   []PartIndex
}

// PartIndex is one partition of a block.
type PartIndex struct {
	_struct   struct{} `codec:",toarray"` //nolint:unused // tells the encoder to write an array
	Partition uint32
	Offset    int64 // from the beginning of the block
	Length    int64 // bytes
	Records   int64
	Sum       uint64 // XXH3-64 of the bytes
}

// Records returns the number of records in all partitions.
func (x Index) Records() int64 {
	var n int64
	for _, p := range x.Parts {
		n += p.Records
	}
	return n
}
