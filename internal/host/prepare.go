package host

import (
	"context"
	_ "embed" // the scripts that machines run
	"encoding/base64"
	"regexp"
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/fault"
)

//go:embed scripts/prepare.sh
var prepareScript string

//go:embed scripts/keys.sh
var keysScript string

//go:embed scripts/install-key.sh
var installKeyScript string

//go:embed scripts/remove-key.sh
var removeKeyScript string

// Fix is one thing that Berth can bring into order on a machine. There are no others: nothing
// that a client sends is run there.
type Fix string

// The fixes.
const (
	FixDocker       Fix = "docker"        // install a Docker engine, start it, and let the user use it
	FixNumactl      Fix = "numactl"       // install numactl
	FixSwapOff      Fix = "swap_off"      // turn swap off, now and at boot
	FixSysctls      Fix = "sysctls"       // write /etc/sysctl.d/90-berth.conf, and apply it
	FixMountOptions Fix = "mount_options" // noatime on data disks, nodelalloc on those of ext4
)

// Fixes gives all of them, in the order in which they are made.
func Fixes() []Fix {
	return []Fix{FixDocker, FixNumactl, FixSwapOff, FixSysctls, FixMountOptions}
}

// ParseFix gives the fix of a name. CodeInvalid when there is none.
func ParseFix(name string) (Fix, error) {
	if fix := Fix(name); slices.Contains(Fixes(), fix) {
		return fix, nil
	}
	names := make([]string, 0, len(Fixes()))
	for _, fix := range Fixes() {
		names = append(names, string(fix))
	}
	return "", fault.Errorf(fault.CodeInvalid, nil, "there is no fix %q; there are %s", name, strings.Join(names, ", "))
}

// Prepared is what a fix has come to.
type Prepared struct {
	Fix           Fix
	Before, After string // the state of what it is about, in words
}

// Changed reports whether it has changed anything.
func (p Prepared) Changed() bool { return p.Before != p.After }

// Prepare makes one fix. It may be made again at any time. disks are for FixMountOptions, and for
// no other. After FixDocker a user who is not root must log in anew to use the engine.
//
// A *ScriptError says why the machine could not: its Said is for people.
func Prepare(ctx context.Context, sh Shell, fix Fix, disks ...string) (Prepared, error) {
	if _, err := ParseFix(string(fix)); err != nil {
		return Prepared{}, err
	}
	if (fix == FixMountOptions) != (len(disks) > 0) {
		return Prepared{}, fault.Errorf(fault.CodeInvalid, nil, "%s is for data disks, and the other fixes are not", FixMountOptions)
	}
	if err := checkPaths(disks); err != nil {
		return Prepared{}, err
	}
	out, err := sh.Run(ctx, prepareScript, append([]string{string(fix)}, disks...)...)
	if err != nil {
		return Prepared{}, err
	}
	done := Prepared{Fix: fix}
	whole := false
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "before":
			done.Before = value
		case "after":
			done.After, whole = value, true
		}
	}
	if !whole {
		return Prepared{}, fault.Errorf(fault.CodeInternal, nil, "the machine does not say what came of %s", fix)
	}
	return done, nil
}

// InstallKey lets who has the key log in as the user of the shell. The line is one of
// authorized_keys, without options, as Machines.NewKey gives it.
func InstallKey(ctx context.Context, sh Shell, line string) error {
	kind, key, comment, err := splitKey(line)
	if err != nil {
		return err
	}
	_, err = sh.Run(ctx, keysScript+installKeyScript+callMain, kind, key, comment)
	return err
}

// RemoveKey takes that back, whatever comment and options the key has there.
func RemoveKey(ctx context.Context, sh Shell, line string) error {
	kind, key, _, err := splitKey(line)
	if err != nil {
		return err
	}
	_, err = sh.Run(ctx, keysScript+removeKeyScript+callMain, kind, key)
	return err
}

// callMain ends a script that was put together. Its own text is on the standard input.
const callMain = "\nmain \"$@\" </dev/null\n"

var (
	keyKind    = regexp.MustCompile(`^[a-z0-9][a-z0-9@.-]{0,63}$`)
	keyComment = regexp.MustCompile(`^[^\pC]*$`)
)

// splitKey takes a line of authorized_keys apart. What is no such line never gets into the file.
func splitKey(line string) (kind, key, comment string, err error) {
	parts := strings.SplitN(strings.TrimSpace(line), " ", 3)
	if len(parts) < 2 || !keyKind.MatchString(parts[0]) || len(line) > maxValue {
		return "", "", "", errNoKey
	}
	if raw, err := base64.StdEncoding.Strict().DecodeString(parts[1]); err != nil || len(raw) < 16 {
		return "", "", "", errNoKey
	}
	if len(parts) == 3 {
		comment = strings.TrimSpace(parts[2])
	}
	if strings.ContainsAny(parts[1], "\r\n") || !keyComment.MatchString(comment) {
		return "", "", "", errNoKey
	}
	return parts[0], parts[1], comment, nil
}

var errNoKey = fault.Errorf(fault.CodeInvalid, nil, "this is no line of authorized_keys: it must be TYPE KEY COMMENT, "+
	"without options")
