package chaos

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"stint"
	"stint/internal/object/s3test"
)

var settingsFlag = flag.Int("settings", 12, "circumstances under which each program of the comparison is executed")

// setting is the circumstances of one execution. None of them may be seen in the
// output.
type setting struct {
	nodes, slots int
	subset       int
	replication  int
	save         stint.SaveMode
	bucket       bool // system storage is one, instead of a folder
	zipped       bool // the input
	stops        int  // suspends, each with a resume on another number of nodes
	kills        int  // of any process of the service
}

func (c setting) String() string {
	return fmt.Sprintf("nodes=%d slots=%d subset-size=%d replication=%d save=%s bucket=%t zipped=%t stops=%d kills=%d", c.nodes, c.slots, c.subset, c.replication, c.save, c.bucket, c.zipped, c.stops, c.kills)
}

func drawSetting(r *rand.Rand) setting {
	return setting{
		nodes: 1 + r.IntN(3), slots: 1 + r.IntN(2), subset: []int{700, 2500, 9000, 1 << 20}[r.IntN(4)], replication: 1 + r.IntN(2),
		save: []stint.SaveMode{stint.SaveOnSuspend, stint.SaveContinuous}[r.IntN(2)], bucket: r.IntN(3) == 0, zipped: r.IntN(3) == 0,
		stops: r.IntN(3), kills: r.IntN(3),
	}
}

// alike is a program whose output is compared with itself.
type alike struct {
	name string
	args []string // of run
	any  bool     // the lines may come in any order, and in any parts
}

// alikePrograms returns the programs, which sleep for a moment in every operation so
// that there is time for what is done to them.
func alikePrograms(s *site) []alike {
	s.t.Helper()
	slow := s.write("slow.sh", "sleep 0.05\nexec tr a-m A-M\n")
	slower := s.write("slower.sh", "sleep 0.1\nexec cat\n")
	s.write("graph/sums.awk", "$1 != k { if (k != \"\") print k \"\\t\" s; k = $1; s = 0 }\n{ s += $2 }\nEND { if (k != \"\") print k \"\\t\" s }\n")
	s.write("graph/program.yaml", `name: graph
stages:
  - name: pairs
    command: [awk, '{ for (i = 1; i <= NF; i++) print $i "\t" 1 }']
  - name: sums
    command: [sh, -c, 'sleep 0.05; exec awk -F"\t" -f sums.awk']
    input: {from: pairs, shuffle: key, partitions: 3}
  - name: marked
    command: [sed, 's/$/!/']
    input: {from: sums, one_to_one: true}
  - name: all
    command: [cat]
    input: {from: marked, gather: all}
`)
	return []alike{
		{name: "wordcount", args: []string{"wordcount", "--partitions", "3"}, any: true},
		{name: "sort", args: []string{"sort"}, any: false},
		{name: "streaming", args: []string{"--map", "sh slow.sh", "--file", slow, "--reduce", "sh slower.sh", "--file", slower, "--partitions", "2"}, any: true},
		{name: "graph", args: []string{s.path("graph")}, any: true},
	}
}

// alikeText is the input: words that come again and again in an order of no rule.
func alikeText() string {
	words := []string{"ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan", "yew"}
	r := rand.New(rand.NewPCG(1, 2)) // the text is always the same
	var b strings.Builder
	for range 1500 {
		b.WriteString(words[r.IntN(len(words))] + " " + words[r.IntN(len(words))] + " " + strconv.Itoa(r.IntN(50)) + "\n")
	}
	return b.String()
}

// TestOutputIsTheSameUnderAllCircumstances executes the same programs over the same
// input under circumstances drawn at random: for each program there is one digest.
func TestOutputIsTheSameUnderAllCircumstances(t *testing.T) {
	t.Parallel()
	r := random(t)
	reference := newSite(t)
	up := reference.up(1)
	want := make(map[string]string)
	text := reference.write("in.txt", alikeText())
	for _, p := range alikePrograms(reference) {
		reference.ok(slices.Concat([]string{"run"}, p.args, []string{"--input", text, "--output", "out/" + p.name})...)
		if want[p.name] = reference.digest(p); len(reference.parts(reference.path("out/"+p.name))) == 0 {
			t.Fatalf("%s has no output", p.name)
		}
	}
	reference.stop(up)
	for n := range *settingsFlag {
		c, r := drawSetting(r), rand.New(rand.NewPCG(r.Uint64(), 0))
		t.Run(fmt.Sprintf("%d %s", n, c), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			got := s.circumstances(c, r)
			for _, p := range alikePrograms(s) {
				if got[p.name] != want[p.name] {
					t.Errorf("%s under %s: digest %s, want %s", p.name, c, got[p.name], want[p.name])
				}
			}
		})
	}
}

// digest returns the digest of an output.
func (s *site) digest(p alike) string {
	s.t.Helper()
	text := strings.Join(s.parts(s.path("out/"+p.name)), "")
	if p.any {
		text = sorted(text)
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// circumstances executes every program under one setting and returns the digests.
func (s *site) circumstances(c setting, r *rand.Rand) map[string]string {
	s.t.Helper()
	storage := s.path("storage")
	if c.bucket {
		gateway := s3test.Start(s.t)
		gateway.Bucket(s.t, "data")
		s.env = append(s.env, gateway.Environ()...)
		storage = "s3://data/system"
	}
	text := s.write("in.txt", alikeText())
	if c.zipped {
		text = s.zip(text)
	}
	args := []string{"up", "--data", s.data, "--listen", s3test.FreeAddress(s.t), "--nodes", strconv.Itoa(c.nodes), "--slots", strconv.Itoa(c.slots), "--storage", storage}
	up := s.begin(args...)
	s.t.Cleanup(func() { s.stop(up) })
	s.wait("ready nodes", func() bool { return s.readyNodes() == c.nodes })
	got := make(map[string]string)
	for _, p := range alikePrograms(s) {
		id := strings.TrimSpace(s.ok(slices.Concat([]string{"run"}, p.args, []string{
			"--input", text, "--output", "out/" + p.name, "--subset-size", strconv.Itoa(c.subset),
			"--replication", strconv.Itoa(c.replication), "--save", string(c.save), "--attempts", "20", "--backoff", "10ms", "--detach",
		})...))
		for n := range c.stops + c.kills {
			if n < c.stops {
				s.stopAndResume(id, 1+r.IntN(c.nodes))
				continue
			}
			up = s.killOne(up, args, r)
		}
		s.await(id)
		got[p.name] = s.digest(p)
	}
	s.stop(up)
	s.checkSound()
	return got
}

// zip writes a compressed copy of a file.
func (s *site) zip(path string) string {
	s.t.Helper()
	f, err := os.Create(path + ".gz")
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // closed below if all is well
	z := gzip.NewWriter(f)
	_, err = z.Write([]byte(s.read(path)))
	if err = errors.Join(err, z.Close()); err != nil {
		s.t.Fatal(err)
	}
	return f.Name()
}

// stopAndResume suspends an execution, if there is time for that, and resumes it on
// so many nodes.
func (s *site) stopAndResume(id string, nodes int) {
	s.t.Helper()
	if r := s.run("suspend", id, "--grace", "0s"); r.code != 0 {
		if x := s.execution("show", id); !x.Status.Final() && x.Operations.Completed < x.Operations.Total { // then it commits
			s.t.Fatalf("suspend: exit code %d, and %s is %s\n%s", r.code, id, x.Status, r.err)
		}
		return
	}
	if s.execution("show", id).Status == stint.Suspended {
		s.ok("resume", id, "--nodes", strconv.Itoa(nodes), "--detach")
	}
}

// killOne kills any process of the service and returns the one that is "up" then.
func (s *site) killOne(up *running, args []string, r *rand.Rand) *running {
	s.t.Helper()
	all := slices.DeleteFunc(s.processes(), func(p process) bool { return p.kind == command })
	p := all[r.IntN(len(all))]
	if p.signal(unix.SIGKILL) && p.kind == supervisor {
		_ = up.cmd.Wait()
		up = s.begin(args...)
	}
	s.wait("an answer after the end of "+p.args, func() bool { return s.run("list").code == 0 })
	return up
}

// await waits until an execution is completed. If it never is, the log says what the
// service says of it.
func (s *site) await(id string) {
	s.t.Helper()
	completed := false
	defer func() {
		if !completed {
			s.t.Logf("%s%s", s.run("show", id).out, s.run("explain", id).out)
		}
	}()
	s.wait("the end of "+id, func() bool {
		x := s.execution("show", id)
		if x.Status.Final() && x.Status != stint.Completed {
			s.t.Fatalf("%s is %s: %s", id, x.Status, x.Reason())
		}
		completed = x.Status == stint.Completed
		return completed
	})
}
