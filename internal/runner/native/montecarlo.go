package native

import (
	"bytes"
	"context"
	"io"
	"math"
	"math/big"
	"math/bits"
	"strconv"

	"stint"
	"stint/internal/shuffle"
)

func montecarloParams() []stint.Param {
	return []stint.Param{
		{Name: "model", Values: []string{"pi", "option"}, Default: "pi", Description: "pi, or the price of a European call option by Black and Scholes' model"},
		{Name: "samples", Type: stint.IntegerParam, Default: "100000", Description: "of each seed"},
		{Name: "spot", Type: stint.NumberParam, Default: "100", Description: "price of what the option is on"},
		{Name: "strike", Type: stint.NumberParam, Default: "100", Description: "price at which the option may be exercised"},
		{Name: "rate", Type: stint.NumberParam, Default: "0.05", Description: "risk-free rate of one year"},
		{Name: "volatility", Type: stint.NumberParam, Default: "0.2", Description: "of one year"},
		{Name: "years", Type: stint.NumberParam, Default: "1", Description: "until the option expires"},
	}
}

const maxSamplesPerSeed = 1 << 40

// unitsPerOne is how fine the estimates of seeds are kept: whole numbers are
// added exactly in any order, fractions are not.
const unitsPerOne = 1 << 40

// montecarlo makes an estimate for each seed, one a line, and writes how many
// there are, their sum and the sum of their squares.
func montecarlo(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	s, err := settleMontecarlo(a.Params)
	if err != nil {
		return err
	}
	estimate := estimatePi
	if s["model"] == "option" {
		estimate = newOption(s).estimate
	}
	samples := s.integer("samples")
	var seeds int64
	var sum, squares big.Int
	err = eachLine(ctx, in, func(line []byte) error {
		seed, err := strconv.ParseInt(string(line), 10, 64)
		if err != nil {
			return stint.Errorf(stint.Failed, "montecarlo: %.80q is no seed: expected a whole number; give the seeds as --input range:1..1000", line)
		}
		v, err := estimate(ctx, &splitMix{state: uint64(seed)}, samples)
		if err != nil {
			return err
		}
		n, _ := new(big.Float).SetMode(big.ToNearestEven).SetFloat64(math.RoundToEven(v * unitsPerOne)).Int(nil)
		seeds++
		sum.Add(&sum, n)
		squares.Add(&squares, n.Mul(n, n))
		return nil
	})
	if err != nil || seeds == 0 {
		return err
	}
	return emitTo(out, func(sink shuffle.Sink) error {
		value := strconv.AppendInt(nil, seeds, 10)
		value = sum.Append(append(value, ' '), 10)
		value = squares.Append(append(value, ' '), 10)
		return sink.Emit([]byte(s["model"]), value)
	})
}

// splitMix is the generator SplitMix64: small, fast, and good from any seed on.
type splitMix struct{ state uint64 }

func (g *splitMix) next() uint64 {
	g.state += 0x9e3779b97f4a7c15
	z := g.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// unit returns a number in (0, 1).
func (g *splitMix) unit() float64 {
	return (float64(g.next()>>11) + 0.5) * 0x1p-53
}

// estimateStride is how many samples are drawn between looks at the context.
const estimateStride = 1 << 16

// repeat calls draw for every sample.
func repeat(ctx context.Context, samples int64, draw func()) error {
	for i := range samples {
		if i%estimateStride == 0 {
			if err := stopped(ctx); err != nil {
				return err
			}
		}
		draw()
	}
	return nil
}

// estimatePi counts the points of a square that lie in the quarter of a circle. It
// counts in whole numbers, which are the same on every machine.
func estimatePi(ctx context.Context, g *splitMix, samples int64) (float64, error) {
	var hits int64
	err := repeat(ctx, samples, func() {
		p := g.next()
		x, y := p>>32, p&(1<<32-1)
		high, low := bits.Mul64(x, x)
		high2, low2 := bits.Mul64(y, y)
		_, carry := bits.Add64(low, low2, 0)
		if high+high2+carry == 0 {
			hits++
		}
	})
	return 4 * float64(hits) / float64(samples), err
}

// option is a call option whose price is the discounted mean of what it pays.
type option struct {
	spot, strike, drift, deviation, discount float64
}

func newOption(s settings) *option {
	volatility, years, rate := s.number("volatility"), s.number("years"), s.number("rate")
	return &option{
		spot: s.number("spot"), strike: s.number("strike"),
		drift:     (rate - float64(volatility*volatility)/2) * years,
		deviation: volatility * math.Sqrt(years),
		discount:  math.Exp(-rate * years),
	}
}

// estimate draws normal numbers in pairs, as Box and Muller do. The conversions
// keep multiplication and addition apart on machines that would join them.
func (o *option) estimate(ctx context.Context, g *splitMix, samples int64) (float64, error) {
	var sum, spare float64
	var paired bool
	err := repeat(ctx, samples, func() {
		z := spare
		if !paired {
			radius := math.Sqrt(-2 * math.Log(g.unit()))
			sin, cos := math.Sincos(2 * math.Pi * g.unit())
			z, spare = radius*cos, radius*sin
		}
		paired = !paired
		price := o.spot * math.Exp(o.drift+float64(o.deviation*z))
		sum += max(price-o.strike, 0)
	})
	return o.discount * (sum / float64(samples)), err
}

// montecarloResult writes the mean of the estimates and its standard error.
func montecarloResult(ctx context.Context, a *stint.Attempt, in io.Reader, out io.Writer) error {
	s, err := settleMontecarlo(a.Params)
	if err != nil {
		return err
	}
	var sums columns
	var value []byte
	return eachGroup(ctx, in, func(key []byte, values *shuffle.Groups) error {
		var err error
		if value, err = sums.add(value[:0], key, values); err != nil {
			return err
		}
		fields := bytes.Fields(value)
		if len(fields) != 3 {
			return stint.Errorf(stint.Failed, "montecarlo-result: the value %s of key %.80q is not a count, a sum and a sum of squares", describe(value), key)
		}
		seeds := bigOf(fields[0])
		mean, deviation := moments(seeds, bigOf(fields[1]), bigOf(fields[2]))
		var samples big.Int
		text := appendRow(nil, string(key), strconv.FormatFloat(mean, 'f', 9, 64))
		text = appendRow(text, "stderr", strconv.FormatFloat(deviation, 'f', 9, 64))
		text = appendRow(text, "seeds", seeds.String())
		text = appendRow(text, "samples", samples.Mul(seeds, big.NewInt(s.integer("samples"))).String())
		return writeSome(out, text)
	})
}

// moments returns the mean of n numbers and its standard error, from the sums of
// the numbers and of their squares in units. The differences are exact.
func moments(n, sum, squares *big.Int) (mean, deviation float64) {
	mean, _ = new(big.Rat).SetFrac(sum, new(big.Int).Mul(n, big.NewInt(unitsPerOne))).Float64()
	if n.Cmp(big.NewInt(2)) < 0 {
		return mean, 0
	}
	// n·Σx² − (Σx)² over n²·(n−1) is the variance of the mean.
	above := new(big.Int).Mul(n, squares)
	above.Sub(above, new(big.Int).Mul(sum, sum))
	below := new(big.Int).Mul(n, n)
	below.Mul(below, new(big.Int).Sub(n, big.NewInt(1)))
	variance, _ := new(big.Rat).SetFrac(above, below).Float64()
	return mean, math.Sqrt(variance) / unitsPerOne
}

func settleMontecarlo(params map[string]string) (settings, error) {
	s, err := settle("montecarlo", montecarloParams(), params)
	if err == nil {
		err = s.atLeast("samples", 1)
	}
	if err == nil && s.integer("samples") > maxSamplesPerSeed {
		err = stint.Errorf(stint.Invalid, "parameter samples=%s: expected at most %d; give more seeds", s["samples"], int64(maxSamplesPerSeed))
	}
	for _, name := range []string{"spot", "strike", "volatility", "years"} {
		if err == nil && s.number(name) < 0 {
			err = stint.Errorf(stint.Invalid, "parameter %s=%s: expected no negative number", name, s[name])
		}
	}
	return s, err
}

func checkMontecarlo(params map[string]string) error {
	_, err := settleMontecarlo(params)
	return err
}

func montecarloProgram(map[string]string) stint.Program {
	return stint.Program{
		Name: "montecarlo", Type: stint.Simulation, Params: montecarloParams(),
		Description: "estimates pi or the price of an option from random numbers, with its standard error; give seeds as --input range:1..1000",
		Stages: []stint.Stage{
			{
				Name: "estimate", Action: stint.Action{Native: "montecarlo"}, Combine: &stint.Action{Native: "sums"},
				Input: stint.Edge{Kind: stint.FromInput},
			},
			{
				Name: "result", Action: stint.Action{Native: "montecarlo-result"},
				Input: stint.Edge{Kind: stint.Shuffle, From: "estimate", Partitions: 1},
			},
		},
	}
}
