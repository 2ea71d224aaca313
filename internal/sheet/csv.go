package sheet

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// readCSV gives the rows of comma-, semicolon- or tab-separated values (RFC 4180) in UTF-8. A
// row has the number that a spreadsheet program shows, which is not that of its line: cells
// may have several lines, and empty lines are rows.
func readCSV(data []byte, each func(row) error) error {
	data, err := cleanCSV(data)
	if err != nil {
		return err
	}
	data, comma := separatorOf(data)
	if widest(data, comma) > maxColumns {
		return refuse("has more than %d columns", maxColumns)
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.Comma, r.FieldsPerRecord = comma, -1
	number, end := 0, int64(0)
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		number += 1 + emptyLines(data[end:])
		end = r.InputOffset()
		if err != nil {
			return csvError(err, number)
		}
		if err := eachRow(number, cells, each); err != nil {
			return err
		}
	}
}

// eachRow hands a row on unless it is empty, without the empty cells at its end. A cell of spaces is
// not empty in a row that has something: it may be a password.
func eachRow(number int, cells []string, each func(row) error) error {
	last, something := 0, false
	for i, cell := range cells {
		if len(cell) > maxCell {
			return refuse("has a cell of more than %d KiB in row %d", maxCell>>10, number)
		}
		if cell != "" {
			last = i + 1
		}
		something = something || trim(cell) != ""
	}
	if !something {
		return nil
	}
	return each(row{number, cells[:last]})
}

// cleanCSV takes the mark of UTF-8 away and makes all ends of lines alike.
func cleanCSV(data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, refuse("is UTF-16; save it as CSV UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data) {
		return nil, refuse("is neither an .xlsx workbook nor CSV in UTF-8; save it as CSV UTF-8 or as .xlsx")
	}
	if bytes.IndexByte(data, '\n') < 0 { // old spreadsheet programs end lines with a return alone
		data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	}
	return data, nil
}

// separatorOf finds out how cells are separated, by which separator gives the header the most
// names of columns. Excel's line "sep=;" says so itself; it is no row.
func separatorOf(data []byte) ([]byte, rune) {
	if first, rest, _ := bytes.Cut(data, []byte("\n")); bytes.HasPrefix(first, []byte("sep=")) {
		if s := bytes.TrimSuffix(first[4:], []byte("\r")); len(s) == 1 && strings.ContainsRune(",;\t", rune(s[0])) {
			return rest, rune(s[0])
		}
	}
	best, comma := -1, ','
	for _, candidate := range ",;\t" {
		r := csv.NewReader(bytes.NewReader(data[:min(len(data), 64<<10)]))
		r.Comma, r.FieldsPerRecord = candidate, -1
		cells, err := r.Read()
		if err != nil {
			continue
		}
		if score := known(cells)<<20 + len(cells); score > best {
			best, comma = score, candidate
		}
	}
	return data, comma
}

// widest gives how many cells the widest row has. It is counted before anything is decoded,
// which takes 24 bytes of memory for a cell of one byte.
func widest(data []byte, comma rune) (most int) {
	quoted, n := false, 1
	for _, b := range data {
		switch {
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '\n':
			n = 1
		case rune(b) == comma:
			n++
			most = max(most, n)
		}
	}
	return most
}

// emptyLines counts the lines at the beginning that have nothing in them: the reader passes
// over them without a word.
func emptyLines(data []byte) (n int) {
	for {
		switch {
		case bytes.HasPrefix(data, []byte("\n")):
			data = data[1:]
		case bytes.HasPrefix(data, []byte("\r\n")):
			data = data[2:]
		default:
			return n
		}
		n++
	}
}

// csvError says what is wrong with the quotes of a row, without repeating it.
func csvError(err error, number int) error {
	switch {
	case errors.Is(err, csv.ErrBareQuote):
		return refuse("has a quote within a cell without quotes in row %d; put the cell in quotes, and double those in it",
			number)
	case errors.Is(err, csv.ErrQuote):
		return refuse("has a cell in row %d whose quotes do not end where the cell does", number)
	default:
		return refuse("cannot be read as CSV from row %d on", number)
	}
}
