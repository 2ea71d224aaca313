package sheet

import (
	"errors"
	"fmt"
	"strings"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// A table turns the rows of a file into candidates. Its first row is the header.
type table struct {
	layout layout
	header bool // it is read
	all    []host.Candidate
	unread [][]fault.FieldError // of each candidate
}

// add reads the next row.
func (t *table) add(r row) (err error) {
	if len(r.cells) > maxColumns {
		return refuse("has more than %d columns", maxColumns)
	}
	if !t.header {
		t.header = true
		t.layout, err = layoutOf(r.cells)
		return err
	}
	if len(t.all) == MaxRows {
		return refuse("has more than %d rows; import it in parts", MaxRows)
	}
	c, unread := t.candidate(r)
	t.all, t.unread = append(t.all, c), append(t.unread, unread)
	return nil
}

func (t *table) hosts() ([]host.Candidate, [][]fault.FieldError, error) {
	if len(t.all) == 0 {
		return nil, nil, refuse("has no hosts: there is no row below the names of the columns")
	}
	return t.all, t.unread, nil
}

// unread collects the cells of a row, or the columns of a header, that cannot be read.
type unread []fault.FieldError

func (u *unread) add(field string, err error) {
	var at *elementError
	if errors.As(err, &at) {
		field += at.path
	}
	if err != nil {
		*u = append(*u, fault.FieldError{Field: field, Message: err.Error()})
	}
}

// say does so in words.
func (u *unread) say(field, format string, args ...any) { u.add(field, fmt.Errorf(format, args...)) }

// candidate reads a row. Cells that it does not have are empty.
func (t *table) candidate(r row) (host.Candidate, []fault.FieldError) {
	var wrong unread
	cells := make([]string, len(columns))
	for i, cell := range r.cells {
		if i >= len(t.layout) || t.layout[i] == noColumn {
			if trim(cell) != "" {
				wrong.say("columns."+letters(i), "has a cell, but the column has no name")
			}
			continue
		}
		which := t.layout[i]
		if isError(cell) {
			wrong.say(columns[which].field, "is the error of a formula")
			continue
		}
		if which != colPassword {
			cell = asTyped(trim(cell))
		} else if lostDigits.MatchString(cell) {
			wrong.say(columns[which].field, "is a number whose last digits are lost; format the cell as text, and type it again")
		}
		cells[which] = cell
	}
	c := host.Candidate{
		Row: r.number, Name: cells[colName], User: cells[colUser], Password: secret.New(cells[colPassword]),
		Region: cells[colRegion], Zone: cells[colZone], Rack: cells[colRack],
		Arch: cells[colArch], OS: cells[colOS], Kernel: cells[colKernel],
		NIC: cells[colNIC], Purpose: cells[colPurpose], Component: cells[colComponent],
	}
	var err error
	c.Address, c.Endpoint, err = reach(cells)
	wrong.add("address", err)
	c.CPUMillis, err = parseNumber(cells[colCPU], 1000)
	wrong.add("cpu", err)
	c.MemoryBytes, err = parseNumber(cells[colMemory], gib)
	wrong.add("memory", err)
	c.Labels, err = parseLabels(cells[colLabels])
	wrong.add("labels", err)
	kind, err := parseDiskType(cells[colDiskType])
	wrong.add("disk_type", err)
	c.Disks, err = parseDisks(cells[colDisks], kind)
	wrong.add("disks", err)
	return c, wrong
}

// reach gives a host's address and endpoint. A port behind the address is SSH's.
func reach(cells []string) (address, endpoint string, err error) {
	address, port, ok := host.SplitAddress(cells[colAddress])
	endpoint = cells[colEndpoint]
	switch {
	case !ok:
		return "", endpoint, errors.New("has a port that is none: write 10.0.0.7:2222 or [fd00::7]:2222")
	case port == "":
		return address, endpoint, nil
	case endpoint != "":
		return address, endpoint, errors.New("has a port, and there is an endpoint, too: leave one of them out")
	default:
		return address, host.SSHEndpoint(cells[colUser], address, port), nil
	}
}

// isError reports whether a cell is what spreadsheet programs show of a formula that failed.
func isError(cell string) bool {
	switch strings.TrimSpace(cell) {
	case "#REF!", "#N/A", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!", "#CALC!", "#GETTING_DATA":
		return true
	}
	return false
}

// maxLabels bounds what is kept of a cell of labels; host.Candidate.Check allows fewer.
const maxLabels = 64

// parseLabels reads "name=value;name2=value2".
func parseLabels(cell string) (map[string]string, error) {
	if cell == "" {
		return nil, nil
	}
	labels := map[string]string{}
	for pair := range strings.SplitSeq(cell, ";") {
		if pair = trim(pair); pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		key, value = trim(key), trim(value)
		if _, twice := labels[key]; twice {
			return nil, errors.New("have the same name twice")
		}
		if !ok || key == "" {
			return nil, errors.New("must be name=value;name2=value2")
		}
		if labels[key] = value; len(labels) > maxLabels {
			return nil, fmt.Errorf("are more than %d", maxLabels)
		}
	}
	return labels, nil
}
