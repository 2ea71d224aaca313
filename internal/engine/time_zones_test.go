package engine

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The range of what is known of a zone's offsets. MySQL converts nothing before 1970, and
// takes the last offset that it knows for ever.
var (
	zonesFrom = time.Date(1969, 12, 1, 0, 0, 0, 0, time.UTC)
	zonesTo   = time.Date(2060, 12, 31, 0, 0, 0, 0, time.UTC)
)

// zoneOffset is what MySQL calls a transition type.
type zoneOffset struct {
	seconds int
	summer  bool
	name    string
}

func offsetAt(t time.Time) zoneOffset {
	name, seconds := t.Zone()
	return zoneOffset{seconds, t.IsDST(), name}
}

// nextOffset gives the first moment after t at which the zone has another offset.
func nextOffset(t time.Time) (time.Time, bool) {
	for at := t; at.Before(zonesTo); {
		_, end := at.ZoneBounds()
		if end.IsZero() {
			return end, false
		}
		if !end.After(at) { // where a year ends Go may give the moment itself
			end = at.Add(time.Hour)
		}
		if offsetAt(end) != offsetAt(t) {
			return end, end.Before(zonesTo)
		}
		at = end
	}
	return t, false
}

// zoneRows gives the rows of transition types and of transitions, each as fmt.Sprintf
// wants the zone's number.
func zoneRows(loc *time.Location) (types, transitions []string) {
	numbers := map[zoneOffset]int{}
	at, more := zonesFrom.In(loc), true
	for seconds := int64(-1 << 31); more; seconds = at.Unix() {
		offset := offsetAt(at)
		number, known := numbers[offset]
		if !known {
			number = len(numbers)
			numbers[offset] = number
			summer := 0
			if offset.summer {
				summer = 1
			}
			types = append(types, fmt.Sprintf("(%%d,%d,%d,%d,'%s')", number, offset.seconds, summer, offset.name))
		}
		transitions = append(transitions, fmt.Sprintf("(%%d,%d,%d)", seconds, number))
		at, more = nextOffset(at)
	}
	return types, transitions
}

// timeZonesSQL renders the zones that Go comes with. Names of the same zone share it.
func timeZonesSQL(t *testing.T) string {
	t.Helper()
	archive, err := zip.OpenReader(filepath.Join(runtime.GOROOT(), "lib", "time", "zoneinfo.zip")) //nolint:staticcheck // whoever writes the file anew has Go's sources
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close() //nolint:errcheck // only read
	numbers := map[string]int{}
	var zones, names []string
	var rest strings.Builder
	for _, f := range archive.File {
		if f.FileInfo().IsDir() {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		loc, err := time.LoadLocationFromTZData(f.Name, data)
		if err != nil {
			t.Fatal(err)
		}
		types, transitions := zoneRows(loc)
		key := strings.Join(types, "") + strings.Join(transitions, "")
		number, known := numbers[key]
		if !known {
			number = len(numbers) + 1
			numbers[key] = number
			zones = append(zones, fmt.Sprintf("(%d,'N')", number))
			id := fmt.Sprint(number)
			fmt.Fprintf(&rest, "INSERT INTO mysql.time_zone_transition_type VALUES %s;\n", strings.ReplaceAll(strings.Join(types, ","), "%d", id))
			fmt.Fprintf(&rest, "INSERT INTO mysql.time_zone_transition VALUES %s;\n", strings.ReplaceAll(strings.Join(transitions, ","), "%d", id))
		}
		names = append(names, fmt.Sprintf("('%s',%d)", f.Name, number))
	}
	return "INSERT INTO mysql.time_zone VALUES " + strings.Join(zones, ",") + ";\n" + rest.String() +
		"INSERT INTO mysql.time_zone_name VALUES\n" + strings.Join(names, ",\n") + ";\n"
}

// The file is within what mysqld reads of an init file: lines below 20,000 bytes, and
// statements below 60,000. With -update it is made anew from the zones that Go comes with.
func TestTimeZonesFile(t *testing.T) {
	const path = "mysql/time_zones.sql"
	if *update {
		if err := os.WriteFile(path, []byte(timeZonesSQL(t)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for s := range strings.SplitSeq(string(data), ";\n") {
		if len(s) > 50000 {
			t.Errorf("a statement has %d bytes: %.80s", len(s), s)
		}
		for line := range strings.Lines(s) {
			if len(line) > 16000 {
				t.Errorf("a line has %d bytes: %.80s", len(line), line)
			}
		}
	}
	for _, name := range []string{"Europe/Berlin", "Asia/Shanghai", "America/New_York", "US/Pacific", "Australia/Lord_Howe", "UTC", "Etc/GMT+5", "Asia/Calcutta"} {
		if !strings.Contains(string(data), "('"+name+"',") {
			t.Errorf("%s is missing", name)
		}
	}
}
