package store

import (
	"database/sql"

	"github.com/zeebo/xxh3"

	"stint"
)

// SQLite finds damage of its pages' structure alone: a byte that was altered within
// a value it returns as any other. So what is kept as bytes has a sum beside it.

// sumOf returns the sum of values that are kept together.
func sumOf(values ...[]byte) int64 {
	h := xxh3.New()
	for _, v := range values {
		h.Write(v) //nolint:errcheck // a hash does not fail
	}
	return int64(h.Sum64())
}

// checkSum refuses values that do not have their sum. What was written before there
// were sums has none.
func checkSum(sum sql.NullInt64, what string, values ...[]byte) error {
	if sum.Valid && sum.Int64 != sumOf(values...) {
		return stint.Errorf(stint.Internal, "%s is altered: it does not have its checksum", what)
	}
	return nil
}
