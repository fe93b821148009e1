package stint_test

import (
	"math/big"
	"regexp"
	"strings"
	"testing"

	"stint"
)

// FuzzIDs: what is accepted as an id is what the id says of itself.
func FuzzIDs(f *testing.F) {
	for _, s := range []string{"x-abcdefghjkmnpqrs", "n-abcdefghjkmn", "j-1", "j-01", "j-4294967296", "map/7", "a/b/007", strings.Repeat("0f", 32)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := stint.ParseExecutionID(s); err == nil && string(id) != s {
			t.Errorf("execution %q is %q", s, id)
		}
		if id, err := stint.ParseNodeID(s); err == nil && string(id) != s {
			t.Errorf("node %q is %q", s, id)
		}
		if id, err := stint.ParseJobID(s); err == nil && id.String() != s {
			t.Errorf("job %q is %q", s, id)
		}
		if d, err := stint.ParseDigest(s); err == nil && d.String() != s {
			t.Errorf("digest %q is %q", s, d)
		}
		if stage, op, err := stint.OperationID(s).Split(); err == nil && string(stint.MakeOperationID(stage, op)) != s {
			t.Errorf("operation %q is %d of stage %q", s, op, stage)
		}
	})
}

// FuzzParseSize: a size is its number times its unit, exactly, or refused.
func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"64MiB", "1 GB", "65536", "9223372036854775807", "4194304TiB", "-1", "1.5GB", "1kib"} {
		f.Add(s)
	}
	form := regexp.MustCompile(`^([0-9]+)\s*(|B|[kK]B|[MGT]B|[KMGT]iB)\s*$`)
	units := map[string]int64{"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := stint.ParseSize(s)
		m := form.FindStringSubmatch(s)
		if err != nil {
			if stint.CodeOf(err) != stint.Invalid || n != 0 {
				t.Errorf("%q: %d, %v", s, n, err)
			}
			return
		}
		if m == nil {
			if strings.TrimSpace(s) == s { // other white space than regexp's may stand between
				t.Errorf("%q is taken for %d", s, n)
			}
			return
		}
		want, _ := new(big.Int).SetString(m[1], 10)
		if want.Mul(want, big.NewInt(units[m[2]])).Cmp(big.NewInt(n)) != 0 {
			t.Errorf("%q is taken for %d", s, n)
		}
	})
}
