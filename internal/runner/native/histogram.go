package native

import "math/bits"

// A histogram counts whole numbers in buckets that are at most 1/128 of a number
// wide: the middle of a bucket is at most 0.4 % from any number in it. Buckets are
// numbered in order, so that histograms are added bucket by bucket.
const (
	mantissaBits   = 7
	histogramError = "0.4%"
)

// bucketOf returns the bucket of a number that is not negative.
func bucketOf(n int64) int64 {
	shift := bits.Len64(uint64(n)) - mantissaBits - 1
	if shift <= 0 {
		return n
	}
	return int64(shift)<<mantissaBits + n>>shift
}

// middleOf returns the middle of a bucket.
func middleOf(bucket int64) int64 {
	shift := bucket>>mantissaBits - 1
	if shift <= 0 {
		return bucket
	}
	low := (bucket&(1<<mantissaBits-1) | 1<<mantissaBits) << shift
	return low + 1<<(shift-1)
}

// bucketCount is how many numbers a bucket has.
type bucketCount struct{ bucket, count int64 }

// percentile returns the middle of the bucket in which the number lies that is at
// least as great as so many of a thousand. Buckets are in order and not all empty.
func percentile(buckets []bucketCount, perMille int64) int64 {
	var total, sum int64
	for _, b := range buckets {
		total += b.count
	}
	rank := max((total*perMille+999)/1000, 1)
	for _, b := range buckets {
		if sum += b.count; sum >= rank {
			return middleOf(b.bucket)
		}
	}
	return 0
}
