package sheet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
)

// FuzzSheet: a file is refused as a whole with the one code, or each of its rows is a host
// with a number of its own; read twice, it is the same; what is without a finding stays so
// when it is checked by itself, and can be written and read again.
func FuzzSheet(f *testing.F) {
	for _, rows := range [][][]any{{header(positional), good(0)}, {header(len(columns)), with(0, colLabels, "a=b"), nil, with(1, colMemory, "x")}} {
		for _, data := range in(f, rows...) {
			f.Add(data)
		}
	}
	for _, format := range []string{"csv", "xlsx"} {
		data, err := Template(format)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(archive(f, byHand(head+host1, words)...))
	f.Add([]byte("sep=;\nName;IP;Region;Zone;Endpoint\n\n\"a\nb\";::1;r;z;tcp://a:1\n"))
	f.Fuzz(func(t *testing.T, data []byte) { holds(t, data) })
}

// FuzzSheetXML does so for the two parts of a workbook that are read, which a fuzzer seldom
// gets to through the compression.
func FuzzSheetXML(f *testing.F) {
	f.Add(head+host1, words)
	f.Add(head+`<row><c t="b"><v>1</v></c><c t="d"><v>2026-01-01</v></c><c t="e"><v>#N/A</v></c></row>`, "<si/>")
	f.Add(head+`<row r="2" ht="1"><c s="4"/><c><f t="shared">1</f><v>1e2</v></c></row><!-- x --><row/>`, "")
	f.Fuzz(func(t *testing.T, rows, strings string) { holds(t, archive(t, byHand(rows, strings)...)) })
}

func holds(t *testing.T, data []byte) {
	all, wrong, err := Read(bytes.NewReader(data), "x")
	again, wrongAgain, errAgain := Read(bytes.NewReader(data), "x")
	if !reflect.DeepEqual(all, again) || !reflect.DeepEqual(wrong, wrongAgain) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
		t.Fatalf("read twice, it differs: %v, %v", wrong, wrongAgain)
	}
	if err != nil {
		var e *fault.Error
		if !errors.As(err, &e) || e.Code != fault.CodeInvalidTemplate || len(all)+len(wrong) > 0 {
			t.Fatalf("%d hosts and %v", len(all), err)
		}
		return
	}
	last := 1
	for _, c := range all {
		if c.Row <= last {
			t.Fatalf("row %d behind row %d", c.Row, last)
		}
		last = c.Row
	}
	if len(all) == 0 || len(wrong) > 0 {
		return
	}
	if wrong := host.CheckAll(all); len(wrong) > 0 {
		t.Fatalf("normalized, it is wrong: %v", wrong)
	}
	rows := [][]any{header(len(columns))}
	for _, c := range all {
		for _, d := range c.Disks {
			if d.CapacityBytes%gib != 0 {
				return // written holds whole ones
			}
		}
		if c.MemoryBytes%gib != 0 || c.CPUMillis == 0 || c.MemoryBytes == 0 || strings.ContainsFunc(fmt.Sprint(c.Labels), func(r rune) bool { return r > '~' }) {
			return
		}
		rows = append(rows, written(c))
	}
	rewritten, wrong, err := Read(bytes.NewReader(makeCSV(t, ',', rows...)), "x")
	for i := range rewritten {
		rewritten[i].Row = all[i].Row
	}
	if err != nil || len(wrong) > 0 || !reflect.DeepEqual(rewritten, all) {
		t.Fatalf("%v, %v\n%#v\n%#v", err, wrong, rewritten, all)
	}
}

// FuzzDisks: a list is refused, without what is in it, or it is JSON and says just that.
func FuzzDisks(f *testing.F) {
	for _, seed := range []string{disk, "[]", "[{}]", `[{"path":"/a","capacity":"1.5","type":"SATA","status":"reserved"}, {"name":"\u0041"}]`, `[{"path":"/a","path":"/b"}]`, "[1 2]", `[{"a" "b"}]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cell string) {
		disks, err := parseDisks(cell, host.DiskSSD)
		if err != nil {
			if disks != nil {
				t.Fatalf("%v with %v", disks, err)
			}
			return
		}
		var list []map[string]any
		if cell == "" {
			return
		}
		if err := json.Unmarshal([]byte(cell), &list); err != nil || len(list) != len(disks) {
			t.Fatalf("%q is taken for %d disks: %v", cell, len(disks), err)
		}
		for i, d := range disks {
			path, _ := list[i]["path"].(string)
			name, _ := list[i]["name"].(string)
			if d.Path != trim(path) || d.Name != trim(name) || d.Type == "" || d.CapacityBytes < 0 {
				t.Fatalf("%q is taken for %+v", cell, d)
			}
		}
	})
}
