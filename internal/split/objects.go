package split

import (
	"io"

	"stint"
)

// Objects calls each with every object of the pieces and a reader of its content,
// for a reader of whole files, instead of reading all as one. The reader is valid
// during the call; what is left in it is read and counted. Nothing may have been
// read before, and nothing is afterwards. Errors are those of reading, and of each.
func (r *Reader) Objects(each func(o stint.Object, content io.Reader) error) error {
	for _, in := range r.inputs {
		one := NewReader([]Input{in}, r.format, r.decoders)
		if err := each(in.Piece.Object, one); err != nil {
			return err
		}
		if _, err := one.WriteTo(io.Discard); err != nil {
			return err
		}
		r.records += one.Records()
		r.bytes += one.Bytes()
	}
	r.inputs, r.err = nil, io.EOF
	return nil
}
