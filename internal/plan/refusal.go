package plan

import (
	"errors"
	"fmt"

	"stint"
)

// Refusal says what of a program makes no sense.
type Refusal struct {
	Stage int    // number of the stage that it is about; -1: of none
	Word  string // by which it is known, as unknown_reference; empty: it has none of its own
	Text  string // for people
}

// Error returns the word and the text.
func (r *Refusal) Error() string {
	if r.Word == "" {
		return r.Text
	}
	return r.Word + ": " + r.Text
}

// refuse makes a refusal that has a word of its own.
func refuse(word, format string, args ...any) *Refusal {
	return &Refusal{Stage: -1, Word: word, Text: fmt.Sprintf(format, args...)}
}

// ofStage makes a refusal of what is wrong with a stage; i is -1 for none. A refusal that
// names its stage already keeps it.
func ofStage(i int, err error) *Refusal {
	r, ok := errors.AsType[*Refusal](err)
	if !ok {
		r = &Refusal{Stage: -1, Text: err.Error()}
	}
	if r.Stage < 0 {
		r.Stage = i
	}
	return r
}

// CheckProgram refuses a program that makes no sense.
func CheckProgram(p stint.Program) error {
	if r := Examine(p); r != nil {
		return &stint.Error{Code: stint.Invalid, Err: r}
	}
	return nil
}
