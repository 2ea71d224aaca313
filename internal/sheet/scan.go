package sheet

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
)

// The bounds of a part of XML. They are checked before it is decoded, since what is decoded
// takes up to a hundred times the memory of what is written.
const (
	maxTag      = 256 << 10 // bytes from one < to the next
	maxDepth    = 64
	maxElements = 4096    // within a cell or a string
	maxStrings  = 250_000 // in the table of strings
	maxRuns     = 1_000_000
	maxText     = 16 << 20 // bytes of all cells
	maxMarks    = 200_000
	maxRowTags  = 100_000 // also of empty rows
	lastRow     = 1 << 20
	lastColumn  = 1 << 14
)

var errXML = refuse("has entities or a document type in it, which no spreadsheet program writes")

// checkTags bounds tags with their attributes: a decoder keeps all attributes of a tag.
func checkTags(data []byte) error {
	for len(data) > 0 {
		next := bytes.IndexByte(data[1:], '<')
		if next < 0 {
			next = len(data) - 1
		}
		if next > maxTag {
			return refuse("has a cell of more than %d KiB", maxCell>>10)
		}
		data = data[next+1:]
	}
	return nil
}

// A visit is called for a token with its depth and where it ends.
type visit func(token xml.Token, depth int, end int64) error

// walk gives each token of a part, which must be well-formed to its end.
func walk(data []byte, each visit) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	for depth := 0; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errDamaged
		}
		switch token.(type) {
		case xml.Directive:
			return errXML
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return errDamaged
			}
		case xml.EndElement:
			depth--
		}
		if err := each(token, depth, d.InputOffset()); err != nil {
			return err
		}
	}
}

// checkXML checks a part that is decoded as a whole.
func checkXML(data []byte) error { return walk(data, func(xml.Token, int, int64) error { return nil }) }

// A length is how much a text is to decode. Marks are its underscores: two enclose an escape
// ("_x000D_"), which Excelize takes long to decode.
type length struct{ size, marks int }

func (l *length) add(text []byte) {
	l.size += len(text)
	l.marks += bytes.Count(text, []byte("_"))
}

// scanStrings gives the length of each string of the table.
func scanStrings(data []byte) (sizes []length, err error) {
	within, runs := 0, 0
	err = walk(data, func(token xml.Token, depth int, _ int64) error {
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "si" {
				if depth != 2 {
					return errDamaged
				}
				sizes, within = append(sizes, length{}), 0
			}
			within, runs = within+1, runs+1
		case xml.CharData:
			if len(sizes) > 0 {
				sizes[len(sizes)-1].add(token)
			}
		}
		if within > maxElements || len(sizes) > maxStrings || runs > maxRuns {
			return refuse("has too many strings, or one with too much formatting")
		}
		return nil
	})
	return sizes, err
}

// A scan checks a sheet before Excelize reads it, which passes over what it cannot read:
// rows must be in order, cells in theirs, and no file may end in the middle.
type scan struct {
	strings []length

	inData, ended   bool // within the rows, behind them
	inCell, inValue bool
	row, column     int // of the last cell
	rows            int
	text            length // of all cells
	cell            cell
}

// A cell is what is known of the cell that is read.
type cell struct {
	length
	kind, value string // the value is cut off
	formula     bool
	elements    int
}

// scanSheet gives where the rows end. What follows is left out: Excelize would take a row for
// one of the table that is part of something else there.
func scanSheet(data []byte, strings []length) (end int64, err error) {
	s := scan{strings: strings}
	err = walk(data, func(token xml.Token, depth int, at int64) error {
		switch token := token.(type) {
		case xml.StartElement:
			return s.start(token, depth)
		case xml.EndElement:
			if depth == 1 && s.inData {
				s.inData, s.ended, end = false, true, at
			}
			return s.finish(token)
		case xml.CharData:
			s.chars(token)
			if s.cell.size > 2*maxCell {
				return s.tooLarge()
			}
		}
		return nil
	})
	if err == nil && !s.ended {
		return 0, errDamaged
	}
	return end, err
}

// start begins an element. Rows and cells stand where they belong only.
func (s *scan) start(e xml.StartElement, depth int) error {
	name := e.Name.Local
	switch {
	case s.ended && name != "sheetData":
	case name == "sheetData":
		if s.inData || s.ended || depth != 2 {
			return errDamaged
		}
		s.inData = true
	case name == "row":
		if !s.inData || s.inCell || depth != 3 {
			return errDamaged
		}
		return s.startRow(e)
	case name == "c":
		if !s.inData || s.inCell || depth != 4 {
			return errDamaged
		}
		return s.startCell(e)
	case s.inCell:
		if s.cell.elements++; s.cell.elements > maxElements {
			return refuse("has a cell with too much formatting: %s", s.at())
		}
		s.inValue = name == "v"
		s.cell.formula = s.cell.formula || name == "f"
	}
	return nil
}

func (s *scan) startRow(e xml.StartElement) error {
	number, err := strconv.Atoi(attribute(e, "r", strconv.Itoa(s.row+1)))
	if err != nil || ambiguous(e) || number <= s.row || number > lastRow {
		return errDamaged
	}
	if s.rows++; s.rows > maxRowTags {
		return refuse("has more than %d rows, also empty ones; delete those behind the last host", maxRowTags)
	}
	s.row, s.column = number, 0
	return nil
}

func (s *scan) startCell(e xml.StartElement) error {
	column := s.column + 1
	if _, err := strconv.Atoi(attribute(e, "s", "0")); err != nil || ambiguous(e) {
		return errDamaged
	}
	if reference := attribute(e, "r", ""); reference != "" {
		var row int
		if column, row = coordinates(reference); row != s.row {
			return errDamaged
		}
	}
	if column <= s.column || column > lastColumn {
		return errDamaged
	}
	s.column, s.inCell, s.inValue = column, true, false
	s.cell = cell{kind: attribute(e, "t", "n")}
	return nil
}

// chars counts the text of a cell. Of its value, no more is kept than an index has.
func (s *scan) chars(text []byte) {
	if !s.inCell {
		return
	}
	s.cell.add(text)
	if s.inValue && len(s.cell.value) < 64 {
		s.cell.value += string(text[:min(len(text), 64)])
	}
}

// finish ends an element: of a cell its text is known then.
func (s *scan) finish(e xml.EndElement) error {
	switch name := e.Name.Local; {
	case name == "v":
		s.inValue = false
	case name == "c" && s.inCell:
		s.inCell = false
		return s.endCell()
	}
	return nil
}

func (s *scan) endCell() error {
	c, text := &s.cell, s.cell.length
	if c.formula && strings.TrimSpace(c.value) == "" && c.kind != "str" {
		return refuse("has a formula without a result in %s; open the file in a spreadsheet program and save it",
			s.at())
	}
	if c.kind == "s" && c.value != "" {
		i, err := strconv.Atoi(strings.TrimSpace(c.value))
		if err != nil || i < 0 || i >= len(s.strings) {
			return errDamaged
		}
		text = s.strings[i]
	}
	if text.size > maxCell {
		return s.tooLarge()
	}
	s.text.size, s.text.marks = s.text.size+text.size, s.text.marks+text.marks
	if s.text.size > maxText || s.text.marks > maxMarks {
		return refuse("has more than %d MiB of text, or %d underscores; import it in parts", maxText>>20, maxMarks)
	}
	if text.size > 0 && s.column > maxColumns {
		return refuse("has more than %d columns", maxColumns)
	}
	return nil
}

func (s *scan) tooLarge() error {
	return refuse("has a cell of more than %d KiB: %s", maxCell>>10, s.at())
}

// at names the cell.
func (s *scan) at() string { return letters(s.column-1) + strconv.Itoa(s.row) }

// ambiguous reports whether an element has two attributes whose names differ by their
// namespaces only, which Excelize does not tell apart.
func ambiguous(e xml.StartElement) bool {
	for i, a := range e.Attr {
		for _, b := range e.Attr[:i] {
			if a.Name.Local == b.Name.Local || i > 32 {
				return true
			}
		}
	}
	return false
}

// attribute gives an attribute, or what it is when it is missing.
func attribute(e xml.StartElement, name, missing string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return missing
}

// coordinates reads the name of a cell: the column and the row of "C7" are 3 and 7. A name
// that is none gives zeros.
func coordinates(name string) (column, row int) {
	digits := strings.TrimLeft(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	for _, letter := range name[:len(name)-len(digits)] {
		if column = column*26 + int(letter-'A') + 1; column > lastColumn {
			return 0, 0
		}
	}
	row, err := strconv.Atoi(digits)
	if err != nil || row < 1 || row > lastRow || digits[0] < '1' || digits[0] > '9' {
		return 0, 0
	}
	return column, row
}
