package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/minio/minio-go/v7"
	_ "modernc.org/sqlite"

	"stint"
	"stint/test/harness"
)

// fsck runs fsck and returns what it prints and its exit code.
func (h *home) fsck(args ...string) (harness.Report, int) {
	h.t.Helper()
	r := h.stint(append([]string{"fsck", "--json"}, args...)...)
	var report harness.Report
	if err := json.Unmarshal([]byte(r.out), &report); err != nil && r.code != 2 {
		h.t.Fatalf("fsck: exit code %d, %v\n%s%s", r.code, err, r.out, r.err)
	}
	return report, r.code
}

// tree is all that lies below a folder: modes, times and bytes, by path.
func (h *home) tree(dir string) map[string]string {
	h.t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprintln(info.Mode(), info.ModTime())
		if info.Mode().IsRegular() {
			text += h.read(path)
		}
		out[strings.TrimPrefix(path, dir)] = text
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// written is a service that has written all that a service writes, and was killed: its
// record is not closed.
type written struct {
	*home
	completed, own, suspended, staged, going stint.ExecutionID
}

// holdingScript passes lines on, and waits for ever at one that says so, once it has
// saved itself and said that it waits.
const holdingScript = `
while IFS= read -r line; do
	case "$line" in
	hold*) echo saved > "$STINT_CHECKPOINT_DIR/state"; touch "$HOLD_AT"; while :; do sleep 0.05; done ;;
	esac
	echo "$line"
done
echo "told of $STINT_OPERATION" >&2
`

// hold begins an execution one of whose operations waits for ever, and returns when
// all others have completed that can.
func (h *home) hold(at string, completed int64, args ...string) stint.ExecutionID {
	h.t.Helper()
	id := h.execution(append([]string{"run", "--file", h.write("hold.sh", holdingScript), "--subset-size", "110", "--env", "HOLD_AT=" + h.path(at), "--detach"}, args...)...).ID
	h.wait(at, func() bool {
		_, err := os.Stat(h.path(at))
		return err == nil && h.execution("show", string(id)).Operations.Completed >= completed
	})
	return id
}

// everything performs executions to various ends and kills the service: one completed,
// one completed into the service's storage, one suspended with packs and a checkpoint,
// one suspended with staged parts, and one in progress with output on nodes.
func everything(t *testing.T) *written {
	t.Helper()
	w := &written{home: newHome(t)}
	var lines strings.Builder
	for i := range 60 {
		fmt.Fprintf(&lines, "line%06d\n", i)
	}
	plain, held := w.write("in.txt", lines.String()), w.write("held.txt", lines.String()+"hold000000\n")
	up := w.up(2)
	w.ok("program", "upload", w.counting("program"))
	c := w.command("credentials", "set", "lab", "--endpoint", "http://127.0.0.1:9", "--region", "here", "--access-key", "known")
	c.Stdin = strings.NewReader("secret\n")
	if r := w.finish(w.start(c)); r.code != 0 {
		t.Fatalf("set credentials: %s", r.err)
	}
	tells := w.write("tell.sh", "cat; echo told of $STINT_OPERATION >&2\n")
	w.completed = w.execution("run", "--map", "sh tell.sh", "--file", tells, "--reduce", "uniq -c", "--partitions", "2", "--subset-size", "110", "--input", plain, "--output", w.path("out")).ID
	w.own = w.execution("run", "--map", "cat", "--subset-size", "660", "--input", plain).ID
	w.suspended = w.hold("a", 6, "--map", "sh hold.sh", "--reduce", "uniq -c", "--input", held)
	w.ok("suspend", string(w.suspended), "--grace", "0s")
	w.staged = w.hold("b", 8, "--map", "cat", "--reduce", "sh hold.sh", "--partitions", "4", "--input", held, "--output", w.path("staged"))
	w.ok("suspend", string(w.staged), "--grace", "0s")
	w.going = w.hold("c", 6, "--map", "sh hold.sh", "--reduce", "uniq -c", "--input", held, "--output", w.path("going"))
	w.killAll(up)
	return w
}

func TestFsckFindsNothingInWhatAKilledServiceLeftAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := everything(t)
	if _, err := os.Stat(filepath.Join(w.data, "server", "store.db-wal")); err != nil {
		t.Fatalf("the record was closed: %v", err)
	}
	before := w.tree(w.dir)
	report, code := w.fsck()
	if code != 0 || len(report.Codes()) > 0 || len(report.Unlooked) > 0 || report.Running {
		t.Errorf("exit code %d: %+v", code, report)
	}
	l := report.Looked
	if l.Executions != 5 || l.Nodes != 2 || l.Blocks < 8 || l.Packs < 1 || l.Parts < 4 || l.Bytes < 4000 {
		t.Errorf("looked at %+v", l)
	}
	if people := w.ok("fsck"); !strings.Contains(people, "looked at 5 executions") {
		t.Errorf("people are told %q", people)
	}
	if _, code := w.fsck(string(w.going), string(w.suspended)); code != 0 {
		t.Errorf("of two executions: exit code %d", code)
	}
	if _, code := w.fsck("--data", filepath.Join(w.data, "agents", "1")); code != 0 {
		t.Errorf("of an agent's folder alone: exit code %d", code)
	}
	if _, code := w.fsck("--agent", w.dir); code != 2 {
		t.Errorf("of a folder that no agent has used: exit code %d", code)
	}
	if diff := cmp.Diff(before, w.tree(w.dir)); diff != "" {
		t.Errorf("fsck changed something (-before +after):\n%s", diff)
	}
}

func TestFsckWhileTheServiceRuns(t *testing.T) {
	t.Parallel()
	l := newLong(t, 1500)
	l.holdBack("map/1499")
	up := l.upWith(3)
	id := strings.TrimSpace(l.ok(append(l.args, "--reduce", "cat", "--replication", "2", "--save", "continuous", "--detach")...))
	for i := 1; i <= 4; i++ {
		l.until(i * l.operations / 6)
		report, code := l.fsck()
		if code != 0 || !report.Running {
			t.Errorf("exit code %d: %+v", code, report)
		}
	}
	l.killAll(up)
	if report, code := l.fsck(); code != 0 {
		t.Errorf("killed: exit code %d: %+v", code, report)
	}
	up = l.upWith(3)
	l.ok("suspend", id)
	if report, code := l.fsck(); code != 0 || report.Looked.Packs == 0 {
		t.Errorf("suspended: exit code %d: %+v", code, report)
	}
	kept := l.write("data/storage/logs/"+id+"/kept", "no log")
	if report, code := l.fsck(); code != 1 || !slices.Equal(report.Codes(), []string{"kept_log_damaged"}) {
		t.Errorf("a log is altered: exit code %d: %+v", code, report)
	}
	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	l.open()
	l.ok("resume", id)
	_ = up.cmd.Process.Signal(syscall.SIGTERM)
	_ = up.cmd.Wait()
	if report, code := l.fsck(); code != 0 || report.Running {
		t.Errorf("ended: exit code %d: %+v", code, report)
	}
}

func TestFsckOverABucket(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	g := newGateway(t, h)
	at := "s3://" + bucketName
	g.put("in", strings.Repeat("a line\n", 99)+"hold\nlast\n")
	up := h.upWith(2, "--storage", at+"/storage")
	h.ok("run", "--map", "cat", "--input", at+"/in", "--output", at+"/out")
	staged := h.hold("b", 8, "--map", "sort -r", "--reduce", "sh hold.sh", "--partitions", "4", "--input", at+"/in", "--output", at+"/staged")
	h.ok("suspend", string(staged), "--grace", "0s")
	saved := h.hold("a", 6, "--map", "sh hold.sh", "--reduce", "cat", "--input", at+"/in")
	h.ok("suspend", string(saved), "--grace", "0s")
	h.killAll(up)
	report, code := h.fsck()
	if l := report.Looked; code != 0 || l.Parts < 2 || l.Packs < 1 || len(report.Unlooked) > 0 {
		t.Errorf("exit code %d: %+v", code, report)
	}
	h.damaged = true
	for _, d := range []struct{ key, code string }{
		{"storage/saved/" + string(saved) + "/pack-", "pack_damaged"},
		{"out/part-00000", "part_damaged"},
		{"out/_SUCCESS", ""},
		{"storage/saved/" + string(saved) + "/record-000001", "saved_record_damaged"},
	} {
		key := g.keys(d.key)[0]
		was := g.get(key)
		g.put(key, was[:len(was)/2]+"!"+was[min(len(was), len(was)/2+1):])
		report, code := h.fsck()
		if diff := cmp.Diff(d.code, strings.Join(report.Codes(), " ")); diff != "" || (code == 1) != (d.code != "") {
			t.Errorf("%s is another: exit code %d, codes (-want +got):\n%s%+v", key, code, diff, report.Findings)
		}
		g.put(key, was)
	}
	for _, key := range g.keys("staged/_stint/" + string(staged) + "/part") {
		if err := g.client.RemoveObject(t.Context(), bucketName, key, minio.RemoveObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if report, code := h.fsck(); code != 1 || !slices.Equal(report.Codes(), []string{"staged_missing"}) {
		t.Errorf("staged parts are gone: exit code %d: %+v", code, report.Findings)
	}
}

// anyOrder compares lists of codes as sets with repetitions.
var anyOrder = cmpopts.SortSlices(strings.Compare)

// damage is one thing that is done to what a service has written.
type damage struct {
	name string
	do   func(w *written)
	code string // of the finding, or of several; empty: none
	exit int
}

// unknown is an execution that the record does not know.
const unknown = "x-zzzzzzzzzzzzzzzz"

// remains are what is found and costs nothing but room.
func remains() []damage {
	return []damage{
		{"a submission that came to nothing", func(w *written) {
			w.sql("INSERT INTO drafts VALUES (?, ?)", unknown, w.path("out"))
			w.write("out/_stint/"+unknown+"/_open", "")
		}, "draft_left", 0},
		{"a submission that left nothing", func(w *written) { w.sql("INSERT INTO drafts VALUES (?, ?)", unknown, w.path("out")) }, "draft_left", 0},
		{"a submission that came to nothing, into the service's storage", func(w *written) {
			at := "data/storage/output/" + unknown
			w.sql("INSERT INTO drafts VALUES (?, ?)", unknown, w.path(at))
			w.write(at+"/_stint/"+unknown+"/_open", "")
		}, "draft_left", 0},
		{"something staged that no draft names", func(w *written) { w.write("out/_stint/"+unknown+"/_open", "") }, "staging_stray", 0},
		{"parts of a completed execution are staged", func(w *written) { w.write("out/_stint/"+string(w.completed)+"/part-00000.1", "x") }, "staging_left", 0},
		{"blocks of an unknown execution", func(w *written) { w.shell(`mkdir data/agents/1/blocks/` + unknown) }, "blocks_left", 0},
		{"a working folder of an unknown execution", func(w *written) { w.shell(`mkdir -p data/agents/1/work/` + unknown) }, "work_left", 0},
		{"saved state of an execution that is over", func(w *written) {
			w.shell(`cd data/storage/saved && mkdir ` + string(w.own) + ` && cp ` + string(w.suspended) + `/owner-000001 ` + string(w.own))
		}, "saved_left", 0},
		{"a pack that came when its execution was over", func(w *written) {
			w.write("data/storage/saved/"+string(w.own)+"/pack-7-7-7-abc-0", "x")
		}, "saved_left", 0},
		{"a pack that nobody knows", func(w *written) {
			w.rewrite(filepath.Join(w.one("data/storage/saved/ID", w.suspended), "pack-7-7-7-abc-0"), []byte("x"))
		}, "packs_left", 0},
		{"logs of an unknown execution", func(w *written) { w.shell(`cd data/storage/logs && cp -r ` + string(w.completed) + ` ` + unknown) }, "logs_left", 0},
		{"a listing that nothing refers to", func(w *written) { w.write("data/storage/listings/"+strings.Repeat("0", 64), "x") }, "blobs_left", 0},
		{"a temporary file", func(w *written) { w.write("data/storage/tmp/put-1", "x") }, "temp_left", 0},
		{"output in storage of an unknown execution", func(w *written) { w.write("data/storage/output/"+unknown+"/part-00000", "x") }, "output_left", 0},
	}
}

func TestEachDamageHasItsFinding(t *testing.T) {
	t.Parallel()
	w := everything(t)
	w.damaged = true
	w.shell(`mkdir pristine && cp -a data out staged going pristine/ 2>/dev/null`)
	for _, d := range damages() {
		w.shell(`rm -rf data out staged going && cp -a pristine/. .`)
		d.do(w)
		report, code := w.fsck()
		want := strings.Fields(d.code)
		if diff := cmp.Diff(want, report.Codes(), cmpopts.EquateEmpty()); diff != "" || code != d.exit {
			t.Errorf("%s: exit code %d, want %d; codes (-want +got):\n%s%+v", d.name, code, d.exit, diff, report)
		}
		if strings.HasPrefix(d.code, "record_") || d.code == "execution_unreadable" || d.code == "program_unreadable" {
			checkNothingToRemove(t, d.name, report)
		}
	}
	w.shell(`rm -rf data out staged going && cp -a pristine/. .`)
	report, _ := w.fsck()
	before := report.Leftovers()
	for _, d := range remains() {
		w.shell(`rm -rf data out staged going && cp -a pristine/. .`)
		d.do(w)
		report, code := w.fsck()
		if diff := cmp.Diff(append(slices.Clone(before), d.code), report.Leftovers(), anyOrder); diff != "" || code != d.exit {
			t.Errorf("%s: exit code %d; codes (-want +got):\n%s%+v", d.name, code, diff, report)
		}
	}
	w.shell(`rm -rf data out && cp -a pristine/data pristine/out .`)
	w.flip(w.withBlocks(".seg"), 3)
	agent := filepath.Dir(filepath.Dir(filepath.Dir(w.withBlocks(".seg"))))
	if report, code := w.fsck("--data", agent); code != 3 || !slices.Equal(report.Codes(), []string{"block_damaged"}) {
		t.Errorf("a byte of a block, of an agent's folder alone: exit code %d: %+v", code, report)
	}
	w.shell(`rm -rf data && cp -a pristine/data . && for file in data/agents/*/files/*-*; do chmod 600 $file; echo x >> $file; done && mv data 'da[t]a'`)
	if report, code := w.fsck("--data", w.path("da[t]a")); code != 3 || !slices.Equal(report.Codes(), []string{"node_file_damaged"}) {
		t.Errorf("program files in a folder whose name is a pattern: exit code %d: %+v", code, report)
	}
}

// checkNothingToRemove checks that nobody is told to remove what a record that cannot
// be read may speak of.
func checkNothingToRemove(t *testing.T, name string, report harness.Report) {
	t.Helper()
	for _, f := range report.Findings {
		if slices.Contains([]string{"blocks_left", "work_left", "logs_left", "blobs_left", "output_left", "staging_stray", "draft_left"}, f.Code) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// one returns the one file that a pattern below the test's folder names, or the first.
func (w *written) one(pattern string, ids ...stint.ExecutionID) string {
	w.t.Helper()
	for _, id := range ids {
		pattern = strings.Replace(pattern, "ID", string(id), 1)
	}
	found, err := filepath.Glob(filepath.Join(w.dir, pattern))
	if err != nil || len(found) == 0 {
		w.t.Fatalf("no file is called %s: %v", pattern, err)
	}
	return found[0]
}

// flip changes one byte of a file, counted from its end if at is negative.
func (w *written) flip(path string, at int) {
	w.t.Helper()
	b := []byte(w.read(path))
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 0x41
	w.rewrite(path, b)
}

// rewrite replaces what a file has, and leaves its mode.
func (w *written) rewrite(path string, b []byte) {
	w.t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *written) remove(paths ...string) {
	w.t.Helper()
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			w.t.Fatal(err)
		}
	}
}

// sql changes the record, which is closed then.
func (w *written) sql(statement string, args ...any) {
	w.t.Helper()
	path := w.one("data/server/store.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		w.t.Fatal(err)
	}
	result, err := db.Exec(statement, args...)
	if err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		w.t.Fatalf("%s changed %d rows: %v", statement, n, err)
	}
	if err := db.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.remove(path+".open", path+"-wal", path+"-shm")
}

// checkpoint closes the record, so that all of it is in one file.
func (w *written) checkpoint() { w.sql("UPDATE facts SET value = value") }

// withBlocks is a node's folder of the execution in progress that has output in it.
func (w *written) withBlocks(suffix string) string {
	w.t.Helper()
	found, _ := filepath.Glob(filepath.Join(w.dir, "data", "agents", "*", "blocks", string(w.going), "*.seg"))
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return strings.TrimSuffix(path, ".seg") + suffix
		}
	}
	w.t.Fatalf("no output of %s is on a node", w.going)
	return ""
}

func damages() []damage {
	return slices.Concat(damagesOfTheRecord(), damagesOfNodes(), damagesOfStorage(), damagesOfOutputs(), damagesOfKeys())
}

func damagesOfTheRecord() []damage {
	return []damage{
		{"nothing", func(*written) {}, "", 0},
		{"the log of the record is gone", func(w *written) { w.remove(w.one("data/server/store.db-wal"), w.one("data/server/store.db-shm")) }, "record_torn", 1},
		{"the record is another's copy", func(w *written) { w.rewrite(w.one("data/server/store.db.open"), []byte("77\n")) }, "record_torn", 1},
		{"the record is gone", func(w *written) { w.remove(w.one("data/server/store.db"), w.one("data/server/store.db-wal")) }, "record_missing", 1},
		{"a page of the record is altered", func(w *written) {
			w.checkpoint()
			const page = 4096
			b := []byte(w.read(w.one("data/server/store.db")))
			copy(b[page:], bytes.Repeat([]byte{0x5a}, 64))
			w.rewrite(w.one("data/server/store.db"), b)
		}, "record_damaged", 1},
		{"an index of the record is altered", func(w *written) {
			w.checkpoint()
			const page = 4096
			b := []byte(w.read(w.one("data/server/store.db")))
			id := []byte(w.completed)
			at := len(b) - page
			for ; at > 0 && (b[at] != 10 || !bytes.Contains(b[at:at+page], id)); at -= page { // 10: a leaf of an index
			}
			b[at+bytes.Index(b[at:], id)+len(id)-1] = '-'
			w.rewrite(w.one("data/server/store.db"), b)
		}, "record_damaged", 1},
		{"the record is no record", func(w *written) {
			w.checkpoint()
			w.flip(w.one("data/server/store.db"), 3)
		}, "record_damaged", 1},
		{"the record is of a newer version", func(w *written) {
			w.sql("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
		}, "", 2},
		{"an entry of the journal is gone", func(w *written) {
			w.sql("DELETE FROM journal WHERE execution = ? AND version = (SELECT max(version) FROM journal WHERE execution = ?)", string(w.going), string(w.going))
		}, "execution_unreadable", 1},
		{"an entry of the journal is altered", func(w *written) {
			w.sql("UPDATE journal SET records = substr(records, 1, length(records) / 2) || X'C1' || substr(records, length(records) / 2 + 2) WHERE execution = ?", string(w.going))
		}, "execution_unreadable", 1},
		{"a chunk of a snapshot is altered", func(w *written) {
			w.sql("UPDATE chunks SET data = X'00' || substr(data, 2) WHERE execution = ? AND stage = 0", string(w.completed))
		}, "execution_unreadable", 1},
		{"a time in a chunk of a snapshot is altered", func(w *written) {
			w.sql("UPDATE chunks SET data = substr(data, 1, 10) || X'77' || substr(data, 12) WHERE execution = ? AND stage = 0", string(w.completed))
		}, "execution_unreadable", 1},
		{"an execution is listed with another status", func(w *written) {
			w.sql("UPDATE executions SET status = 'failed' WHERE id = ?", string(w.completed))
		}, "execution_inconsistent", 1},
		{"an execution is listed no more", func(w *written) { w.sql("DELETE FROM executions WHERE id = ?", string(w.completed)) }, "record_stray", 1},
		{"an execution is a draft as well", func(w *written) {
			w.sql("INSERT INTO drafts SELECT id, ? FROM executions WHERE id = ?", w.path("staged"), string(w.staged))
		}, "draft_stray", 1},
		{"an execution is of a later epoch", func(w *written) { w.sql("UPDATE executions SET epoch = epoch + 7 WHERE id = ?", string(w.going)) }, "execution_inconsistent", 1},
		{"the program of a version is altered", func(w *written) { w.sql("UPDATE programs SET version = 'f' || substr(version, 2)") }, "program_unreadable", 1},
		{"credentials are altered", func(w *written) { w.sql("UPDATE credentials SET sealed = substr(sealed, 1, 40) || X'00'") }, "credentials_unreadable", 1},
	}
}

func damagesOfNodes() []damage {
	return []damage{
		{"a byte of a block is flipped", func(w *written) { w.flip(w.withBlocks(".seg"), 3) }, "block_damaged", 3},
		{"a segment is gone", func(w *written) { w.remove(w.withBlocks(".seg")) }, "block_missing", 3},
		{"a log is truncated", func(w *written) {
			b := []byte(w.read(w.withBlocks(".log")))
			w.rewrite(w.withBlocks(".log"), b[:bytes.IndexByte(b, '\n')+30])
		}, "block_missing", 3},
		{"the blocks of an execution are gone", func(w *written) { w.remove(filepath.Dir(w.withBlocks(".log"))) }, "block_missing", 3},
		{"a log ends in a torn record", func(w *written) {
			w.rewrite(w.withBlocks(".log"), append([]byte(w.read(w.withBlocks(".log"))), 200, 0, 0, 0, 1, 2))
		}, "", 0},
		{"a log ends in garbage", func(w *written) {
			w.rewrite(w.withBlocks(".log"), append([]byte(w.read(w.withBlocks(".log"))), bytes.Repeat([]byte{0}, 100)...))
		}, "log_altered", 3},
		{"a log is altered", func(w *written) {
			b := []byte(w.read(w.withBlocks(".log")))
			w.flip(w.withBlocks(".log"), bytes.IndexByte(b, '\n')+12)
		}, "log_altered", 3},
		{"a log is another's", func(w *written) {
			b := []byte(w.read(w.withBlocks(".log")))
			w.rewrite(w.withBlocks(".log"), bytes.Replace(b, []byte("segment "), []byte("segment 9"), 1))
		}, "log_foreign", 3},
		{"a node does not know its name", func(w *written) { w.rewrite(w.one("data/agents/1/node.json"), []byte("{")) }, "node_unreadable", 1},
		{"a fetched program file is altered", func(w *written) {
			path := w.one("data/agents/*/files/*-*")
			if err := os.Chmod(path, 0o600); err != nil {
				w.t.Fatal(err)
			}
			w.flip(path, 3)
		}, "node_file_damaged", 3},
	}
}

func damagesOfStorage() []damage {
	return []damage{
		{"the storage has no marker", func(w *written) { w.remove(w.one("data/storage/stint-storage.json")) }, "storage_foreign", 1},
		{"the storage is another", func(w *written) {
			w.rewrite(w.one("data/storage/stint-storage.json"), []byte(`{"format": 1, "id": 4711}`))
		}, "storage_foreign", 1},
		{"the storage is gone", func(w *written) { w.remove(w.one("data/storage")) }, "", 5},
		{"a claim is gone", func(w *written) { w.remove(w.one("data/storage/saved/ID/owner-000001", w.suspended)) }, "claim_missing", 3},
		{"a claim is altered", func(w *written) {
			w.rewrite(w.one("data/storage/saved/ID/owner-000001", w.suspended), []byte("nobody"))
		}, "claim_altered", 1},
		{"the saved record is gone", func(w *written) { w.remove(w.one("data/storage/saved/ID/record-000001", w.suspended)) }, "saved_record_missing", 1},
		{"the saved record is altered", func(w *written) { w.flip(w.one("data/storage/saved/ID/record-000001", w.suspended), -20) }, "saved_record_damaged", 1},
		{"all that was saved is gone", func(w *written) { w.remove(w.one("data/storage/saved/ID", w.suspended)) }, "saved_state_gone", 1},
		{"a byte of a pack is flipped", func(w *written) { w.flip(w.one("data/storage/saved/ID/pack-*", w.suspended), 3) }, "pack_damaged", 1},
		{"the index of a pack is altered", func(w *written) { w.flip(w.one("data/storage/saved/ID/pack-*", w.suspended), -90) }, "pack_damaged", 1},
		{"a pack is gone", func(w *written) { w.remove(w.one("data/storage/saved/ID/pack-*", w.suspended)) }, "pack_missing", 1},
		{"a checkpoint is altered", func(w *written) { w.flip(w.one("data/storage/saved/ID/checkpoint-*", w.suspended), 600) }, "checkpoint_damaged", 1},
		{"a checkpoint is gone", func(w *written) { w.remove(w.one("data/storage/saved/ID/checkpoint-*", w.suspended)) }, "checkpoint_missing", 1},
		{"a listing is altered", func(w *written) { w.flip(w.listing(w.completed), 3) }, "listing_damaged", 1},
		{"a listing is gone", func(w *written) { w.remove(w.listing(w.completed)) }, "listing_missing", 1},
		{"a program file is gone", func(w *written) { w.remove(w.programFile()) }, "program_file_missing", 1},
		{"a program file is altered", func(w *written) { w.flip(w.programFile(), 3) }, "program_file_damaged", 1},
		{"logs are altered", func(w *written) { w.flip(w.one("data/storage/logs/ID/*", w.completed), 25) }, "kept_log_damaged", 1},
	}
}

// listing is the file with the listing of an execution's input, which no other has.
func (w *written) listing(id stint.ExecutionID) string {
	w.t.Helper()
	w.checkpoint()
	db, err := sql.Open("sqlite", w.one("data/server/store.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	var digest string
	if err := db.QueryRow("SELECT listing FROM executions WHERE id = ?", string(id)).Scan(&digest); err != nil {
		w.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		w.t.Fatal(err)
	}
	return w.one("data/storage/listings/" + digest)
}

// programFile is a file in storage of a program that is registered.
func (w *written) programFile() string {
	w.t.Helper()
	files, _ := filepath.Glob(filepath.Join(w.dir, "data", "storage", "files", "*"))
	at := slices.IndexFunc(files, func(path string) bool { return w.read(path) == count })
	return files[at]
}

// stagedParts are the files that attempts have staged, those that count and others.
func (w *written) stagedParts() []string {
	w.t.Helper()
	found, _ := filepath.Glob(filepath.Join(w.dir, "staged", "_stint", string(w.staged), "part*"))
	return found
}

func damagesOfOutputs() []damage {
	return []damage{
		{"a byte of a part is flipped", func(w *written) { w.flip(w.one("out/part-00001"), 3) }, "part_damaged", 1},
		{"a part is truncated", func(w *written) { w.rewrite(w.one("out/part-00001"), nil) }, "part_damaged", 1},
		{"a part is gone", func(w *written) { w.remove(w.one("out/part-00001")) }, "part_missing", 1},
		{"the manifest is no manifest", func(w *written) { w.flip(w.one("out/_manifest.json"), 0) }, "manifest_damaged", 1},
		{"the manifest is gone", func(w *written) { w.remove(w.one("out/_manifest.json")) }, "manifest_damaged", 1},
		{"the manifest says another sum", func(w *written) {
			text := w.read(w.one("out/_manifest.json"))
			at := strings.Index(text, `"xxh3": "`) + len(`"xxh3": "`)
			b := []byte(text)
			b[at] = map[bool]byte{true: '1', false: '0'}[b[at] == '0']
			w.rewrite(w.one("out/_manifest.json"), b)
		}, "manifest_altered", 1},
		{"the output was moved away", func(w *written) { w.remove(w.one("out")) }, "", 0},
		{"the output in storage is gone", func(w *written) { w.remove(w.one("data/storage/output/ID", w.own)) }, "output_missing", 1},
		{"a part in storage is altered", func(w *written) { w.flip(w.one("data/storage/output/ID/part-0*", w.own), 3) }, "part_damaged", 1},
		{"_SUCCESS is gone", func(w *written) { w.remove(w.one("out/_SUCCESS")) }, "success_missing", 1},
		{"_SUCCESS of what is not complete", func(w *written) { w.write("staged/_SUCCESS", "") }, "success_unfounded", 1},
		{"staged parts are altered", func(w *written) {
			for _, path := range w.stagedParts() {
				if w.read(path) != "" {
					w.flip(path, 3)
				}
			}
		}, "staged_damaged", 1},
		{"staged parts are gone", func(w *written) { w.remove(w.stagedParts()...) }, "staged_missing", 1},
		{"the mark of the commit is left", func(w *written) { w.write("out/_stint/"+string(w.completed)+"/_commit", "{}") }, "commit_left", 1},
		{"the mark of the commit is left, and a part is altered", func(w *written) {
			w.write("out/_stint/"+string(w.completed)+"/_commit", "{}")
			w.flip(w.one("out/part-00001"), 3)
		}, "part_damaged commit_left", 1},
		{"another output is taking the place", func(w *written) {
			w.write("out/_stint/"+string(w.going)+"/_commit", "{}")
			w.remove(w.one("out/part-00001"))
		}, "", 0},
	}
}

func damagesOfKeys() []damage {
	exposed := func(name string) func(w *written) {
		return func(w *written) {
			if err := os.Chmod(w.one(name), 0o644); err != nil { //nolint:gosec // which is what is found
				w.t.Fatal(err)
			}
		}
	}
	return []damage{
		{"others can read the key of the authority", exposed("data/server/ca.key"), "key_exposed", 1},
		{"others can read the keyring", exposed("data/server/keyring.json"), "key_exposed", 1},
		{"others can read the token", exposed("data/credentials"), "key_exposed", 1},
		{"others can read a node's key", exposed("data/agents/1/node.key"), "key_exposed", 1},
		{"the key of the authority is gone", func(w *written) { w.remove(w.one("data/server/ca.key")) }, "key_missing", 1},
		{"the key of secrets is gone", func(w *written) { w.remove(w.one("data/server/secrets.key")) }, "key_missing", 1},
		{"the key of secrets is another", func(w *written) { w.rewrite(w.one("data/server/secrets.key"), []byte("AGE-SECRET-KEY-1\n")) }, "key_damaged", 1},
		{"a node's certificate has expired", func(w *written) { w.rewrite(w.one("data/agents/1/node.pem"), expired(w.t)) }, "certificate_expired", 1},
		{"a node's certificate is altered", func(w *written) { w.flip(w.one("data/agents/1/node.pem"), 40) }, "key_damaged", 1},
	}
}

// expired returns a certificate that was valid for a day long ago.
func expired(t *testing.T) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	c := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: from.AddDate(0, 0, 1)}
	b, err := x509.CreateCertificate(nil, &c, &c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b})
}
