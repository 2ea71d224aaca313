package sheet

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

const disk = `[{"name":"nvme1n1","capacity":512,"status":"Available","path":"/data1"}]`

// header has the names of the first columns.
func header(n int) []any {
	var cells []any
	for _, c := range columns[:n] {
		cells = append(cells, c.name)
	}
	return cells
}

// good is a row without faults: its number makes name and address its own.
func good(n int) []any {
	return []any{fmt.Sprintf("host-%d", n), fmt.Sprintf("10.0.%d.%d", n/250, n%250+1), "root", " pa ss ", "r1", "z1", "k1", "X86_64",
		"Debian 13", "6.12", 16, 64, "10GE", "Database", "Compute,Storage", "NVMeSSD", disk}
}

// with gives a good row with one cell changed.
func with(n, column int, cell any) []any {
	r := good(n)
	for len(r) <= column {
		r = append(r, "")
	}
	r[column] = cell
	return r
}

// makeBook makes a workbook of one sheet. nil: an empty row.
func makeBook(t testing.TB, name string, rows ...[]any) []byte {
	t.Helper()
	return edit(t, func(f *excelize.File) error {
		if err := f.SetSheetName("Sheet1", name); err != nil {
			return err
		}
		for i, r := range rows {
			if err := f.SetSheetRow(name, fmt.Sprintf("A%d", i+1), &r); err != nil {
				return err
			}
		}
		return nil
	})
}

func edit(t testing.TB, change func(*excelize.File) error) []byte {
	t.Helper()
	f := excelize.NewFile()
	defer func() { _ = f.Close() }()
	if err := change(f); err != nil {
		t.Fatal(err)
	}
	var to bytes.Buffer
	if err := f.Write(&to); err != nil {
		t.Fatal(err)
	}
	return to.Bytes()
}

// makeCSV makes the same as comma-separated values.
func makeCSV(t testing.TB, comma rune, rows ...[]any) []byte {
	t.Helper()
	var to bytes.Buffer
	w := csv.NewWriter(&to)
	w.Comma = comma
	for _, r := range rows {
		cells := []string{}
		for _, c := range r {
			cells = append(cells, fmt.Sprint(c))
		}
		if err := w.Write(cells); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	return to.Bytes()
}

// in gives the rows in each format.
func in(t testing.TB, rows ...[]any) map[string][]byte {
	return map[string][]byte{
		"xlsx": makeBook(t, sheetName, rows...), "xlsx, first sheet": makeBook(t, "Hosts", rows...),
		"comma": makeCSV(t, ',', rows...), "semicolon": makeCSV(t, ';', rows...), "tab": makeCSV(t, '\t', rows...),
		"BOM": append([]byte("\xef\xbb\xbf"), makeCSV(t, ';', rows...)...), "sep": append([]byte("sep=;\r\n"), makeCSV(t, ';', rows...)...),
		"CRLF": bytes.ReplaceAll(makeCSV(t, ',', rows...), []byte("\n"), []byte("\r\n")), "CR": bytes.ReplaceAll(makeCSV(t, ',', rows...), []byte("\n"), []byte("\r")),
	}
}

func mustRead(t testing.TB, data []byte) ([]host.Candidate, []fault.FieldError) {
	t.Helper()
	all, wrong, err := Read(bytes.NewReader(data), "hosts.xlsx")
	if err != nil {
		t.Fatal(err)
	}
	return all, wrong
}

func texts(wrong []fault.FieldError) (all []string) {
	for _, e := range wrong {
		all = append(all, e.Field+": "+e.Message)
	}
	return all
}

func fields(wrong []fault.FieldError) string {
	var all []string
	for _, e := range wrong {
		all = append(all, e.Field)
	}
	return strings.Join(all, " ")
}

func wanted(n, row int) host.Candidate {
	return host.Candidate{
		Row: row, Name: fmt.Sprintf("host-%d", n), Address: fmt.Sprintf("10.0.0.%d", n+1), Endpoint: fmt.Sprintf("ssh://root@10.0.0.%d:22", n+1),
		User: "root", Password: secret.New(" pa ss "), Region: "r1", Zone: "z1", Rack: "k1", Arch: "amd64", OS: "Debian 13", Kernel: "6.12",
		CPUMillis: 16000, MemoryBytes: 64 << 30, NIC: "10GE", Purpose: "Database", Component: "Compute,Storage",
		Disks: []host.DiskSpec{{Name: "nvme1n1", Path: "/data1", Type: host.DiskNVMe, CapacityBytes: 512 << 30, State: host.SpecAvailable}},
	}
}

// The template that is widespread, in every format, also with names that are in another
// language, in another order, and with empty rows, which keep their numbers.
func TestRead(t *testing.T) {
	foreign := []any{"主机名", "IP", "用户", "密码", "区域", "可用区", "机架", "架构", "系统", "内核", "核", "内存", "网卡", "集群", "组件", "磁盘类型", "磁盘"}
	empty := []any{"", " ", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "\u00a0"}
	for what, head := range map[string][]any{"names": header(positional), "positions": foreign} {
		for format, data := range in(t, head, good(0), empty, good(1)) {
			all, wrong := mustRead(t, data)
			if want := []host.Candidate{wanted(0, 2), wanted(1, 4)}; !reflect.DeepEqual(all, want) || len(wrong) > 0 {
				t.Errorf("%s in %s: %+v, %v", what, format, all, wrong)
			}
		}
	}
	last := func(row []any) []any {
		return append(slices.Delete(slices.Clone(row), colPassword, colPassword+1), row[colPassword])
	}
	spaces := good(0)
	spaces[colPassword] = "  "
	for format, data := range in(t, last(header(positional)), last(spaces)) {
		want := wanted(0, 2)
		want.Password = secret.New("  ")
		if all, wrong := mustRead(t, data); !reflect.DeepEqual(all, []host.Candidate{want}) || len(wrong) > 0 {
			t.Errorf("a password of spaces, last, in %s: %+v, %v", format, all, wrong)
		}
	}
	head, r := header(positional), good(0)
	slices.Reverse(head)
	slices.Reverse(r)
	head[3], head[16] = "cluster_PURPOSE", "host-name"
	for format, data := range in(t, head, r) {
		if all, wrong := mustRead(t, data); !reflect.DeepEqual(all, []host.Candidate{wanted(0, 2)}) || len(wrong) > 0 {
			t.Errorf("in reverse in %s: %+v, %v", format, all, wrong)
		}
	}
	few := []any{"Host Name", "IP", "RegionID", "ZoneID", "Endpoint", "Labels"}
	for format, data := range in(t, few, []any{"h", "db.example", 1, "z", "tcp://db.example:2376", "a=b; c = d ;"}) {
		all, wrong := mustRead(t, data)
		want := []host.Candidate{{Row: 2, Name: "h", Address: "db.example", Endpoint: "tcp://db.example:2376", Region: "1", Zone: "z", Labels: map[string]string{"a": "b", "c": "d"}}}
		if !reflect.DeepEqual(all, want) || len(wrong) > 0 {
			t.Errorf("few columns in %s: %+v, %v", format, all, wrong)
		}
	}
}

// All rows that are wrong are named at once, by the numbers that a spreadsheet shows; a
// good row between them is still read.
func TestReadNamesEveryRow(t *testing.T) {
	rows := [][]any{header(positional), with(0, colMemory, "lots"), good(1), with(2, colRegion, ""), nil, with(4, colDisks, `[{"path":"x"}]`), with(1, colRack, "k2")}
	want := []string{
		"rows[2].memory: " + errNumber.Error(),
		"rows[4].region: must be 1 to 63 characters of A-Z, a-z, 0-9, ., _ and -",
		`rows[6].disks[0].path: must be an absolute path of at most 255 bytes without "//", "/./", "/../" and a slash at its end`,
		"rows[6].disks[0].capacity: must be more than 0 and at most 1048576 GiB",
		"rows[7].name: is the name of rows[3], too",
		"rows[7].address: is the address, with the same SSH port, of rows[3], too",
	}
	for format, data := range in(t, rows...) {
		all, wrong := mustRead(t, data)
		if got := texts(wrong); !slices.Equal(got, want) || len(all) != 5 {
			t.Errorf("%s: %d hosts, %q", format, len(all), got)
		}
	}
}

// Cells as people write them.
func TestReadCells(t *testing.T) {
	for _, c := range []struct {
		column int
		cell   any
		want   string // the fields that are wrong
		check  func(host.Candidate) any
		value  any
	}{
		{colMemory, "16.0", "", func(c host.Candidate) any { return c.MemoryBytes }, int64(16 << 30)},
		{colMemory, "1.6E1", "", func(c host.Candidate) any { return c.MemoryBytes }, int64(16 << 30)},
		{colMemory, 15.5, "", func(c host.Candidate) any { return c.MemoryBytes }, int64(31 << 29)},
		{colMemory, "", "", func(c host.Candidate) any { return c.MemoryBytes }, int64(0)},
		{colMemory, "0", "memory", nil, nil}, {colMemory, -1, "memory", nil, nil}, {colMemory, "16 GiB", "memory", nil, nil}, {colMemory, "1,024", "memory", nil, nil},
		{colMemory, "0x10", "memory", nil, nil}, {colMemory, "NaN", "memory", nil, nil}, {colMemory, "Inf", "memory", nil, nil}, {colMemory, "1e99", "memory", nil, nil},
		{colMemory, "1e-99", "memory", nil, nil}, {colMemory, "65537", "memory", nil, nil}, {colMemory, "#DIV/0!", "memory", nil, nil},
		{colCPU, " 0.5\u200b", "", func(c host.Candidate) any { return c.CPUMillis }, int64(500)},
		{colCPU, "4097", "cpu", nil, nil},
		{colAddress, "10.9.9.9:2222", "", func(c host.Candidate) any { return c.Address + " " + c.Endpoint }, "10.9.9.9 ssh://root@10.9.9.9:2222"},
		{colAddress, "[fd00::7]:2222", "", func(c host.Candidate) any { return c.Address + " " + c.Endpoint }, "fd00::7 ssh://root@[fd00::7]:2222"},
		{colAddress, "10.9.9.9:99999", "address", nil, nil}, {colAddress, "10.9.9", "address", nil, nil},
		{colPassword, "  two spaces  ", "", func(c host.Candidate) any { return c.Password.Reveal() }, "  two spaces  "},
		{colPassword, 12345678, "", func(c host.Candidate) any { return c.Password.Reveal() }, "12345678"},
		{colPassword, "#N/A", "password", nil, nil},
		{colPassword, "1.2345678901234567E+19", "password", nil, nil},
		{colPassword, "6.0999999999999996", "", func(c host.Candidate) any { return c.Password.Reveal() }, "6.0999999999999996"},
		{colKernel, "6.0999999999999996", "", func(c host.Candidate) any { return c.Kernel }, "6.1"},
		{colKernel, "6.12345678901", "", func(c host.Candidate) any { return c.Kernel }, "6.12345678901"},
		{colArch, "aarch64", "", func(c host.Candidate) any { return c.Arch }, "arm64"},
		{colArch, "sparc", "arch", nil, nil},
		{colDiskType, "tape", "disk_type disks[0].type", nil, nil}, {colDiskType, "", "disks[0].type", nil, nil}, {colDiskType, "--", "disk_type disks[0].type", nil, nil},
		{colLabels, "a=b;a=c", "labels", nil, nil}, {colLabels, "a", "labels", nil, nil}, {colLabels, "=b", "labels", nil, nil}, {colLabels, ";", "", nil, nil},
		{colEndpoint, "ssh://root:pw@h", "endpoint", nil, nil},
	} {
		for format, data := range in(t, header(len(columns)), with(3, c.column, c.cell)) {
			all, wrong := mustRead(t, data)
			if got := strings.ReplaceAll(fields(wrong), "rows[2].", ""); got != c.want {
				t.Errorf("%s, %s %v: %q, want %q", format, columns[c.column].name, c.cell, got, c.want)
			} else if c.check != nil && c.check(all[0]) != c.value {
				t.Errorf("%s, %s %v: %v", format, columns[c.column].name, c.cell, c.check(all[0]))
			}
		}
	}
}

func TestParseDisks(t *testing.T) {
	for cell, want := range map[string]string{
		`[]`: "", disk: "", ` [ {"path":"/a","capacity":"1.5","type":"HDD"} , {} ] `: "",
		`{}`: ": " + errDisks.Error(), `[`: ": " + errDisks.Error(), `[{]`: ": " + errDisks.Error(), `[{}`: ": " + errDisks.Error(), `[] []`: ": " + errDisks.Error(),
		`null`: ": " + errDisks.Error(), `[null]`: ": " + errDisks.Error(), `[[]]`: ": " + errDisks.Error(), `[{"path":}]`: ": " + errDisks.Error(),
		`[{"path":"/a","path":"/b"}]`: "[0].path: stands twice", `[{"Path":"/a"}]`: "[0]: has a key that is not one of name, capacity, status, path, type and enforcement",
		`[{},{"path":1}]`: "[1].path: must be a text", `[{"path":{}}]`: "[0].path: must be a text", `[{"capacity":true}]`: "[0].capacity: " + errNumber.Error(),
		`[{"capacity":0}]`: "[0].capacity: must be more than 0", `[{"capacity":-5}]`: "[0].capacity: " + errNumber.Error(), `[{"type":"tape"}]`: "[0].type: must be nvme, ssd or hdd",
		`[{"capacity":1e15}]`:                            "[0].capacity: is too large",
		"[" + strings.Repeat("{},", 300) + "{}]":         ": are more than 256",
		strings.Repeat(`[{"path":`, 100_000):             "[0].path: must be a text",
		`[{"path":"` + strings.Repeat("[", 1000) + `"}]`: "",
	} {
		_, err := parseDisks(cell, host.DiskSSD)
		got := ""
		if err != nil {
			var u unread
			u.add("", err)
			got = u[0].Field + ": " + u[0].Message
		}
		if got != want {
			t.Errorf("%.80s: %q, want %q", cell, got, want)
		}
	}
	disks, err := parseDisks(`[{"path":"/a","capacity":"1.5","type":"SATA","status":"reserved"},{"name":" x ","status":"odd","enforcement":"Loop"}]`, host.DiskSSD)
	want := []host.DiskSpec{{Path: "/a", CapacityBytes: 3 << 29, Type: host.DiskHDD, State: host.SpecReserved}, {Name: "x", Type: host.DiskSSD, State: "odd", Enforcement: host.EnforcedByLoop}}
	if err != nil || !reflect.DeepEqual(disks, want) {
		t.Errorf("%+v, %v", disks, err)
	}
}

// refused fails unless the file is refused as a whole.
func refused(t *testing.T, what string, data []byte, want string) {
	t.Helper()
	all, wrong, err := Read(bytes.NewReader(data), "../x/hosts.xlsx")
	var e *fault.Error
	if !errors.As(err, &e) || e.Code != fault.CodeInvalidTemplate || len(all)+len(wrong) > 0 {
		t.Errorf("%s: %d hosts, %d findings, %v", what, len(all), len(wrong), err)
		return
	}
	if !strings.HasPrefix(e.Message, "hosts.xlsx ") || !strings.Contains(e.Error(), want) {
		t.Errorf("%s: %q, want %q", what, e.Error(), want)
	}
}

func TestReadRefusesColumns(t *testing.T) {
	many := header(positional)
	for len(many) < 70 {
		many = append(many, fmt.Sprintf("c%d", len(many)))
	}
	for what, c := range map[string]struct {
		rows [][]any
		want string
	}{
		"only names":   {[][]any{header(positional)}, "has no hosts"},
		"unknown":      {[][]any{append(header(positional), "Owner", "Cost"), good(0)}, "; Owner: is not a column of the template: column R; Cost: is not a column of the template: column S"},
		"twice":        {[][]any{append(header(positional), "host name"), good(0)}, "; Host Name: stands twice: columns A and R"},
		"missing":      {[][]any{{"Host Name", "ZoneID"}, {"h", "z"}}, "; IP: is required, and there is no such column; RegionID: is required"},
		"no header":    {[][]any{good(0), good(1)}, "a host seems to stand there"},
		"no header, 2": {[][]any{{"a", "b", "[fd00::1]:22"}, good(1)}, "a host seems to stand there"},
		"other table":  {[][]any{{"Product", "Price"}, {"Tea", 3}}, "or 17 columns in its order; it has 2"},
		"swapped": {[][]any{{"a", "b", "Login Password", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"}, good(0)},
			"; Login Password: is at the place of Login UserName: column C"},
		"wide": {[][]any{many, good(0)}, "has more than 64 columns"},
	} {
		for format, data := range in(t, c.rows...) {
			refused(t, what+" in "+format, data, c.want)
		}
	}
	all, wrong := mustRead(t, makeBook(t, sheetName, header(positional), append(good(0), "", "stray")))
	if got := fields(wrong); got != "rows[2].columns.S" || len(all) != 1 {
		t.Errorf("a cell without a column: %q", got)
	}
}

func TestReadRefusesFiles(t *testing.T) {
	rows := [][]any{header(positional)}
	for i := range MaxRows + 1 {
		rows = append(rows, []any{i})
	}
	for what, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing": {nil, "is empty"}, "space": {[]byte(" \r\n\t"), "is empty"}, "empty sheet": {makeBook(t, "x"), "has no hosts"},
		"binary": {[]byte("\x00\x01\x02"), "is neither"}, "Latin-1": {[]byte("Host Name,IP\nM\xfcller,1"), "is neither"}, "UTF-16": {[]byte("\xff\xfeH\x00"), "is UTF-16"},
		"old": {[]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest"), "is an old .xls"}, "PDF": {[]byte("%PDF-1.7\nx"), "must have the names"},
		"large": {bytes.Repeat([]byte("a,"), MaxFile/2+1), "is larger than 10 MiB"}, "commas": {bytes.Repeat([]byte(","), MaxFile-1), "has more than 64 columns"},
		"lines":      {bytes.Repeat([]byte("\n"), MaxFile-1), "is empty"},
		"bare quote": {[]byte("Host Name,IP,RegionID,ZoneID\na\"b,10.0.0.1\n"), "in row 2"}, "open quote": {[]byte("Host Name,IP,RegionID,ZoneID\n\n\"a,10.0.0.1\n"), "in row 3"},
		"after quote": {[]byte("Host Name,IP,RegionID,ZoneID\n\"a\"b,10.0.0.1\n"), "in row 2"}, "large cell": {[]byte("Host Name,IP,RegionID,ZoneID\n" + strings.Repeat("a", maxCell+1)), "has a cell of more than 16 KiB in row 2"},
		"rows, CSV": {makeCSV(t, ',', rows...), "has more than 5000 rows"}, "rows, xlsx": {makeBook(t, sheetName, rows...), "has more than 5000 rows"},
	} {
		refused(t, what, c.data, c.want)
	}
	if all, _ := mustRead(t, makeCSV(t, ',', rows[:MaxRows+1]...)); len(all) != MaxRows {
		t.Errorf("%d rows", len(all))
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestReadFails(t *testing.T) {
	if _, _, err := Read(failing{io.ErrUnexpectedEOF}, "x"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestLabel(t *testing.T) {
	for name, want := range map[string]string{"": "the file", "/": "the file", "..": "..", `C:\tmp\h.csv`: "h.csv", "a\n\u202eb": "ab", strings.Repeat("ä", 99): strings.Repeat("ä", 80) + "…"} {
		if got := label(name); got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}

// Rows of CSV are counted as spreadsheets show them: cells of several lines are in one row,
// and empty lines are rows.
func TestReadCountsRows(t *testing.T) {
	data := "\r\nHost Name,IP,RegionID,ZoneID,Login UserName,Kernel\r\n\r\n\r\nh,10.0.0.1,r,z,root,\"a\nb\"\r\n\"\",,\r\ni,10.0.0.2,,z,root,\"6\"\r\n"
	all, wrong := mustRead(t, []byte(data))
	if got := fields(wrong); got != "rows[5].kernel rows[7].region" || len(all) != 2 || all[0].Row != 5 || all[1].Row != 7 {
		t.Errorf("%q, %+v", got, all)
	}
}

// No error shows a cell.
func TestReadRepeatsNothing(t *testing.T) {
	for i := range columns {
		for _, cell := range []string{"hunter2 \x02", "hunter2:99999", `[{"hunter2":1}]`, `[{"name":"hunter2"`, "ssh://u:hunter2@h", "hunter2=;hunter2=", "hunter2\n"} {
			data := makeCSV(t, ',', header(len(columns)), with(0, i, cell), with(0, i, cell))
			if _, wrong, err := Read(bytes.NewReader(data), "x.csv"); strings.Contains(fmt.Sprintf("%+v %v %#v", wrong, err, wrong), "hunter2") {
				t.Errorf("%s: %v, %v", columns[i].name, wrong, err)
			}
		}
	}
	bare := bytes.ReplaceAll(makeCSV(t, ',', header(positional), with(0, colPassword, "hunter2")), []byte("hunter2"), []byte(`hunt"er2`))
	if _, _, err := Read(bytes.NewReader(bare), "x"); err == nil || strings.Contains(err.Error(), "er2") {
		t.Error(err)
	}
}
