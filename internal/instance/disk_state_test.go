package instance

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/internal/host"
)

func TestDiskStateNext(t *testing.T) {
	const limit = 1000
	for _, test := range []struct {
		before DiskState
		used   int64
		want   DiskState
	}{
		{"", 0, DiskOK},
		{"", 799, DiskOK},
		{"", 800, DiskWarning},
		{DiskOK, 949, DiskWarning},
		{DiskOK, 950, DiskCritical},
		{DiskOK, 999, DiskCritical},
		{DiskOK, 1000, DiskFull},
		{DiskOK, 5000, DiskFull},
		{DiskFull, 950, DiskFull},
		{DiskFull, 949, DiskCritical},
		{DiskFull, 899, DiskWarning},
		{DiskFull, 749, DiskOK},
		{DiskCritical, 999, DiskCritical},
		{DiskCritical, 900, DiskCritical},
		{DiskCritical, 899, DiskWarning},
		{DiskWarning, 750, DiskWarning},
		{DiskWarning, 749, DiskOK},
	} {
		if got := test.before.Next(test.used, limit); got != test.want {
			t.Errorf("%q with %d of %d used is %s, want %s", test.before, test.used, limit, got, test.want)
		}
	}
}

// TestDiskStateSettles has any use lead to a state that stays, and full exactly where writes
// must be refused.
func TestDiskStateSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 1<<50).Draw(t, "limit")
		used := rapid.Int64Range(0, 1<<51).Draw(t, "used")
		before := rapid.SampledFrom([]DiskState{"", DiskOK, DiskWarning, DiskCritical, DiskFull}).Draw(t, "before")
		next := before.Next(used, limit)
		if again := next.Next(used, limit); again != next {
			t.Errorf("%s becomes %s, and %s with the next look", before, next, again)
		}
		if used >= limit && next != DiskFull {
			t.Errorf("%d of %d are used, and it is %s", used, limit, next)
		}
		if float64(used) < 0.94*float64(limit) && next == DiskFull {
			t.Errorf("%d of %d are used, and it is full still", used, limit)
		}
	})
}

// TestDiskUsedBound has no way of writing and deleting take more than the limit and its slack.
func TestDiskUsedBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := host.Resources{DiskBytes: rapid.Int64Range(1, 1<<45).Draw(t, "limit")}
		files := rapid.Int64Range(0, 1<<46).Draw(t, "files")
		free := rapid.Int64Range(0, files).Draw(t, "free")
		used := DiskUsed(files, free, size)
		if files >= size.DiskBytes+size.DiskSlack() && used < size.DiskBytes {
			t.Errorf("files of %d bytes, %d free in them, count %d against %d", files, free, used, size.DiskBytes)
		}
		if used > files || used < 0 {
			t.Errorf("files of %d bytes count %d", files, used)
		}
	})
}

func TestDiskPause(t *testing.T) {
	const limit, every = int64(10 << 30), 30 * time.Second
	at := func(seconds int, used int64, state DiskState) Disk {
		return Disk{State: state, UsedBytes: used, SeenAt: time.Unix(int64(seconds), 0)}
	}
	for name, test := range map[string]struct {
		before, now Disk
		every       time.Duration
		want        time.Duration
	}{
		"the first look":               {Disk{}, at(0, 1<<30, DiskOK), every, every},
		"far from it, and still":       {at(0, 1<<30, DiskOK), at(30, 1<<30, DiskOK), every, every},
		"a slow schedule":              {at(0, 1<<30, DiskOK), at(30, 1<<30, DiskOK), time.Hour, time.Minute},
		"growing by 100 MiB a second":  {at(0, 1<<30, DiskOK), at(30, 1<<30+3000<<20, DiskOK), every, 30712 * time.Millisecond},
		"the same after a long peace":  {at(0, 1<<30, DiskOK), at(9000, 1<<30+3000<<20, DiskOK), every, 30712 * time.Millisecond},
		"growing by 200 MiB a second":  {at(0, 1<<30, DiskOK), at(30, 1<<30+6000<<20, DiskOK), every, 8040 * time.Millisecond},
		"near it":                      {at(0, limit-160<<20, DiskCritical), at(30, limit-160<<20, DiskCritical), every, 10 * time.Second},
		"at it":                        {at(0, limit-1, DiskCritical), at(30, limit-1, DiskCritical), every, 2 * time.Second},
		"full":                         {at(0, limit, DiskCritical), at(30, limit, DiskFull), every, 5 * time.Second},
		"full with a shorter schedule": {at(0, limit, DiskCritical), at(30, limit, DiskFull), time.Second, time.Second},
	} {
		want := min(test.want, test.every)
		if got := diskPause(test.before, test.now, limit, test.every); got.Round(time.Millisecond) != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
