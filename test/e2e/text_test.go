package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
)

// text writes files of words below the folder in: some empty, some with CR before LF,
// some with bytes that are no text, all ended by a newline. It returns the folder.
func (h *home) text(files, lines int) string {
	h.t.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	for i := range files {
		var b strings.Builder
		if i%7 != 3 {
			writeLines(&b, r, lines, i)
		}
		h.write(fmt.Sprintf("in/%c/file-%02d.txt", 'a'+i%3, i), b.String())
	}
	h.write("in/_ignored/file.txt", "never counted\n")
	h.write("in/.hidden", "never counted\n")
	return h.path("in")
}

func writeLines(b *strings.Builder, r *rand.Rand, lines, file int) {
	for range r.IntN(2*lines) + 1 {
		for range r.IntN(12) {
			fmt.Fprintf(b, "w%d%s", int(r.ExpFloat64()*40), []string{" ", "  ", "\t", ", "}[r.IntN(4)])
		}
		switch file % 5 {
		case 1:
			b.WriteString("\r\n")
		case 2:
			b.WriteString("\xff\x00\xfe z\u00fc\n")
		default:
			b.WriteString("\n")
		}
	}
}

// The commands of a streaming program, in Python and in shell, and its input's
// words counted by a pipeline of the same commands.
const (
	pythonMap = `import sys
for line in sys.stdin.buffer:
    for word in line.split():
        sys.stdout.buffer.write(word + b"\t1\n")
`
	pythonReduce = `import sys, itertools
for word, group in itertools.groupby(sys.stdin.buffer, lambda line: line.split(b"\t")[0]):
    total = sum(int(line.split(b"\t")[1]) for line in group)
    sys.stdout.buffer.write(word + b"\t%d\n" % total)
`
	shellMap = `tr -s ' \t\r' '\n\n\n' | sed -e '/^$/d' -e 's/$/\t1/'
`
	shellReduce = `cut -f1 | uniq -c | sed -E 's/^ *([0-9]+) (.*)$/\2\t\1/'
`
	pipeline = `find "$1" -type f ! -path '*/.*' ! -path '*/_*' | sort | xargs cat | $2 | sort | $3`
)

// counted is what a pipeline of the commands makes of a folder's files.
func (h *home) counted(folder, mapper, reducer string) string {
	h.t.Helper()
	return h.shell(pipeline, folder, mapper, reducer)
}

// counter writes a mapper that tells of every performance in a file outside,
// takes its time, and passes its input on. It returns the mapper, and what
// counts the performances of each operation.
func (h *home) counter(seconds string) (mapper string, performed func() map[string]int) {
	h.t.Helper()
	counts := h.path("performed")
	mapper = h.write("count.sh", fmt.Sprintf("echo \"$STINT_OPERATION\" >> '%s'\nsleep %s\nexec cat\n", counts, seconds))
	return mapper, func() map[string]int {
		b, err := os.ReadFile(counts)
		if err != nil && !os.IsNotExist(err) {
			h.t.Fatal(err)
		}
		found := make(map[string]int)
		for op := range strings.FieldsSeq(string(b)) {
			found[op]++
		}
		return found
	}
}

// gate is a line of a shell program that waits until the test opens.
func (h *home) gate() string {
	return fmt.Sprintf("until [ -e '%s' ]; do sleep 0.05; done\n", h.path("open"))
}

// open lets all programs pass their gates.
func (h *home) open() {
	h.t.Helper()
	h.write("open", "")
}

// holdBack gives what counter has written a gate in one operation, before it tells of
// its performance: until the test opens, the execution is not over, however much time
// commands take that find it in progress.
func (h *home) holdBack(operation string) {
	h.t.Helper()
	h.write("count.sh", fmt.Sprintf("[ \"$STINT_OPERATION\" != %s ] || %s", operation, h.gate())+h.read(h.path("count.sh")))
}

func total(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

// numbered writes so many one-line files below the folder in, each an operation of its own with
// --split files and a subset size of one byte.
func (h *home) numbered(files int) string {
	h.t.Helper()
	for i := range files {
		h.write(fmt.Sprintf("in/%03d", i), fmt.Sprintf("key%d\t%d\n", i%10, i))
	}
	return h.path("in")
}
