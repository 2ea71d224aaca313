package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/instance"
	"github.com/berth-project/berth/internal/tenant"
)

// FuzzPortRange: a range that is taken is one of ports that instances may have, and is read
// the same again.
func FuzzPortRange(f *testing.F) {
	for _, text := range []string{"20000-29999", " 1024 - 65535 ", "20000", "-", "1-2", "3000-2000", "20000-65536", "-1-20000", "20000--20001", "2e4-3e4", "٣-٤", "20000-29999-1", "99999999999999999999-1", "\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := Config{PortRange: text}
		if !c.parsePorts() {
			return
		}
		if c.PortLow < 1024 || c.PortHigh > 65535 || c.PortLow > c.PortHigh {
			t.Errorf("%q: %d to %d", text, c.PortLow, c.PortHigh)
		}
		again := Config{PortRange: fmt.Sprintf("%d-%d", c.PortLow, c.PortHigh)}
		if !again.parsePorts() || again.PortLow != c.PortLow || again.PortHigh != c.PortHigh {
			t.Errorf("%q, then %+v", text, again)
		}
	})
}

// FuzzDefaultQuota: limits that are taken are ones that a tenant may have, and are read the
// same again.
func FuzzDefaultQuota(f *testing.F) {
	for _, text := range []string{
		"instances=20,cpu=16,memory=64gb,disk=500gb,ports=20,jobs_per_hour=200", "", ",", "=", "cpu=-1", "cpu=NaN", "cpu=Inf", "cpu=1e9", "cpu=0x1p-2", "cpu=1_0", "cpu=-0", "cpu=0.0004",
		"instances=-1", "instances=+1", "memory=8589934592gb", "memory=9007199254740991", "cpu=1,cpu=2", "cars=1", "instances=1,\ninstances=2", "\xff=1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		limits, err := parseQuota(text)
		if err != nil {
			return
		}
		if wrong := tenant.CheckLimits(limits); wrong != nil {
			t.Errorf("%q: %v", text, wrong)
		}
		var parts []string
		for m, limit := range limits {
			value := strconv.FormatInt(limit, 10)
			if m == tenant.CPU && limit != tenant.Unlimited {
				value = strconv.FormatFloat(float64(limit)/1000, 'f', -1, 64)
			}
			parts = append(parts, string(m)+"="+value)
		}
		if again, err := parseQuota(strings.Join(parts, ",")); err != nil || !maps.Equal(again, limits) {
			t.Errorf("%q: %v, then %v, %v", text, limits, again, err)
		}
	})
}

// FuzzWarmPool: a pool that is taken is read the same again.
func FuzzWarmPool(f *testing.F) {
	for _, text := range []string{"redis:small=4, mysql@9.7:large=2,", "", ",,", "redis", "redis:small=1000", "redis@:small=1", "redis:small=4\nmysql:small=1", "a:b=٣", "\xff:x=1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseWarm(text)
		if err != nil {
			return
		}
		var parts []string
		for _, w := range list {
			if w.Count < 0 || w.Count > 999 || w.Engine == "" || w.Plan == "" {
				t.Errorf("%q: %+v", text, w)
			}
			parts = append(parts, written(w))
		}
		if again, err := parseWarm(strings.Join(parts, ",")); err != nil || !slices.Equal(again, list) {
			t.Errorf("%q: %v, then %v, %v", text, list, again, err)
		}
	})
}

func written(w instance.Warm) string {
	version := ""
	if w.Version != "" {
		version = "@" + w.Version
	}
	return fmt.Sprintf("%s%s:%s=%d", w.Engine, version, w.Plan, w.Count)
}

// FuzzSetting: whatever a setting is, it is refused by its name or within what its
// documentation says, and what may hold a secret is in no error.
func FuzzSetting(f *testing.F) {
	var names []string
	for field := range reflect.TypeFor[Config]().Fields() {
		if name := field.Tag.Get("env"); name != "-" {
			names = append(names, name)
			f.Add(uint8(len(names)-1), field.Tag.Get("envDefault")) //nolint:gosec // fewer than 256
		}
	}
	for n := range names {
		for _, text := range []string{"-1", "99999999999h", "1e400", "-1ns", "\x00", "\xff", "::1", "0", "NaN", "topsecret://topsecret"} {
			f.Add(uint8(n), text) //nolint:gosec // fewer than 256
		}
	}
	secrets := []string{"DATABASE_URL", "REDIS_URL", "MASTER_KEY", "ADMIN_KEY"}
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		name := names[int(which)%len(names)]
		if strings.ContainsRune(text, 0) { // no environment has it
			return
		}
		environ := append(slices.Clone(production), "BERTH_"+name+"="+text)
		c, err := Load(API, environ)
		if err != nil {
			if !strings.Contains(err.Error(), "BERTH_") {
				t.Errorf("%s=%q: %v", name, text, err)
			}
			if slices.Contains(secrets, name) && len(text) > 8 && strings.Contains(err.Error(), text) {
				t.Errorf("%s: the error shows the value: %v", name, err)
			}
			return
		}
		for what, d := range map[string]time.Duration{
			"LEASE_TTL": c.LeaseTTL, "RECONCILE_EVERY": c.ReconcileEvery, "PROBE_EVERY": c.ProbeEvery, "SESSION_IDLE": c.SessionIdle, "SESSION_MAX_AGE": c.SessionMaxAge,
			"RETENTION": c.Retention, "EVENT_RETENTION": c.EventRetention, "KEEP_FAILED": c.KeepFailed, "WARM_MAX_AGE": c.WarmMaxAge, "PORT_QUARANTINE": c.PortQuarantine,
		} {
			if d <= 0 {
				t.Errorf("%s=%q: %s is %s", name, text, what, d)
			}
		}
		if c.ShutdownTimeout < 0 || c.DrainDelay < 0 || c.ReconcileGrace < 0 || c.MaxJobs < 1 || c.MaxJobsPerTenant < 1 || c.WorkerConcurrency < 1 {
			t.Errorf("%s=%q: %+v", name, text, c)
		}
	})
}
