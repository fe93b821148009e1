package stint

// ExecutionFilter chooses executions for a list, newest first.
type ExecutionFilter struct {
	Search string          // occurs in the id, name or program; empty: all
	Status ExecutionStatus // empty: all
	Cursor uint64          // where the page before ended, as it was returned with it; 0: the first page
	Limit  int             // at most so many, from 1
}

// OperationFilter chooses operations of one execution for a list, in the order
// of the stages and of their numbers.
type OperationFilter struct {
	Stage  string          // name; empty: all
	Status OperationStatus // empty: all
	Cursor uint64          // where the page before ended, as it was returned with it; 0: the first page
	Limit  int             // at most so many, from 1
}

// OperationStatuses lists every status of an operation, in the order of a life.
func OperationStatuses() []OperationStatus {
	return []OperationStatus{OpWaiting, OpQueued, OpInProgress, OpCompleted, OpFailed, OpLost}
}

// Cluster is the document about the nodes of a service, taken together.
type Cluster struct {
	Version  string `json:"version"` // of the service
	Nodes    int    `json:"nodes"`   // all that are known: the sum of the next four
	Ready    int    `json:"ready"`
	Draining int    `json:"draining"` // or drained
	Away     int    `json:"away"`
	Lost     int    `json:"lost"`
	Slots    int    `json:"slots"` // of the ready nodes
}
