package split

// IsBomb is for tests.
func IsBomb(length, size int64) bool { return isBomb(length, size) }
