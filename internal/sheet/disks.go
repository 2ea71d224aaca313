package sheet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/berth-project/berth/internal/host"
)

// parseDiskType reads the type of a host's disks. Empty: none is declared.
func parseDiskType(cell string) (host.DiskType, error) {
	switch fold(cell) {
	case "":
		if cell == "" {
			return "", nil
		}
	case "nvme", "nvmessd":
		return host.DiskNVMe, nil
	case "ssd":
		return host.DiskSSD, nil
	case "hdd", "sata", "sas":
		return host.DiskHDD, nil
	}
	return "", errors.New("must be nvme, ssd or hdd")
}

// An elementError is about one disk or one field of it.
type elementError struct {
	path    string // "[2].capacity"
	message string
}

func (e *elementError) Error() string { return e.message }

var errDisks = errors.New(
	`must be a JSON list such as [{"name":"nvme1n1","capacity":512,"status":"Available","path":"/data1"}]`,
)

// maxDisks bounds what is kept of a cell; host.Candidate.Check allows fewer.
const maxDisks = 256

// parseDisks reads a JSON list of disks, which are of the type unless they have their own. It
// is read token by token: keys that stand twice, are unknown or differ by case are refused.
func parseDisks(cell string, kind host.DiskType) ([]host.DiskSpec, error) {
	if cell == "" {
		return nil, nil
	}
	d := json.NewDecoder(strings.NewReader(cell))
	d.UseNumber()
	if token, err := d.Token(); err != nil || token != json.Delim('[') {
		return nil, errDisks
	}
	var disks []host.DiskSpec
	for d.More() {
		if len(disks) == maxDisks {
			return nil, fmt.Errorf("are more than %d", maxDisks)
		}
		disk, err := parseDisk(d, len(disks))
		if err != nil {
			return nil, err
		}
		if disk.Type == "" {
			disk.Type = kind
		}
		disks = append(disks, disk)
	}
	if token, err := d.Token(); err != nil || token != json.Delim(']') {
		return nil, errDisks
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errDisks
	}
	return disks, nil
}

// parseDisk reads one disk.
func parseDisk(d *json.Decoder, i int) (disk host.DiskSpec, err error) {
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return disk, errDisks
	}
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return disk, errDisks
		}
		at := fmt.Sprintf("[%d].%s", i, key)
		set, known := diskFields[key]
		if !known {
			return disk, &elementError{fmt.Sprintf("[%d]", i),
				"has a key that is not one of name, capacity, status, path, type and enforcement"}
		}
		if seen[key] {
			return disk, &elementError{at, "stands twice"}
		}
		seen[key] = true
		value, err := d.Token()
		if err != nil {
			return disk, errDisks
		}
		if err := set(&disk, value); err != nil {
			return disk, &elementError{at, err.Error()}
		}
	}
	if token, err := d.Token(); err != nil || token != json.Delim('}') {
		return disk, errDisks
	}
	return disk, nil
}

var errText = errors.New("must be a text")

// diskFields set the fields of a disk from a token of JSON.
var diskFields = map[string]func(*host.DiskSpec, json.Token) error{
	"name":     func(d *host.DiskSpec, v json.Token) error { return setText(&d.Name, v) },
	"path":     func(d *host.DiskSpec, v json.Token) error { return setText(&d.Path, v) },
	"capacity": func(d *host.DiskSpec, v json.Token) error { return setCapacity(d, v) },
	"status":   setState,
	"enforcement": func(d *host.DiskSpec, v json.Token) error {
		var text string
		err := setText(&text, v)
		d.Enforcement = host.Enforcement(strings.ToLower(text))
		return err
	},
	"type": func(d *host.DiskSpec, v json.Token) (err error) {
		var text string
		if err := setText(&text, v); err != nil {
			return err
		}
		d.Type, err = parseDiskType(text)
		return err
	},
}

func setText(to *string, v json.Token) error {
	text, ok := v.(string)
	if !ok {
		return errText
	}
	*to = trim(text)
	return nil
}

// setCapacity takes a number of GiB, also one that is written as a text.
func setCapacity(d *host.DiskSpec, v json.Token) (err error) {
	switch v := v.(type) {
	case json.Number:
		d.CapacityBytes, err = parseNumber(v.String(), gib)
	case string:
		d.CapacityBytes, err = parseNumber(trim(v), gib)
	default:
		err = errNumber
	}
	if errors.Is(err, errZero) {
		return errors.New("must be more than 0")
	}
	return err
}

// setState takes the name of a state in any case.
func setState(d *host.DiskSpec, v json.Token) error {
	if err := setText(&d.State, v); err != nil {
		return err
	}
	for _, state := range host.SpecStates {
		if strings.EqualFold(state, d.State) {
			d.State = state
		}
	}
	return nil
}
