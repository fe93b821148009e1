package split_test

import (
	"bytes"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"stint"
	"stint/internal/split"
)

func TestValuesAreTheNumbersOfTheRangeOneALine(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		values stint.Values
		want   string
	}{
		{stint.Values{}, ""},
		{stint.Values{First: 17, Count: 3}, "17\n18\n19\n"},
		{stint.Values{First: -2, Count: 4}, "-2\n-1\n0\n1\n"},
		{stint.Values{First: math.MaxInt64 - 1, Count: 2}, "9223372036854775806\n9223372036854775807\n"},
		{stint.Values{First: math.MinInt64, Count: 1}, "-9223372036854775808\n"},
	} {
		r := split.NewValues(tc.values)
		got, err := io.ReadAll(r)
		if err != nil || string(got) != tc.want || r.Records() != tc.values.Count || r.Bytes() != int64(len(tc.want)) {
			t.Errorf("%+v: got %q, %v, %d records, %d bytes", tc.values, got, err, r.Records(), r.Bytes())
		}
		if err := iotest.TestReader(split.NewValues(tc.values), []byte(tc.want)); err != nil {
			t.Errorf("%+v: %v", tc.values, err)
		}
	}
}

func TestManyValuesThroughAnyReads(t *testing.T) {
	t.Parallel()
	var want strings.Builder
	for i := range 30_000 {
		want.WriteString(strconv.Itoa(i-500) + "\n")
	}
	r := split.NewValues(stint.Values{First: -500, Count: 30_000})
	var got bytes.Buffer
	if _, err := io.CopyN(&got, r, 1001); err != nil {
		t.Fatal(err)
	}
	if _, err := r.WriteTo(&got); err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() || r.Records() != 30_000 {
		t.Errorf("got %d bytes and %d records, want %d bytes", got.Len(), r.Records(), want.Len())
	}
}

func TestRangeBeyondInt64IsRefused(t *testing.T) {
	t.Parallel()
	for _, v := range []stint.Values{{First: math.MaxInt64, Count: 2}, {First: 2, Count: math.MaxInt64}, {Count: -1}} {
		if _, err := io.ReadAll(split.NewValues(v)); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%+v: got %v", v, err)
		}
	}
}

func BenchmarkValues(b *testing.B) {
	const count = 1_000_000
	for b.Loop() {
		if _, err := split.NewValues(stint.Values{First: 1, Count: count}).WriteTo(nothing{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mvalues/s")
}
