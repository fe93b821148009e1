package e2e

import (
	"os"
	"strings"
	"testing"

	"stint"
)

func TestUsageErrorsSayWhatIsAllowed(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	in := h.write("in.txt", "x\n")
	for name, c := range map[string]struct {
		args string
		code int
		says string
	}{
		"unknown command":        {"frobnicate", 2, "frobnicate"},
		"unknown flag":           {"list --colour", 2, "--colour"},
		"flag twice":             {"list --search a --search b", 2, "twice"},
		"missing value":          {"run wordcount --input", 2, "--input"},
		"help":                   {"run --help --nodes nonsense", 0, ""},
		"nothing to execute":     {"run --input " + in, 2, "wordcount"},
		"unknown program":        {"run nosuch --input " + in, 2, "wordcount"},
		"unknown parameter":      {"run wordcount --param a=b --input " + in, 2, "fold"},
		"two programs":           {"run wordcount --map cat --input " + in, 2, "give one"},
		"combine without reduce": {"run --map cat --combine cat --input " + in, 2, "--reduce"},
		"no such file":           {"run --map cat --file nosuch --input " + in, 2, "nosuch"},
		"unfinished quote":       {"run --map ca't --input " + in, 2, "--map"},
		"bad size":               {"run identity --subset-size 10furlongs --input " + in, 2, "64MiB"},
		"no nodes":               {"run identity --nodes 0 --input " + in, 2, "at least 1"},
		"bad compression":        {"run identity --compression lzw --input " + in, 2, "none"},
		"no copies":              {"run identity --replication -1 --input " + in, 2, "--replication"},
		"bad way to save":        {"run identity --save sometimes --input " + in, 2, "on-suspend"},
		"bad time to keep":       {"run identity --keep soon --input " + in, 2, "--keep"},
		"reuse of nothing":       {"run identity --reuse 17 --input " + in, 2, "x-"},
		"bad id":                 {"show 17", 2, "x-"},
		"no service":             {"list", 5, "stint up"},
		"other host":             {"up --listen 192.0.2.1:7843", 2, "192.0.2.1"},
		"no agents":              {"up --nodes 0", 2, "1 to 1000"},
		"no such parent":         {"up --data /no/such/folder", 2, "/no/such/folder"},
		"data is a file":         {"up --data " + in, 2, "not a directory"},
		"size without a number":  {"run identity --subset-size MiB --input " + in, 2, "64MiB"},
		"size below 1":           {"run identity --subset-size 0MiB --input " + in, 2, "at least 1"},
		"size below 0":           {"run identity --subset-size -5 --input " + in, 2, "at least 1"},
		"size beyond counting":   {"run identity --subset-size 99999999999GiB --input " + in, 2, "64MiB"},
		"no partitions":          {"run wordcount --partitions 0 --input " + in, 2, "at least 1"},
		"partitions below 0":     {"run wordcount --partitions -1 --input " + in, 2, "at least 1"},
		"partitions in letters":  {"run wordcount --partitions x --input " + in, 2, "whole number"},
		"too many attempts":      {"run identity --attempts 99999999999999999999 --input " + in, 2, "whole number"},
		"split unknown":          {"run identity --split words --input " + in, 2, "lines or files"},
		"environment name":       {"run --map cat --env =x=y --input " + in, 2, "name=value"},
		"environment twice":      {"run --map cat --env a=b --cmdenv a=c --input " + in, 2, "twice"},
		"file is a folder":       {"run --map cat --file . --input " + in, 2, "regular file"},
		"files of one name":      {"run --map cat --file in.txt --file ./in.txt --input " + in, 2, "same name"},
		"empty output":           {"run identity --output= --input " + in, 2, "--output"},
		"empty map":              {"run --map= --input " + in, 2, "--map"},
		"empty input":            {"run identity --input=", 2, "--input"},
		"bad status":             {"list --status sleepy", 2, "in progress"},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.stint(strings.Fields(c.args)...)
			if r.code != c.code {
				t.Errorf("exit code %d, want %d: %s", r.code, c.code, r.err)
			}
			contains(t, r.err, c.says)
		})
	}
}

func TestEnvironmentIsCheckedLikeFlags(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	for _, setting := range []string{"STINT_DTAA=x", "STINT_SERVER="} {
		c := h.command("list")
		c.Env = append(c.Env, setting)
		out, _ := c.CombinedOutput()
		if c.ProcessState.ExitCode() != 2 {
			t.Errorf("%s: exit code %d", setting, c.ProcessState.ExitCode())
		}
		contains(t, string(out), strings.SplitN(setting, "=", 2)[0])
	}
}

func TestRequestsThatCannotWorkAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	in := h.write("in.txt", "x\n")
	h.write("file", "")
	h.write("taken/letter.txt", "not an output")
	for name, c := range map[string]struct {
		args string
		says string
	}{
		"no such input":       {"run identity --output out --input nosuch", "nosuch"},
		"glob without match":  {"run identity --output out --input *.nosuch", "*.nosuch"},
		"unknown scheme":      {"run identity --output out --input gopher://x/y", "file://"},
		"no input":            {"run identity --output out", "input"},
		"output below a file": {"run identity --output file/out --input " + in, "file"},
		"too many partitions": {"run wordcount --output out --partitions 100000 --input " + in, "1 to 10000"},
		"too many attempts":   {"run identity --output out --attempts 101 --input " + in, "at most 100"},
		"a number too many":   {"run identity --output out --input range:1..1000000001", "1000000000"},
		"range backwards":     {"run identity --output out --input range:2..1", "ends before"},
		"range and file":      {"run identity --output out --input range:1..2 --input " + in, "only input"},
		"output is a file":    {"run identity --output file --input " + in, "is a file: expected a folder"},
		"output not empty":    {"run identity --output taken --input " + in, "not empty"},
		"bad pattern":         {"run grep --output out --param pattern=( --input " + in, "missing closing )"},
		"control character":   {"run identity --output out --name a\x1b[2J --input " + in, "U+001B"},
		"unknown execution":   {"show x-aaaaaaaaaaaaaaaa", "x-aaaaaaaaaaaaaaaa"},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.stint(strings.Fields(c.args)...)
			if r.code != 2 {
				t.Errorf("exit code %d: %s", r.code, r.err)
			}
			contains(t, r.err, c.says)
		})
	}
	if got := strings.TrimSpace(h.ok("list", "--json")); got != "[]" {
		t.Errorf("a refusal left %s", got)
	}
	if _, err := os.Stat(h.path("out")); !os.IsNotExist(err) {
		t.Errorf("a refusal left an output folder: %v", err)
	}
}

func TestWrongTokenIsNotAllowed(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	for _, args := range [][]string{{"list"}, {"run", "identity", "--input", h.write("in.txt", "")}} {
		r := h.stint(append(args, "--server", h.address(), "--token", "stint_user_nonsense")...)
		if r.code != 5 {
			t.Errorf("%v: exit code %d: %s", args, r.code, r.err)
		}
	}
}

// address is where the service says it is.
func (h *home) address() string {
	var c struct {
		Address string `json:"address"`
	}
	decode(h.t, h.read(h.data+"/credentials"), &c)
	return c.Address
}

func TestUnusualInputsGiveValidResults(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(2)
	if err := os.Mkdir(h.path("empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ in, want string }{
		"empty folder":     {h.path("empty"), ""},
		"empty file":       {h.write("zero", ""), ""},
		"no final newline": {h.write("open", "a b"), "a\t1\nb\t1\n"},
		"binary":           {h.write("binary", "\x00\xff a\x00b\n\x80"), "\x00\xff\t1\n\x80\t1\na\x00b\t1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out := h.path("out " + name)
			h.ok("run", "wordcount", "--input", c.in, "--output", out)
			if got := sorted(h.parts(out)...); got != sorted(c.want) {
				t.Errorf("output %q, want %q", got, sorted(c.want))
			}
		})
	}
}

func TestUnusualProgramsAreHandled(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(2)
	in := h.write("in.txt", "x\n")
	much := h.write("much.txt", strings.Repeat("0123456789abcde\n", 1<<16))
	h.write("nointerpreter", "#!/no/such/interpreter\n")
	h.write("long.sh", "head -c 10000000 /dev/zero | tr '\\0' a\necho\n")
	h.write("daemon.sh", "echo started\nsleep 600.5 &\n")
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"does not exist":      {[]string{"--map", "no-such-program"}, 1, "no-such-program"},
		"missing interpreter": {[]string{"--map", "./nointerpreter", "--file", "nointerpreter"}, 1, "/no/such/interpreter"},
		"not executable":      {[]string{"--map", "./long.sh", "--file", "long.sh"}, 1, ""},
		"never reads":         {[]string{"--map", "true"}, 0, ""},
		"prints a long line":  {[]string{"--map", "sh long.sh", "--file", "long.sh"}, 0, ""},
		"leaves a daemon":     {[]string{"--map", "sh daemon.sh", "--file", "daemon.sh"}, 0, ""},
		"never reads much":    {[]string{"--map", "true", "--input", much}, 0, ""},
		"endless line":        {[]string{"--map", "cat /dev/zero", "--reduce", "cat"}, 1, "limit 64 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.stint(append([]string{"run", "--input", in, "--attempts", "1", "--output", h.path("out " + name)}, c.args...)...)
			if c.says == "" && name == "not executable" { // a script without #! is refused by the kernel
				if r.code == 0 {
					t.Error("it ran")
				}
				return
			}
			if r.code != c.code {
				t.Errorf("exit code %d: %s", r.code, r.err)
			}
			contains(t, r.err, c.says)
		})
	}
	if left := sleepers("600.5"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestInputThatChangesIsNoticed(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	first, second := h.write("in/1", "one\n"), h.write("in/2", "two\n")
	mapper := h.write("wait.sh", "case $mapreduce_map_input_file in */1) while [ ! -e '"+h.path("changed")+"' ]; do sleep 0.05; done;; esac\nexec cat\n")
	_ = first
	run := h.begin("run", "--map", "sh wait.sh", "--file", mapper, "--split", "files", "--subset-size", "1", "--input", h.path("in"), "--output", "out", "--json")
	h.wait("the first operation", func() bool {
		var x []stint.Execution
		decode(t, h.ok("list", "--json"), &x)
		return len(x) == 1 && x[0].Operations.InProgress > 0
	})
	h.write("in/2", "something else\n")
	h.write("changed", "")
	r := h.finish(run)
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, "changed", second)
}

func TestRecordOverTheLimitNamesFileAndOffset(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.up(1)
	in := h.write("in.txt", "first\n"+strings.Repeat("a", 65<<20)+"\n")
	r := h.stint("run", "--map", "cat", "--input", in, "--output", "out")
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	contains(t, r.err, in, " 6")
}
