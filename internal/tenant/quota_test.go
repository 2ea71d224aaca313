package tenant

import (
	"errors"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/internal/fault"
)

func TestLimitsInForce(t *testing.T) {
	t.Parallel()
	byDefault := Amounts{Instances: 5, CPU: 1000, Memory: Unlimited}
	for name, tt := range map[string]struct{ own, want Amounts }{
		"none of its own":   {nil, Amounts{Instances: 5, CPU: 1000}},
		"one of its own":    {Amounts{Instances: 7}, Amounts{Instances: 7, CPU: 1000}},
		"none at all":       {Amounts{Instances: Unlimited, CPU: Unlimited}, Amounts{}},
		"beside the others": {Amounts{Disk: 0, Memory: 9}, Amounts{Instances: 5, CPU: 1000, Disk: 0, Memory: 9}},
	} {
		if got := limitsOf(tt.own, byDefault); !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	if !maps.Equal(byDefault, Amounts{Instances: 5, CPU: 1000, Memory: Unlimited}) {
		t.Errorf("the default changed: %v", byDefault)
	}
	if got := limitsOf(nil, nil); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

// What is refused would exceed a limit, and what is not does not.
func TestExceeded(t *testing.T) {
	t.Parallel()
	amounts := rapid.MapOf(rapid.SampledFrom(Measures()), rapid.Int64Range(0, 5))
	rapid.Check(t, func(t *rapid.T) {
		limits, before, added := amounts.Draw(t, "limits"), amounts.Draw(t, "before"), amounts.Draw(t, "added")
		held := Amounts{}
		for _, m := range Measures() {
			held[m] = before[m] + added[m]
		}
		err := exceeded("t", limits, held, added)
		var e *fault.Error
		if err != nil && (!errors.As(err, &e) || e.Code != fault.CodeQuota || e.Quota == nil) {
			t.Fatalf("%v", err)
		}
		for _, m := range Measures() {
			limit, limited := limits[m]
			over := limited && added[m] > 0 && before[m]+added[m] > limit
			if over && err == nil {
				t.Fatalf("%s: %d of %d, and %d more are not refused", m, before[m], limit, added[m])
			}
			if e != nil && e.Quota.Name == string(m) && (!over || e.Quota.Limit != limit || e.Quota.Used != before[m] || e.Quota.Asked != added[m]) {
				t.Fatalf("%+v", e.Quota)
			}
		}
	})
}

func TestQuotaWords(t *testing.T) {
	t.Parallel()
	err := exceeded("ten_1", Amounts{CPU: 1500}, Amounts{CPU: 2000}, Amounts{CPU: 500, Instances: 1})
	want := "the quota of tenant ten_1 is 1.5 cores of cpu, of which 1.5 cores are used; this takes 0.5 cores more. Delete an instance that is not needed, or ask an operator for a larger quota"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	for _, tt := range []struct {
		m    Measure
		n    int64
		want string
	}{{Memory, 768 << 20, "768 MiB of memory"}, {Disk, 3 << 29, "1.5 GiB of disk"}, {Disk, 1000, "1000 bytes of disk"}, {Instances, 1, "1 instances"}, {JobsPerHour, 60, "60 jobs an hour"}, {Disk, 0, "0 bytes of disk"}} {
		if got := tt.m.Format(tt.n); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestCheckLimits(t *testing.T) {
	t.Parallel()
	if wrong := CheckLimits(Amounts{Instances: 0, CPU: Unlimited, Disk: maxLimit}); wrong != nil {
		t.Errorf("%v", wrong)
	}
	for name, limits := range map[string]Amounts{"unknown": {"cars": 1}, "too low": {CPU: -2}, "too high": {Disk: maxLimit + 1}} {
		if wrong := CheckLimits(limits); len(wrong) != 1 {
			t.Errorf("%s: %v", name, wrong)
		}
	}
}
