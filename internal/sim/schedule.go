package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// schedule is what a run is made of: a seed, and which faults there are in it.
// The run is the same for the same schedule, event for event.
type schedule struct {
	seed   uint64
	chosen bool        // only the instances that are listed; otherwise all that the seed's rates bring
	only   []instance  // in order
	at     []placement // faults that come when something happens
	scene  string      // what is performed; empty: what the seed draws
	heal   int64       // microseconds, when all faults end; 0: after the usual time
}

// instance names a fault: its kind, and its number among the chances that there
// were of it. The number stays the same whatever other faults are left out, as long
// as what they do does not change how often there is a chance.
type instance struct {
	kind    fault
	ordinal int
}

func (i instance) compare(o instance) int {
	return cmp.Or(cmp.Compare(i.kind, o.kind), cmp.Compare(i.ordinal, o.ordinal))
}

// placement has a fault come when a phase is passed for the n-th time.
type placement struct {
	phase phase
	nth   int
	fault string // of those that the fault matrix strikes with
}

// all is the schedule of a seed with everything that its rates bring.
func all(seed uint64) schedule { return schedule{seed: seed} }

// exactly is the schedule with only those faults that happened in a run of s.
func (s schedule) exactly(happened []instance) schedule {
	s.chosen, s.only = true, slices.SortedFunc(slices.Values(happened), instance.compare)
	return s
}

// faultsText lists the chosen instances: "server killed:3,5;link down:1".
func (s *schedule) faultsText() string {
	if !s.chosen {
		return "all"
	}
	var b strings.Builder
	for i, o := range s.only {
		switch {
		case i == 0:
			b.WriteString(o.kind.String() + ":")
		case s.only[i-1].kind != o.kind:
			b.WriteString(";" + o.kind.String() + ":")
		default:
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(o.ordinal))
	}
	return b.String()
}

// parseFaults reads what faultsText writes.
func parseFaults(text string) (only []instance, err error) {
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, numbers, ok := strings.Cut(part, ":")
		kind, known := kindOf(strings.TrimSpace(name))
		if !ok || !known {
			return nil, fmt.Errorf("faults: %q is not KIND:NUMBER,NUMBER…; the kinds are %s", part, strings.Join(kindNames(), ", "))
		}
		for number := range strings.SplitSeq(numbers, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(number))
			if err != nil || n < 0 {
				return nil, fmt.Errorf("faults: %q of %q is not a number from 0", number, name)
			}
			only = append(only, instance{kind, n})
		}
	}
	slices.SortFunc(only, instance.compare)
	return only, nil
}

// command is the line that runs the schedule again.
func (s *schedule) command() string {
	line := fmt.Sprintf("go test ./internal/sim -run 'TestSeed$' -seed=%d", s.seed)
	if s.chosen {
		line += fmt.Sprintf(" -faults='%s'", s.faultsText())
	}
	if len(s.at) > 0 {
		line += fmt.Sprintf(" -at='%s'", placementsText(s.at))
	}
	if s.scene != "" {
		line += fmt.Sprintf(" -scene=%s", s.scene)
	}
	if s.heal > 0 {
		line += fmt.Sprintf(" -heal=%d", s.heal/millisecond)
	}
	return line
}

// placementsText lists placements: "commit output/2/server kill".
func placementsText(list []placement) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = fmt.Sprintf("%s/%d/%s", p.phase, p.nth, p.fault)
	}
	return strings.Join(texts, ";")
}

// String returns the name of a kind of fault.
func (k fault) String() string { return (*counters)(nil).names()[k] }

// kindNames are the names of the kinds of faults, in order.
func kindNames() []string {
	names := (*counters)(nil).names()
	return names[:kinds]
}

// kindOf finds the kind of a name.
func kindOf(name string) (fault, bool) {
	i := slices.Index(kindNames(), name)
	return fault(i), i >= 0
}

// kept is a schedule that once broke a law, and what it is kept for.
type kept struct {
	schedule
	law     string // that it broke
	planted string // the planted bug that it must find again, if it is kept for one
	why     string
}

// String writes a schedule as it is kept in a file.
func (k *kept) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\nlaw: %s\n", k.why, k.law)
	if k.planted != "" {
		fmt.Fprintf(&b, "planted: %s\n", k.planted)
	}
	fmt.Fprintf(&b, "seed: %d\n", k.seed)
	if k.heal > 0 {
		fmt.Fprintf(&b, "heal: %d\n", k.heal/millisecond)
	}
	if k.scene != "" {
		fmt.Fprintf(&b, "scene: %s\n", k.scene)
	}
	if len(k.at) > 0 {
		fmt.Fprintf(&b, "at: %s\n", placementsText(k.at))
	}
	fmt.Fprintf(&b, "faults: %s\n", k.faultsText())
	return b.String()
}

// parseKept reads what String writes.
func parseKept(text string) (k kept, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if why, comment := strings.CutPrefix(line, "#"); comment {
			k.why = strings.TrimSpace(why)
			continue
		}
		if line == "" {
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		if err := k.set(name, strings.TrimSpace(value)); err != nil {
			return kept{}, err
		}
	}
	return k, nil
}

// set takes in one line of a file.
func (k *kept) set(name, value string) (err error) {
	switch name {
	case "law":
		k.law = value
	case "planted":
		k.planted = value
	case "seed":
		k.seed, err = strconv.ParseUint(value, 10, 64)
	case "heal":
		k.heal, err = strconv.ParseInt(value, 10, 64)
		k.heal *= millisecond
	case "scene":
		k.scene = value
	case "at":
		k.at, err = parsePlacements(value)
	case "faults":
		if k.chosen = value != "all"; k.chosen {
			k.only, err = parseFaults(value)
		}
	default:
		err = fmt.Errorf("%q is not law, planted, seed, heal, scene, at or faults", name)
	}
	return err
}

// parsePlacements reads what placementsText writes.
func parsePlacements(text string) (list []placement, err error) {
	for part := range strings.SplitSeq(text, ";") {
		if part == "" {
			continue
		}
		fields := strings.Split(part, "/")
		if len(fields) != 3 {
			return nil, fmt.Errorf("at: %q is not PHASE/NUMBER/FAULT", part)
		}
		n, err := strconv.Atoi(fields[1])
		if err != nil || n < 1 {
			return nil, fmt.Errorf("at: %q in %q is not a number from 1", fields[1], part)
		}
		p := placement{phase: phase(fields[0]), nth: n, fault: fields[2]}
		if err := p.check(); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}
