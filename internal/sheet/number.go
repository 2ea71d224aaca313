package sheet

import (
	"errors"
	"math"
	"regexp"
	"strconv"
)

const gib = 1 << 30

// numberPattern is what numbers look like, in a workbook and as people write them: "16",
// "16.0", "1.6E1".
var numberPattern = regexp.MustCompile(`^[0-9]{1,15}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,2})?$`)

var (
	errNumber = errors.New(`must be a number such as 16 or 16.5, without a unit and without "," in it`)
	errZero   = errors.New("must be more than 0; leave it empty for what is found on the host")
	errLarge  = errors.New("is too large")
)

var (
	// longFraction is a number as a workbook has it where it has no short form in binary.
	longFraction = regexp.MustCompile(`^[0-9]{1,6}\.[0-9]{11,20}$`)
	// lostDigits is a whole number of more than 15 digits, of which a spreadsheet keeps 15.
	lostDigits = regexp.MustCompile(`^[0-9](\.[0-9]+)?[eE]\+[0-9]{2}$`)
)

// asTyped gives a number as it was typed: a version 6.1 is 6.0999999999999996 in a workbook.
func asTyped(cell string) string {
	if !longFraction.MatchString(cell) {
		return cell
	}
	n, err := strconv.ParseFloat(cell, 64)
	if short := strconv.FormatFloat(n, 'f', -1, 64); err == nil && len(short) < len(cell) {
		return short
	}
	return cell
}

// parseNumber reads a number in units of so many, 0 for an empty cell. It is rounded to a
// whole one.
func parseNumber(cell string, unit float64) (int64, error) {
	if cell == "" {
		return 0, nil
	}
	if !numberPattern.MatchString(cell) {
		return 0, errNumber
	}
	n, err := strconv.ParseFloat(cell, 64)
	if err != nil {
		return 0, errNumber
	}
	switch n = math.Round(n * unit); {
	case n < 1:
		return 0, errZero
	case n > 1<<53:
		return 0, errLarge
	default:
		return int64(n), nil
	}
}
