package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/berth-project/berth/internal/client"
)

// printJSON writes one document. Addresses stay readable: nothing here is HTML.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printTable aligns rows; the first one is the heading.
func printTable(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = clean(cell); cells[i] == "" {
				cells[i] = "-"
			}
		}
		if _, err := fmt.Fprintln(t, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// fact is one line of a description.
type fact struct{ name, value string }

// printFacts aligns what is known; what is not is left out.
func printFacts(w io.Writer, facts []fact) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range facts {
		if f.value == "" {
			continue
		}
		if _, err := fmt.Fprintf(t, "%s:\t%s\n", f.name, clean(f.value)); err != nil {
			return err
		}
	}
	return t.Flush()
}

// clean makes one harmless line of a text that came from elsewhere: it cannot move
// the cursor, break a table or pretend to be another line.
func clean(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s))
}

// age tells how long ago something was, as people say it: "45s", "3m", "2h", "5d".
func age(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	d := max(0, now.Sub(then))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// duration is short and steady in width where it changes often: "0.3s", "12.0s", "2m05s".
func duration(d time.Duration) string {
	d = max(0, d)
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", math.Floor(d.Seconds()*10)/10)
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}

func stamp(t time.Time, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339) + " (" + age(now, t) + " ago)"
}

func bytesText(n int64) string {
	if n <= 0 {
		return ""
	}
	return humanize.IBytes(uint64(n))
}

func resourcesText(r client.Resources) string {
	var parts []string
	if r.CPU > 0 {
		parts = append(parts, strconv.FormatFloat(r.CPU, 'g', -1, 64)+" cpu")
	}
	if r.Memory > 0 {
		parts = append(parts, bytesText(r.Memory)+" memory")
	}
	if r.Disk > 0 {
		parts = append(parts, bytesText(r.Disk)+" disk")
	}
	return strings.Join(parts, ", ")
}

// pairs writes a map in a steady order.
func pairs[V any](m map[string]V) string {
	parts := make([]string, 0, len(m))
	for k, v := range m {
		parts = append(parts, k+"="+valueText(v))
	}
	sort.Strings(parts)
	return strings.Join(parts, ", ")
}

// valueText writes a decoded JSON value. Whole numbers stay whole: JSON's are
// floats in Go, and would turn into 6.7108864e+07.
func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

func endpointText(e *client.Endpoint) string {
	if e == nil {
		return ""
	}
	return e.Host + ":" + strconv.Itoa(e.Port)
}

// parseBytes reads "512mb", "1.5GiB" or a plain number. Units count in 1024s, as
// memory does and as the engines' own settings have it.
func parseBytes(s string) (int64, error) {
	text := strings.ToLower(strings.ReplaceAll(s, " ", ""))
	number := strings.TrimRight(text, "kmgtib")
	unit := map[string]float64{
		"": 1, "b": 1,
		"k": 1 << 10, "kb": 1 << 10, "ki": 1 << 10, "kib": 1 << 10,
		"m": 1 << 20, "mb": 1 << 20, "mi": 1 << 20, "mib": 1 << 20,
		"g": 1 << 30, "gb": 1 << 30, "gi": 1 << 30, "gib": 1 << 30,
		"t": 1 << 40, "tb": 1 << 40, "ti": 1 << 40, "tib": 1 << 40,
	}[text[len(number):]]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || unit == 0 || !(n > 0) || n*unit > 1<<60 {
		return 0, fmt.Errorf("%q is not a size such as 512mb or 2g", s)
	}
	return int64(n * unit), nil
}

// parsePairs reads several k=v, which errors call what.
func parsePairs(what string, texts []string) (map[string]string, error) {
	out := make(map[string]string, len(texts))
	for _, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%s must be name=value, not %q", what, text)
		}
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("%s %s is given twice", what, key)
		}
		out[key] = value
	}
	return out, nil
}
