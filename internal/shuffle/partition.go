package shuffle

// MaxPartitions is the largest number of partitions of a shuffle.
const MaxPartitions = 1 << 20

// Partitioner says which of n partitions, 0 … n-1, a key belongs to. It is a
// pure function; n is at least 1.
type Partitioner func(key []byte, n uint32) uint32

// HashPartition is the default [Partitioner], that of Hadoop: a hash that
// starts at 1 and is multiplied by 31 and increased by each byte, taken as
// signed, in 32-bit arithmetic; its lower 31 bits modulo n.
func HashPartition(key []byte, n uint32) uint32 {
	if n == 1 {
		return 0
	}
	const m2, m3, m4 = 31 * 31, 31 * 31 * 31, 31 * 31 * 31 * 31
	h := int32(1)
	for len(key) >= 4 { // four steps at once: one multiplication waits for the one before, not four
		h = h*m4 + int32(int8(key[0]))*m3 + int32(int8(key[1]))*m2 + int32(int8(key[2]))*31 + int32(int8(key[3]))
		key = key[4:]
	}
	for _, b := range key {
		h = 31*h + int32(int8(b))
	}
	return (uint32(h) & 0x7fffffff) % n
}
