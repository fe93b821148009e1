package split

import (
	"stint"
)

// Format says how the bytes of objects are records.
type Format struct {
	Split       stint.Split // lines, count or files; empty: lines
	Delimiter   string      // bytes that end a record; empty: LF, or as Hadoop says
	Hadoop      bool        // as Hadoop's text input: LF, CR and CR LF each end a record, a byte order mark at the object's beginning is left out
	Offsets     string      // put between a record's offset and the record; empty: records come without
	Compression string      // as in [stint.Request]
	Limit       int64       // of the length of a record; 0: [MaxRecord]; for files it has no meaning
}

// FormatOf returns the format in which a stage reads the execution's input. The
// error is that of the stage's delimiter.
func FormatOf(stage *stint.Stage, compression string) (Format, error) {
	delimiter, err := stint.Unescape(stage.Input.Delimiter)
	f := Format{Split: stage.Input.Split, Delimiter: delimiter, Compression: compression}
	s := stage.Streaming
	if s == nil || err != nil {
		return f, err
	}
	f.Hadoop = s.Mode == stint.StreamHadoop
	if s.Offsets {
		if f.Offsets = s.InputSeparator; f.Offsets == "" {
			f.Offsets = "\t"
		}
	}
	return f, nil
}

// Whole reports whether an object is read as a whole, whatever its piece says.
func (f *Format) Whole(url string) bool {
	return f.Split == stint.SplitFiles || stint.CodecOf(url, f.Compression) != stint.Plain
}

// isPlainLines reports whether records can be delivered as they lie in the object.
func (f *Format) isPlainLines() bool {
	return (f.Delimiter == "" || f.Delimiter == "\n") && !f.Hadoop && f.Offsets == ""
}

// terminator returns what finds the ends of the format's records.
func (f *Format) terminator() terminator {
	switch {
	case f.Delimiter != "":
		return &delimiter{text: []byte(f.Delimiter), overlaps: overlapsItself(f.Delimiter)}
	case f.Hadoop:
		return &lineEnds{}
	}
	return &delimiter{text: newline}
}

// overlapsItself reports whether some beginning of d is also an end of it.
func overlapsItself(d string) bool {
	for n := 1; n < len(d); n++ {
		if d[:n] == d[len(d)-n:] {
			return true
		}
	}
	return false
}
