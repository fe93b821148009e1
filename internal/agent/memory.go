package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memoryBytes returns how much memory the processes of this node have: that of the
// machine, or less if a control group that this process is in allows less; 0 if
// that cannot be found out. proc and groups are where the kernel shows both.
func memoryBytes(proc, groups string) int64 {
	memory := machineMemory(filepath.Join(proc, "meminfo"))
	b, _ := os.ReadFile(filepath.Join(proc, "self", "cgroup")) // without it there are no limits
	for line := range strings.Lines(string(b)) {
		for _, file := range limitFiles(groups, strings.TrimSpace(line)) {
			if limit := readBytes(file); limit > 0 && (memory == 0 || limit < memory) {
				memory = limit
			}
		}
	}
	return memory
}

// machineMemory reads MemTotal, which is in units of 1024 bytes.
func machineMemory(path string) int64 {
	b, _ := os.ReadFile(path) // what cannot be read is not known
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "MemTotal:" && fields[2] == "kB" {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// limitFiles returns the files with the memory limits of a group, as a line of
// /proc/self/cgroup names it, and of those it is in.
func limitFiles(groups, line string) []string {
	parts := strings.SplitN(line, ":", 3) // number, controllers, path
	if len(parts) < 3 {
		return nil
	}
	root, name := groups, "memory.max"
	switch {
	case parts[0] == "0" && parts[1] == "":
	case strings.Contains(","+parts[1]+",", ",memory,"): // the older kind, a tree for each controller
		root, name = filepath.Join(groups, "memory"), "memory.limit_in_bytes"
	default:
		return nil
	}
	var files []string
	for path := filepath.Clean("/" + parts[2]); ; path = filepath.Dir(path) {
		files = append(files, filepath.Join(root, path, name))
		if path == "/" {
			return files
		}
	}
}

// readBytes reads a number of bytes; 0 if there is none, as for "max".
func readBytes(path string) int64 {
	b, _ := os.ReadFile(path) // what cannot be read is no limit
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}
