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
