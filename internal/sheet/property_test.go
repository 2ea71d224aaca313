package sheet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/internal/host"
	"github.com/berth-project/berth/internal/secret"
)

// written gives the cells that a candidate is read from.
func written(c host.Candidate) []any {
	var disks []map[string]any
	for _, d := range c.Disks {
		disks = append(disks, map[string]any{"name": d.Name, "path": d.Path, "type": d.Type, "status": d.State, "capacity": d.CapacityBytes >> 30})
	}
	list := ""
	if disks != nil {
		text, err := json.Marshal(disks)
		if err != nil {
			panic(err)
		}
		list = string(text)
	}
	labels := []string{}
	for k, v := range c.Labels {
		labels = append(labels, k+"="+v)
	}
	return []any{c.Name, c.Address, c.User, c.Password.Reveal(), c.Region, c.Zone, c.Rack, c.Arch, c.OS, c.Kernel,
		fmt.Sprint(float64(c.CPUMillis) / 1000), c.MemoryBytes >> 30, c.NIC, c.Purpose, c.Component, "", list, c.Endpoint, strings.Join(labels, ";")}
}

// drawn gives a candidate without faults.
func drawn(t *rapid.T, i int) host.Candidate {
	place := rapid.StringMatching(`[A-Za-z._-][A-Za-z0-9._-]{0,20}`)
	note := rapid.StringMatching(`([A-Za-zäß漢"',;=][A-Za-z0-9 ",;'=|é]{0,20}[A-Za-z"])?`)
	c := host.Candidate{
		Name: fmt.Sprintf("%s-%d", rapid.StringMatching(`[a-z0-9]{1,20}`).Draw(t, "name"), i), Address: fmt.Sprintf("10.%d.%d.%d", i, rapid.IntRange(0, 255).Draw(t, "b"), rapid.IntRange(1, 254).Draw(t, "c")),
		User: rapid.StringMatching(`[a-z_][a-z0-9_-]{0,20}`).Draw(t, "user"), Password: secret.New(rapid.StringMatching(`[ -^\x60-~äß漢]{0,20}`).Draw(t, "password")),
		Region: place.Draw(t, "region"), Zone: place.Draw(t, "zone"), Rack: place.Draw(t, "rack"), Arch: rapid.SampledFrom([]string{"", "amd64", "arm64"}).Draw(t, "arch"),
		OS: note.Draw(t, "os"), Kernel: note.Draw(t, "kernel"), NIC: note.Draw(t, "nic"), Purpose: note.Draw(t, "purpose"), Component: note.Draw(t, "component"),
		CPUMillis: rapid.Int64Range(1, 4_096_000).Draw(t, "cpu"), MemoryBytes: rapid.Int64Range(1, 65536).Draw(t, "memory") << 30,
	}
	c.Endpoint = rapid.SampledFrom([]string{"ssh://" + c.User + "@" + c.Address + ":2222", "tcp://" + c.Address + ":2376", fmt.Sprintf("unix:///run/%d.sock", i)}).Draw(t, "endpoint")
	for j := range rapid.IntRange(0, 3).Draw(t, "disks") {
		c.Disks = append(c.Disks, host.DiskSpec{Name: fmt.Sprintf("d%d", j), Path: fmt.Sprintf(`/data "%d"`, j), Type: rapid.SampledFrom([]host.DiskType{host.DiskNVMe, host.DiskSSD, host.DiskHDD}).Draw(t, "type"),
			CapacityBytes: rapid.Int64Range(1, 1<<20).Draw(t, "capacity") << 30, State: rapid.SampledFrom(host.SpecStates).Draw(t, "state")})
	}
	if rapid.Bool().Draw(t, "labels") {
		c.Labels = map[string]string{"a": rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "label"), "b/c": "="}
	}
	return c
}

// What is written is read again, in every format and in any order of columns and with rows
// left empty between.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		order := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := range columns {
				if !yield(i) {
					return
				}
			}
		})).Draw(r, "order")
		pick := func(cells []any) (picked []any) {
			for _, i := range order {
				picked = append(picked, cells[i])
			}
			return picked
		}
		rows := [][]any{pick(header(len(columns)))}
		var want []host.Candidate
		for i := range rapid.IntRange(1, 4).Draw(r, "hosts") {
			if rapid.Bool().Draw(r, "empty") {
				rows = append(rows, make([]any, len(columns)))
			}
			c := drawn(r, i)
			rows = append(rows, pick(written(c)))
			c.Row = len(rows)
			want = append(want, c)
		}
		for i, cells := range rows {
			for j, cell := range cells {
				if cell == nil {
					rows[i][j] = ""
				}
			}
		}
		for format, data := range map[string][]byte{"xlsx": makeBook(t, sheetName, rows...), "csv": makeCSV(t, rapid.SampledFrom([]rune{',', ';', '\t'}).Draw(r, "comma"), rows...)} {
			all, wrong, err := Read(bytes.NewReader(data), "x")
			if err != nil || len(wrong) > 0 || !reflect.DeepEqual(all, want) {
				r.Fatalf("%s: %v, %v\n%#v\n%#v", format, err, wrong, all, want)
			}
		}
	})
}

// However many faults a file has, each of its rows is named, and no row without one.
func TestEveryFaultIsNamed(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		rows := [][]any{header(positional)}
		var want []string
		for i := range rapid.IntRange(1, 30).Draw(r, "rows") {
			row := good(i)
			switch rapid.IntRange(0, 4).Draw(r, "fault") {
			case 0:
				row[colMemory] = "x"
				want = append(want, fmt.Sprintf("rows[%d].memory", i+2))
			case 1:
				row[colZone] = "a b"
				want = append(want, fmt.Sprintf("rows[%d].zone", i+2))
			case 2:
				row[colDisks] = "{"
				want = append(want, fmt.Sprintf("rows[%d].disks", i+2))
			}
			rows = append(rows, row)
		}
		all, wrong := mustRead(t, makeCSV(t, ',', rows...))
		if got := fields(wrong); got != strings.Join(want, " ") || len(all) != len(rows)-1 {
			r.Fatalf("%q, want %q", got, want)
		}
	})
}

// manyHosts gives a header and so many good rows.
func manyHosts(n int) [][]any {
	rows := [][]any{header(positional)}
	for i := range n {
		rows = append(rows, good(i))
	}
	return rows
}

func benchmarkRead(b *testing.B, data []byte, n int) {
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if all, wrong := mustRead(b, data); len(all) != n || len(wrong) > 0 {
			b.Fatal(len(all), wrong)
		}
	}
}

// BenchmarkReadWorkbook reads and checks 2,000 rows.
func BenchmarkReadWorkbook(b *testing.B) {
	benchmarkRead(b, makeBook(b, sheetName, manyHosts(2000)...), 2000)
}

// BenchmarkReadCSV reads and checks 2,000 rows.
func BenchmarkReadCSV(b *testing.B) {
	benchmarkRead(b, makeCSV(b, ',', manyHosts(2000)...), 2000)
}

// TestReadMany reads as much as a file may have, in random order.
func TestReadMany(t *testing.T) {
	rows := manyHosts(MaxRows)
	rand.Shuffle(MaxRows, func(i, j int) { rows[i+1], rows[j+1] = rows[j+1], rows[i+1] })
	if all, wrong := mustRead(t, makeBook(t, sheetName, rows...)); len(all) != MaxRows || len(wrong) > 0 {
		t.Error(len(all), len(wrong))
	}
}
