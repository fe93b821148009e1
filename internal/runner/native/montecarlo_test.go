package native_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"stint"
	"stint/internal/runner/native"
)

// estimate performs the stages of montecarlo over seeds, cut into operations of a size.
func estimate(t *testing.T, params map[string]string, seeds, each int) string {
	t.Helper()
	var between strings.Builder
	for first := 1; first <= seeds; first += each {
		var in strings.Builder
		for seed := first; seed < first+each && seed <= seeds; seed++ {
			fmt.Fprintln(&in, seed)
		}
		between.WriteString(mustPerform(t, "montecarlo", params, in.String()))
	}
	return mustPerform(t, "montecarlo-result", params, between.String())
}

func numbers(t *testing.T, report string) (mean, deviation float64) {
	t.Helper()
	var name string
	if n, err := fmt.Sscanf(report, "%s\t%f\nstderr\t%f\n", &name, &mean, &deviation); n != 3 {
		t.Fatalf("%q: %v", report, err)
	}
	return mean, deviation
}

func TestAnEstimateDoesNotDependOnHowSeedsAreCut(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"pi", "option"} {
		params := map[string]string{"model": model, "samples": "1000"}
		whole := estimate(t, params, 100, 100)
		for _, each := range []int{1, 7, 99} {
			if got := estimate(t, params, 100, each); got != whole {
				t.Errorf("%s in operations of %d seeds:\n%sat once:\n%s", model, each, got, whole)
			}
		}
		if !strings.HasSuffix(whole, "seeds\t100\nsamples\t100000\n") {
			t.Error(whole)
		}
	}
}

func TestEstimatesAreCloseToWhatIsKnown(t *testing.T) {
	t.Parallel()
	normal := func(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }
	price := func(spot, strike, rate, volatility, years float64) float64 {
		d := (math.Log(spot/strike) + (rate+volatility*volatility/2)*years) / (volatility * math.Sqrt(years))
		return spot*normal(d) - strike*math.Exp(-rate*years)*normal(d-volatility*math.Sqrt(years))
	}
	for _, c := range []struct {
		params map[string]string
		want   float64
	}{
		{map[string]string{}, math.Pi},
		{map[string]string{"model": "option"}, price(100, 100, 0.05, 0.2, 1)},
		{map[string]string{"model": "option", "spot": "90", "strike": "110", "rate": "0.01", "volatility": "0.4", "years": "2.5"}, price(90, 110, 0.01, 0.4, 2.5)},
	} {
		c.params["samples"] = "20000"
		mean, deviation := numbers(t, estimate(t, c.params, 100, 10))
		if off := math.Abs(mean - c.want); off > 4*deviation || deviation <= 0 || deviation > 0.003*c.want {
			t.Errorf("%v: %f ± %f, want %f", c.params, mean, deviation, c.want)
		}
	}
}

// The standard error tells how much means of other seeds differ.
func TestTheStandardErrorIsThatOfTheMean(t *testing.T) {
	t.Parallel()
	params := map[string]string{"samples": "500"}
	var means []float64
	var told float64
	for first := range 60 {
		var in strings.Builder
		for seed := range 50 {
			fmt.Fprintln(&in, 1_000_000+first*50+seed)
		}
		mean, deviation := numbers(t, mustPerform(t, "montecarlo-result", params, mustPerform(t, "montecarlo", params, in.String())))
		means = append(means, mean)
		told += deviation / 60
	}
	var sum, squares float64
	for _, m := range means {
		sum += m / 60
		squares += m * m / 60
	}
	if is := math.Sqrt(squares - sum*sum); is < told/1.4 || is > told*1.4 {
		t.Errorf("standard error is told as %f and is %f", told, is)
	}
}

func TestSeedsAndParametersOfMontecarloAreChecked(t *testing.T) {
	t.Parallel()
	err := perform(t, "montecarlo", nil, strings.NewReader("1\nx\n"), nil)
	if stint.CodeOf(err) != stint.Failed || !strings.Contains(err.Error(), "range:1..1000") {
		t.Error(err)
	}
	for name, value := range map[string]string{"samples": "0", "spot": "-1", "years": "NaN", "model": "e", "volatility": "-0.1"} {
		if _, err := native.Program("montecarlo", map[string]string{name: value}); stint.CodeOf(err) != stint.Invalid {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	one := estimate(t, map[string]string{"samples": "10"}, 1, 1)
	if !strings.Contains(one, "stderr\t0.000000000\n") || !slices.Contains(strings.Fields(one), "pi") {
		t.Error(one)
	}
}
