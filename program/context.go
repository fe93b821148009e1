package program

import (
	"context"
	"maps"

	"stint/internal/frame"
)

// Context is what a function knows of its operation, and how it says more than
// records. It is done when the operation is asked to end early: a function may
// then save itself in the folder of [Context.Checkpoint] and return
// [ErrStopped]; one that does not look goes on, until it is killed. Not for
// concurrent use, as a context excepted.
type Context struct {
	context.Context //nolint:containedctx // it is one, for an operation

	begin *frame.Begin
	op    *operation
	edge  int
	key   []byte
	index int64
}

// Input says where an operation's records come from.
type Input struct {
	URL            string
	Offset, Length int64 // of the first piece, bytes
}

// Execution returns the execution's id.
func (c *Context) Execution() string { return c.begin.Execution }

// Stage returns the stage's name.
func (c *Context) Stage() string { return c.begin.Stage }

// Operation returns the operation's id, as map/17.
func (c *Context) Operation() string { return c.begin.Operation }

// Attempt returns which attempt of the operation this is, from 1.
func (c *Context) Attempt() int { return c.begin.Attempt }

// Param returns a parameter of the execution, empty if there is none.
func (c *Context) Param(name string) string { return c.begin.Params[name] }

// Params returns all parameters.
func (c *Context) Params() map[string]string { return maps.Clone(c.begin.Params) }

// Input returns where the operation's first records come from, if the stage reads the execution's input.
func (c *Context) Input() Input { return Input(c.begin.Input) }

// File returns the address of the file that a record is, in a stage whose input is whole files.
func (c *Context) File() string { return string(c.key) }

// Record returns the number of the present record in the operation, from 0; of a group, that of its first.
func (c *Context) Record() int64 { return c.index }

// Edge returns over which edge the value that was yielded last came, in a stage
// that joins: 0 for its input, 1 for the first that it reads beside, and so on.
// Values of a key come in that order.
func (c *Context) Edge() int { return c.edge }

// Partition returns which partition is combined or reduced.
func (c *Context) Partition() uint32 { return c.begin.Partition }

// Partitions returns how many partitions the stage's output has.
func (c *Context) Partitions() uint32 { return c.begin.Partitions }

// Broadcast returns the path of a file with all output of a stage that this one
// reads as a broadcast, empty if it does not.
func (c *Context) Broadcast(stage string) string { return c.begin.Broadcast[stage] }

// Checkpoint returns a folder in which the operation may save itself, and finds
// what an earlier attempt saved.
func (c *Context) Checkpoint() string { return c.begin.Checkpoint }

// Count adds to a counter. Counters of operations that complete are summed.
func (c *Context) Count(group, name string, n int64) { c.op.count(group, name, n) }

// Status says in a line what the operation is doing.
func (c *Context) Status(text string) { c.op.say(text) }
