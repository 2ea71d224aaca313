package host

import (
	"context"
	_ "embed" // the script that machines run
	"errors"
	"strconv"
	"strings"

	"github.com/berth-project/berth/internal/fault"
)

//go:embed scripts/loop.sh
var loopScript string

// asRoot runs the script that it is put around with the rights of root.
const (
	asRoot = `as=
if [ "$(id -u)" != 0 ]; then
  if ! sudo -n true >/dev/null 2>&1; then
    echo "$(id -un) is neither root nor may run sudo without a password; log in as one who is" >&2
    exit 1
  fi
  as='sudo -n'
fi
exec $as sh -s -- "$@" <<'BERTH_END_OF_SCRIPT'
`
	endAsRoot = "\nBERTH_END_OF_SCRIPT\n"
)

// LoopDisk is a disk of a machine on which each unit has a file system of its own, in a file that the
// unit's share of the disk is taken up by from the beginning. What a server writes beyond it is
// refused to that server, and no other one notices.
//
// Every call may be made again, and at the same time by others. CodeHostUnavailable: the disk is not
// there; CodeHostRefused: the machine will not, for the reason that is said.
type LoopDisk struct {
	Shell Shell
	Path  string
}

// The exit statuses of the script.
const (
	loopNoDisk = 3
	loopInUse  = 4
)

// loopPrefix begins the names of file systems.
const loopPrefix = "berth-"

// LoopFolder gives the folder for the data in the file system of the unit. It is there while that is
// mounted, and only then.
func LoopFolder(disk string, unit UnitID) string {
	return disk + "/" + loopPrefix + string(unit) + "/data"
}

// Ready fails unless file systems can be made on the disk, and marks it: a disk without the mark is
// not mounted, and says nothing of what is on it. So one that is used already is not marked again.
func (d LoopDisk) Ready(ctx context.Context, used bool) error {
	var args []string
	if used {
		args = append(args, "used")
	}
	_, err := d.run(ctx, "ready", args...)
	return err
}

// Make makes the file system of the unit, of so many bytes, if it is not there, and attaches it. It
// gives the mark of the file that it has made; empty: it was there.
func (d LoopDisk) Make(ctx context.Context, unit UnitID, bytes int64) (made string, err error) {
	out, err := d.run(ctx, "make", loopPrefix+string(unit), strconv.FormatInt(bytes, 10))
	marks := values(out, "made")
	if len(marks) > 0 {
		made = marks[0]
	}
	return made, err
}

// Attach mounts the file system of the unit, unless it is. Nothing else is ever taken for it.
// Where its file is not there, another disk may be mounted, or none: CodeHostUnavailable.
func (d LoopDisk) Attach(ctx context.Context, unit UnitID) error {
	_, err := d.run(ctx, "attach", loopPrefix+string(unit))
	return err
}

// Remove unmounts the file system of the unit and deletes it, and comes back when it is confirmed
// gone. With the mark of a file it does so only if it is that file. CodeConflict while something uses it.
func (d LoopDisk) Remove(ctx context.Context, unit UnitID, only string) error {
	_, err := d.run(ctx, "remove", loopPrefix+string(unit), only)
	return err
}

// Units gives the units of which there are file systems.
func (d LoopDisk) Units(ctx context.Context) (units []UnitID, err error) {
	out, err := d.run(ctx, "list")
	for _, name := range values(out, "loop") {
		if unit, ours := strings.CutPrefix(name, loopPrefix); ours {
			units = append(units, UnitID(unit))
		}
	}
	return units, err
}

// Space says how large the disk itself is.
func (d LoopDisk) Space(ctx context.Context) (Space, error) {
	out, err := d.run(ctx, "space")
	if err != nil {
		return Space{}, err
	}
	known := fields{}
	for _, key := range []string{"size", "free"} {
		if v := values(out, key); len(v) == 1 {
			known[key] = v[0]
		}
	}
	return Space{Path: d.Path, SizeBytes: known.number("size"), FreeBytes: known.number("free")}, nil
}

func (d LoopDisk) run(ctx context.Context, verb string, args ...string) (string, error) {
	if err := checkPaths([]string{d.Path}); err != nil {
		return "", err
	}
	out, err := d.Shell.Run(ctx, asRoot+loopScript+endAsRoot, append([]string{verb, d.Path}, args...)...)
	var end *ScriptError
	if !errors.As(err, &end) {
		return out, err
	}
	code := fault.CodeHostRefused
	switch end.Status {
	case loopNoDisk:
		code = fault.CodeHostUnavailable
	case loopInUse:
		code = fault.CodeConflict
	}
	words := end.Said
	if words == "" {
		words = end.Error()
	}
	return out, fault.Errorf(code, err, "%s", words)
}

// values gives the values of the lines KEY=VALUE with the key.
func values(out, key string) (list []string) {
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && name == key {
			list = append(list, value)
		}
	}
	return list
}
