package tenant

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/internal/fault"
)

// Measure is something that a quota limits.
type Measure string

// The measures.
const (
	Instances   Measure = "instances"     // that are on a host, or may be, or are to be
	CPU         Measure = "cpu"           // thousandths of a core
	Memory      Measure = "memory"        // bytes
	Disk        Measure = "disk"          // bytes
	Ports       Measure = "ports"         // that these instances have or get
	JobsPerHour Measure = "jobs_per_hour" // accepted from clients in the last hour; deletes do not count
)

// Measures lists all measures, in the order in which people see them.
func Measures() []Measure { return []Measure{Instances, CPU, Memory, Disk, Ports, JobsPerHour} }

// Amounts are numbers of what each measure counts.
type Amounts map[Measure]int64

// String returns the amounts for people: "5 instances, 1.5 cores of cpu".
func (a Amounts) String() string {
	var parts []string
	for _, m := range Measures() {
		switch n, there := a[m]; {
		case there && n == Unlimited:
			parts = append(parts, "no limit of "+string(m))
		case there:
			parts = append(parts, m.Format(n))
		}
	}
	return strings.Join(parts, ", ")
}

// Unlimited as a limit says that there is none.
const Unlimited = -1

// maxLimit is more than any deployment has, and exact as a JSON number (RFC 8259, 6).
const maxLimit = 1<<53 - 1

// limitsOf returns the limits in force: a tenant's own, and the default for the others.
// Measures without a limit are left out.
func limitsOf(own, byDefault Amounts) Amounts {
	limits := maps.Clone(byDefault)
	if limits == nil {
		limits = Amounts{}
	}
	maps.Copy(limits, own)
	maps.DeleteFunc(limits, func(_ Measure, limit int64) bool { return limit == Unlimited })
	return limits
}

// CheckLimits says what is wrong with limits.
func CheckLimits(limits Amounts) []fault.FieldError {
	var wrong []fault.FieldError
	for _, m := range slices.Sorted(maps.Keys(limits)) {
		switch limit := limits[m]; {
		case !slices.Contains(Measures(), m):
			wrong = append(wrong, fault.FieldError{Field: string(m), Message: "unknown; there are: " + measureNames()})
		case limit < Unlimited || limit > maxLimit:
			wrong = append(wrong, fault.FieldError{Field: string(m), Message: fmt.Sprintf("must be from 0 to %s, or -1 for no limit", m.Format(maxLimit))})
		}
	}
	return wrong
}

func measureNames() string {
	var names []string
	for _, m := range Measures() {
		names = append(names, string(m))
	}
	return strings.Join(names, ", ")
}

// exceeded returns the refusal of what would exceed a limit; nil: nothing does. Only what is
// added to counts: whoever is over a limit that was lowered can still do everything else.
func exceeded(of ID, limits, held, added Amounts) error {
	for _, m := range Measures() {
		limit, limited := limits[m]
		if !limited || added[m] <= 0 || held[m] <= limit {
			continue
		}
		used := held[m] - added[m]
		e := fault.Errorf(fault.CodeQuota, nil, "the quota of tenant %s is %s, of which %s are used; this takes %s more. %s", of, m.Format(limit), m.count(used), m.count(added[m]), m.advice())
		e.Quota = &fault.Quota{Name: string(m), Limit: limit, Used: used, Asked: added[m]}
		if m == JobsPerHour {
			e.RetryAfter = time.Minute
		}
		return e
	}
	return nil
}

func (m Measure) advice() string {
	if m == JobsPerHour {
		return "Try again later, or ask an operator for a larger quota"
	}
	return "Delete an instance that is not needed, or ask an operator for a larger quota"
}

// Format returns an amount for people, with what it counts: "5 instances", "1.5 cores".
func (m Measure) Format(n int64) string {
	switch m {
	case CPU, Memory, Disk:
		return m.count(n) + " of " + string(m)
	case JobsPerHour:
		return m.count(n) + " jobs an hour"
	case Instances, Ports:
	}
	return m.count(n) + " " + string(m)
}

// count returns an amount for people without what it counts.
func (m Measure) count(n int64) string {
	switch m {
	case CPU:
		return fmt.Sprintf("%g cores", float64(n)/1000)
	case Memory, Disk:
		return formatBytes(n)
	case Instances, Ports, JobsPerHour:
	}
	return fmt.Sprint(n)
}

func formatBytes(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= unit.size && n%(unit.size/4) == 0 {
			return fmt.Sprintf("%g %s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
