package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// formatCase is a program, what it is run with, and a shell script that computes the
// same in the folder of its files.
type formatCase struct {
	manifest string // without its name
	files    map[string]string
	args     []string // of run; @ stands for the folder
	sorted   bool     // parts come in another order
	plain    string
}

// someLines are lines of many lengths, which no cut falls between.
func someLines(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "%s line %d\n", strings.Repeat("x", i*i%17), i)
	}
	return text.String()
}

var formatCases = map[string]formatCase{
	"so many lines each": {
		manifest: `stages: [{name: s, command: [sed, -n, "1p;$="], input: {lines: 10}}]`,
		files:    map[string]string{"in/a": someLines(25), "in/b": someLines(7), "in/c": "no end"},
		args:     []string{"--input", "@/in"},
		plain:    `for f in in/*; do split -l 10 --filter='sed -n "1p;\$="' "$f"; done`,
	},
	"records that end with a zero byte": {
		manifest: `stages: [{name: s, command: [cat], input: {delimiter: "\0"}}]`,
		files:    map[string]string{"in": "one\ntwo\x00three\x00\x00four\nfive\x00six"},
		args:     []string{"--input", "@/in", "--subset-size", "5"},
		plain:    `tr '\0' '\n' <in; echo`,
	},
	"a delimiter that is no text": {
		manifest: `stages: [{name: s, command: [cat], input: {lines: 2, delimiter: '\xff\0'}}]`,
		files:    map[string]string{"in": "a\xff\x00b\nc\xff\x00d\xff\x00e"},
		args:     []string{"--input", "@/in"},
		plain:    `tr -d '\377' <in | tr '\0' '\n'; echo`,
	},
	"a delimiter of two bytes": {
		manifest: `stages: [{name: s, command: [cat], input: {delimiter: ";;"}}]`,
		files:    map[string]string{"in": "a;b;;c;;;d\ne;;;;f;;"},
		args:     []string{"--input", "@/in", "--subset-size", "3"},
		plain:    `sed -z 's/;;/\n/g' in`,
	},
	"so many records of a delimiter each": {
		manifest: `stages: [{name: s, command: [sh, -c, 'tr "\n" , ; echo'], input: {lines: 2, delimiter: "|"}}]`,
		files:    map[string]string{"in": "a|b|c|d|e"},
		args:     []string{"--input", "@/in"},
		plain:    `tr '|' '\n' <in | paste -d, - - | sed 's/,*$/,/'`,
	},
	"offsets": {
		manifest: `stages: [{name: s, command: [cat], streaming: {offsets: true}}]`,
		files:    map[string]string{"in": someLines(30)},
		args:     []string{"--input", "@/in", "--subset-size", "64"},
		plain:    `grep -b '' in | sed 's/:/\t/'`,
	},
	"mode hadoop": {
		manifest: `stages:
  - {name: m, command: [cat], streaming: {mode: hadoop, separator: ","}}
  - {name: r, command: [cat], streaming: {mode: hadoop, separator: ",", input_separator: ",", output_separator: ","}, input: {from: m, shuffle: key, partitions: 1}}`,
		files: map[string]string{"in": "c,3\r\nb\ra,1,x\nd,"},
		args:  []string{"--input", "@/in"},
		plain: `tr '\r' '\n' <in | grep . | sort -t, -k1,1 | sed '/,/!s/$/,/'`,
	},
	"files in folders": {
		manifest: `files: [bin, "lib/*/*.txt", data.txt]
stages:
  - {name: a, command: [bin/run.sh, lib/deep/words.txt]}
  - {name: b, command: [sh, -c, 'cat; find -L . -type f | sort; cat lib/deep/words.txt'], files: [lib], input: {from: a, gather: all}}`,
		files: map[string]string{
			"bin/run.sh": "#!/bin/sh\nsed \"s/\\$/ $(cat \"$1\") $(cat data.txt)/\"\n", "lib/deep/words.txt": "deep\n", "lib/deep/not.md": "left out\n",
			"data.txt": "data\n", "in": "x\ny\n",
		},
		args:  []string{"--input", "@/in"},
		plain: `sed 's/$/ deep data/' in; find lib -name '*.txt' | sed 's,^,./,'; cat lib/deep/words.txt`,
	},
	"layers of the environment": {
		manifest: `environment: {A: of the program, B: of the program, C: of the program}
stages: [{name: s, command: [sh, -c, 'cat; echo "$A, $B, $C, $STINT_PARAM_P"'], environment: {B: of the stage, C: of the stage}}]
params: {p: {default: "no value"}}`,
		files: map[string]string{"in": "x\n"},
		args:  []string{"--input", "@/in", "--env", "C=of the request"},
		plain: `cat in; echo 'of the program, of the stage, of the request, no value'`,
	},
	"named inputs of several stages": {
		manifest: `inputs: [orders, customers]
stages:
  - {name: orders, command: [cat], input: {input: orders}}
  - {name: counts, command: [wc, -l], input: {input: orders, lines: 7}}
  - {name: total, command: [awk, '{n += $1} END {print n}'], input: {from: counts, gather: all}}
  - {name: customers, command: [tr, a-z, A-Z], input: {input: customers, split: files}}
  - name: join
    command: [awk, -v, 'FS=\t', 'FNR == 1 && NR == 1 {n = $1; next} $2 ~ /^[A-Z]/ {c[$1] = $2; next} $1 in c {print $1, c[$1], $2, n}', total, "-"]
    input: {from: customers, shuffle: key, partitions: 3}
    with:
      - {from: orders, shuffle: key, partitions: 3}
      - {from: total, broadcast: true}`,
		files: map[string]string{
			"orders/1": "1\t17\n2\t5\n3\t8\n1\t3\n", "orders/2": "2\t6\n9\t1\n4\t40\n1\t2\n3\t1\n",
			"customers/de": "1\tada\n2\tbob\n", "customers/fr": "4\tdora\n7\tgus\n",
		},
		args:   []string{"--input", "orders=@/orders", "--input", "customers=@/customers", "--subset-size", "9"},
		sorted: true,
		plain: `cat customers/* | tr a-z A-Z | sort >c; cat orders/* | sort -s -k1,1 >o
join c o | sed "s/\$/ $(cat orders/* | wc -l)/"`,
	},
}

func TestFormatsOfManifestsAreThoseOfPlainTools(t *testing.T) {
	t.Parallel()
	shared := newHome(t)
	shared.up(2)
	for name, c := range formatCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := *shared
			h.t = t
			folder := strings.ReplaceAll(name, " ", "-")
			h.write(folder+"/program.yaml", "name: "+folder+"\n"+c.manifest+"\n")
			for file, text := range c.files {
				path := h.write(folder+"/"+file, text)
				if strings.HasPrefix(text, "#!") {
					if err := os.Chmod(path, 0o755); err != nil { //nolint:gosec // a program
						t.Fatal(err)
					}
				}
			}
			args := []string{"run", "./" + folder, "--output", folder + ".out"}
			for _, a := range c.args {
				args = append(args, strings.ReplaceAll(a, "@", h.path(folder)))
			}
			h.ok(args...)
			want := h.shell(`cd "$1"; `+c.plain, folder)
			got := strings.Join(h.parts(h.path(folder+".out")), "")
			if c.sorted {
				want, got = sorted(want), sorted(got)
			}
			if d := cmp.Diff(want, got); d != "" || want == "" {
				t.Error(d)
			}
		})
	}
}

// The parts of a chain of stages that read each other's operations one by one follow
// from the input, not from how it is cut.
func TestPartsOfAChainDoNotDependOnTheCuts(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.write("chain/program.yaml", `name: chain
stages:
  - {name: upper, command: [tr, a-z, A-Z]}
  - {name: mark, command: [sed, "s/$/!/"], input: {from: upper, one_to_one: true}}
  - {name: again, command: [sed, "s/^/-/"], input: {from: mark, one_to_one: true}}
`)
	for i, n := range []int{40, 3, 0, 25} {
		h.write(fmt.Sprintf("in/%d", i), someLines(n))
	}
	h.up(2)
	var want []string
	for _, size := range []string{"", "100", "333", "1MiB"} {
		args := []string{"run", "./chain", "--input", "in", "--output", "out" + size}
		if size != "" {
			args = append(args, "--subset-size", size)
		}
		h.ok(args...)
		got := h.parts(h.path("out" + size))
		if want == nil {
			want = got
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("subsets of %s: %s", size, d)
		}
	}
	plain := h.shell(`cat in/* | tr a-z A-Z | sed 's/$/!/; s/^/-/'`)
	if d := cmp.Diff(plain, strings.Join(want, "")); d != "" {
		t.Error(d)
	}
}

// What an operation takes of its node is kept free for it.
func TestResourcesOfAManifestAreKept(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	// Of two operations at once one would find the other's folder.
	const alone = `name: alone
resources: {memory: 64MiB, slots: 2}
stages:
  - {name: both, command: [sh, -c, 'mkdir "$LOCK" && cat && sleep 0.02 && rmdir "$LOCK"'], input: {lines: 1}}
  - {name: one, command: [cat], input: {from: both, gather: all}, resources: {slots: 1}}
`
	h.write("alone/program.yaml", alone)
	for name, resources := range map[string]string{"wide": "slots: 3", "huge": "memory: 1000TiB"} {
		h.write(name+"/program.yaml", strings.Replace(alone, "slots: 1", resources, 1))
	}
	in := h.write("in", someLines(12))
	h.awaitNodes(h.begin("up", "--data", h.data, "--listen", "127.0.0.1:0", "--nodes", "1", "--slots", "2"), 1)
	h.ok("run", "./alone", "--input", in, "--output", "out", "--attempts", "1", "--env", "LOCK="+h.path("lock"))
	if got := h.parts(h.path("out")); !slices.Equal(got, []string{someLines(12)}) {
		t.Errorf("%q", got)
	}
	for name, says := range map[string]string{"wide": "stage one needs 3 slots; largest node 2", "huge": "stage one needs 1000 TiB; largest node "} {
		r := h.stint("run", "./"+name, "--input", in)
		if r.code != 2 {
			t.Errorf("%s: exit code %d", name, r.code)
		}
		contains(t, r.err, "cannot_place: ", says)
	}
}
