package fencing_test

import (
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host/fencing"
)

var (
	claim   = fencing.Claim{Deployment: "dep", Unit: "ins_1", Fence: 2}
	foreign = &fencing.Mark{Deployment: "another", Fence: 2}
	nobodys = &fencing.Mark{}
	older   = &fencing.Mark{Deployment: "dep", Fence: 1}
	same    = &fencing.Mark{Deployment: "dep", Fence: 2}
	newer   = &fencing.Mark{Deployment: "dep", Fence: 3}
)

func check(t *testing.T, what string, got, want any, err error, code fault.Code) {
	t.Helper()
	var failed fault.Code
	if err != nil {
		failed = fault.CodeOf(err)
	}
	if got != want || failed != code {
		t.Errorf("%s: %v, %q (%v), want %v, %q", what, got, failed, err, want, code)
	}
}

func TestCreateVolume(t *testing.T) {
	for _, test := range []struct {
		what     string
		there    *fencing.Mark
		keepData bool
		create   bool
		code     fault.Code
	}{
		{"nothing", nil, false, true, ""},
		{"nothing of the data", nil, true, false, fault.CodeDataLost},
		{"another deployment's", foreign, false, false, fault.CodeInternal},
		{"another deployment's in the place of the data", foreign, true, false, fault.CodeDataLost},
		{"nobody's", nobodys, false, false, fault.CodeInternal},
		{"older", older, false, false, ""},
		{"older, with the data", older, true, false, ""},
		{"same", same, false, false, ""},
		{"newer", newer, false, false, fault.CodeFenced},
		{"newer, with the data", newer, true, false, fault.CodeFenced},
	} {
		create, err := claim.CreateVolume(test.there, test.keepData)
		check(t, test.what, create, test.create, err, test.code)
	}
}

func TestCreateContainer(t *testing.T) {
	for _, test := range []struct {
		what    string
		there   *fencing.Mark
		asAsked bool
		create  bool
		code    fault.Code
	}{
		{"nothing", nil, false, true, ""},
		{"another deployment's", foreign, true, false, fault.CodeInternal},
		{"nobody's", nobodys, true, false, fault.CodeInternal},
		{"older", older, true, true, ""},
		{"same, as asked", same, true, false, ""},
		{"same, incomplete or with another port", same, false, true, ""},
		{"newer", newer, true, false, fault.CodeFenced},
	} {
		create, err := claim.CreateContainer(test.there, test.asAsked)
		check(t, test.what, create, test.create, err, test.code)
	}
}

func TestUse(t *testing.T) {
	for _, test := range []struct {
		what                string
		there               *fencing.Mark
		use, stopped, looks fault.Code
	}{
		{"nothing", nil, fault.CodeNotFound, fault.CodeNotFound, fault.CodeNotFound},
		{"another deployment's", foreign, fault.CodeNotFound, fault.CodeNotFound, fault.CodeNotFound},
		{"nobody's", nobodys, fault.CodeNotFound, fault.CodeNotFound, fault.CodeNotFound},
		{"older", older, "", fault.CodeNotFound, ""},
		{"same", same, "", fault.CodeNotFound, ""},
		{"newer", newer, fault.CodeFenced, fault.CodeFenced, ""},
	} {
		look := claim
		look.Fence = fencing.Any
		check(t, test.what+", to use", nil, nil, claim.Use(test.there), test.use)
		check(t, test.what+", to use while it runs", nil, nil, claim.UseRunning(test.there, true), test.use)
		check(t, test.what+", to use while it does not run", nil, nil, claim.UseRunning(test.there, false), test.stopped)
		check(t, test.what+", to look at", nil, nil, look.Use(test.there), test.looks)
	}
}

func TestRemove(t *testing.T) {
	for _, test := range []struct {
		what              string
		container, volume *fencing.Mark
		data              bool
		want              fencing.Removal
		code              fault.Code
	}{
		{"nothing", nil, nil, true, fencing.Removal{}, fault.CodeNotFound},
		{"others' things", foreign, nobodys, true, fencing.Removal{}, fault.CodeNotFound},
		{"both", same, older, true, fencing.Removal{Container: true, Volume: true}, ""},
		{"both, without data", same, older, false, fencing.Removal{Container: true}, ""},
		{"a volume", nil, same, true, fencing.Removal{Volume: true}, ""},
		{"a volume, without data", nil, same, false, fencing.Removal{}, fault.CodeNotFound},
		{"a volume beside somebody's container", nobodys, same, true, fencing.Removal{Volume: true}, ""},
		{"a newer container", newer, older, true, fencing.Removal{}, fault.CodeFenced},
		{"a newer volume", older, newer, true, fencing.Removal{}, fault.CodeFenced},
		{"a newer volume, without data", older, newer, false, fencing.Removal{Container: true}, ""},
	} {
		got, err := claim.Remove(test.container, test.volume, test.data)
		check(t, test.what, got, test.want, err, test.code)
		ignored := test.code
		if ignored == fault.CodeNotFound {
			ignored = ""
		}
		check(t, test.what+", gone being success", nil, nil, fencing.IgnoreGone(err), ignored)
	}
}

func TestPortRefused(t *testing.T) {
	check(t, "a port", nil, nil, claim.PortRefused(22001), fault.CodePortRefused)
}
