// Package sheet reads the files that operators import hosts from, and writes the empty
// template: CSV, and workbooks of spreadsheet programs (Office Open XML). It owns the
// columns of the template and how their cells are written. What a host may be is not its own
// to decide: host.CheckRead does. It must not know where files come from or what is done with
// the hosts.
//
// A file is somebody else's: before a part of a workbook is decoded, its size, nesting and
// order are checked (parts.go, scan.go), and Excelize is given a workbook of two parts only,
// the sheet that is read and the table of strings. No message repeats a cell.
package sheet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// The bounds of a file.
const (
	MaxFile    = 10 << 20 // bytes, as sent
	MaxRows    = 5000     // that are not empty, without the header
	maxColumns = 64
	maxCell    = 16 << 10 // bytes of one cell
)

// Read gives the hosts of a file, which is CSV or an .xlsx workbook: its content tells which.
// The name is for messages only.
//
// Every row gives one candidate, normalized, in the order of the file, also one that is wrong.
// The field errors are all that is wrong in them: what cannot be read, and what
// host.CheckRead finds, in the order of the rows. The error is about the file as a whole:
// CodeInvalidTemplate, or what r fails with.
func Read(r io.Reader, name string) ([]host.Candidate, []fault.FieldError, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read the file of hosts: %w", err)
	}
	all, unread, err := read(data)
	if err != nil {
		return nil, nil, named(err, name)
	}
	wrong := host.CheckRead(all, unread)
	for i := range all {
		all[i] = all[i].Normalized()
	}
	return all, wrong, nil
}

func read(data []byte) ([]host.Candidate, [][]fault.FieldError, error) {
	if len(data) > MaxFile {
		return nil, nil, refuse("is larger than %d MiB", MaxFile>>20)
	}
	t := table{}
	if err := rowsOf(data, t.add); err != nil {
		return nil, nil, err
	}
	return t.hosts()
}

// A row is one row of the file: its number as a spreadsheet shows it, and its cells up to the
// last one that is not empty.
type row struct {
	number int
	cells  []string
}

// rowsOf gives each row of the file that is not empty, in their order.
func rowsOf(data []byte, each func(row) error) error {
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return refuse("is empty")
	case bytes.HasPrefix(data, []byte("PK\x03\x04")), bytes.HasPrefix(data, []byte("PK\x05\x06")):
		return readWorkbook(data, each)
	case bytes.HasPrefix(data, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
		return refuse("is an old .xls workbook, or one with a password; save it as .xlsx without a password")
	default:
		return readCSV(data, each)
	}
}

// refuse makes the error of a file that cannot be read as a template.
func refuse(format string, args ...any) *fault.Error {
	return fault.Errorf(fault.CodeInvalidTemplate, nil, format, args...)
}

// named puts the file's name before the message.
func named(err error, name string) error {
	var refused *fault.Error
	if !errors.As(err, &refused) {
		return err
	}
	answer := *refused
	answer.Message = label(name) + " " + answer.Message
	return &answer
}

// label gives the name of a file for people: its last element.
func label(name string) string {
	name = shown(path.Base(strings.ReplaceAll(name, `\`, "/")))
	if name == "" || name == "." || name == "/" {
		return "the file"
	}
	return name
}

// shown gives a text of the file for people: short, and without what does not show.
func shown(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > 80 {
		text = string(runes[:80]) + "…"
	}
	return text
}

// trim takes the space around a cell away, also what has no width: both come along when
// cells are copied from a web page.
func trim(cell string) string {
	return strings.TrimFunc(cell, func(r rune) bool {
		return unicode.IsSpace(r) || (r >= 0x200b && r <= 0x200d) || r == 0x2060 || r == 0xfeff
	})
}
