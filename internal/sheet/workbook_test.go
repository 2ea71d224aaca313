package sheet

import (
	"archive/zip"
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"
)

// A part of a workbook that is written by hand.
type part struct{ name, content string }

// archive packs parts as they are.
func archive(t testing.TB, all ...part) []byte {
	t.Helper()
	var to bytes.Buffer
	w := zip.NewWriter(&to)
	for _, p := range all {
		f, err := w.Create(p.name)
		if err == nil {
			_, err = io.WriteString(f, p.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Bytes()
}

// byHand gives the parts of a workbook with the rows, and with the strings if there are any.
func byHand(rows, table string) []part {
	all := []part{}
	for _, p := range fixedParts {
		content := p[1]
		if p[0] == "xl/_rels/workbook.xml.rels" && table != "" {
			content = strings.Replace(content, "</R", `<Relationship Id="rId2" Type="`+xmlRelation+`/sharedStrings" Target="/xl/strings.xml"/></R`, 1)
		}
		all = append(all, part{p[0], content})
	}
	if table != "" {
		all = append(all, part{"xl/strings.xml", `<sst xmlns="` + xmlBook + `">` + table + `</sst>`})
	}
	return append(all, part{"xl/worksheets/sheet1.xml", `<worksheet xmlns="` + xmlBook + `"><sheetData>` + rows + `</sheetData></worksheet>`})
}

// replaced gives parts with one exchanged.
func replaced(all []part, name, old, new string) []part {
	all = slices.Clone(all)
	for i, p := range all {
		if p.name == name {
			all[i].content = strings.Replace(p.content, old, new, 1)
		}
	}
	return all
}

const (
	head  = `<row r="1"><c r="A1" t="inlineStr"><is><t>Name</t></is></c><c t="inlineStr"><is><t>IP</t></is></c><c t="inlineStr"><is><r><t>Re</t></r><r><t>gion</t></r></is></c><c t="str"><v>Zone</v></c><c t="inlineStr"><is><t>Endpoint</t></is></c></row>`
	host1 = `<row r="3"><c r="A3" t="s"><v>1</v></c><c t="s"><v>0</v></c><c><v>7</v></c><c t="str"><f>A1</f><v>z</v></c><c r="E3" t="inlineStr"><is><t>tcp://10.0.0.1:1</t></is></c></row>`
	words = `<si><t>10.0.0.1</t></si><si><r><rPr><b/></rPr><t>ho</t></r><r><t>st</t></r></si>`
)

const theSheet = "xl/worksheets/sheet1.xml"

// What other programs write: shared, inline and formatted strings, cells without their names,
// parts at other places and in other case, what stands behind the rows.
func TestReadByHand(t *testing.T) {
	plain := byHand(head+host1, words)
	behind := `</sheetData><controls xmlns:x="y"><x:from><x:row>9</x:row><row r="99"><c r="A99" t="str"><v>ghost</v></c></row></x:from></controls>`
	for what, all := range map[string][]part{
		"plain":     plain,
		"behind":    replaced(plain, theSheet, "</sheetData>", behind),
		"upper":     append(slices.DeleteFunc(slices.Clone(plain), func(p part) bool { return p.name == theSheet }), part{"XL\\Worksheets\\Sheet1.XML", plain[len(plain)-1].content}),
		"rubbish":   append(slices.Clone(plain), part{"xl/styles.xml", "<not xml"}, part{"xl/theme/theme1.xml", strings.Repeat("<a>", 1000)}, part{"xl/calcChain.xml", "<!DOCTYPE x>"}),
		"no type":   replaced(replaced(plain, theSheet, ` t="s"><v>1</v>`, ` t="inlineStr"><is><t>host</t></is>`), theSheet, "<v>7</v>", "<v> 7 </v>"),
		"prefixed":  replaced(replaced(replaced(plain, theSheet, "<worksheet xmlns=", "<x:worksheet xmlns:x="), theSheet, "<sheetData>", "<x:sheetData>"), theSheet, "</sheetData></worksheet>", "</x:sheetData></x:worksheet>"),
		"other one": replaced(replaced(plain, "xl/workbook.xml", "<sheets>", `<sheets><sheet name="Notes" sheetId="7" r:id="rId9" state="hidden"/>`), "xl/workbook.xml", sheetName, " host INFORMATION"),
	} {
		got, wrong := mustRead(t, archive(t, all...))
		if len(got) != 1 || len(wrong) > 0 || got[0].Row != 3 || got[0].Name != "host" || got[0].Address != "10.0.0.1" || got[0].Region != "7" || got[0].Zone != "z" {
			t.Errorf("%s: %+v, %v", what, got, wrong)
		}
	}
}

// bomb is a part of so many bytes that packs to nothing.
func bomb(before, repeated, after string, size int) string {
	return before + strings.Repeat(repeated, size/len(repeated)) + after
}

func TestReadRefusesWorkbooks(t *testing.T) {
	plain := byHand(head+host1, words)
	in := func(old, new string) []part { return replaced(plain, theSheet, old, new) }
	laughs := `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>`
	rows := func(rows string) []part { return byHand(rows, words) }
	cut := bytes.Clone(archive(t, plain...))
	for what, c := range map[string]struct {
		data []byte
		want string
	}{
		"no zip":                  {[]byte("PK\x03\x04 and nothing"), "is damaged"},
		"empty zip":               {archive(t), "is damaged"},
		"cut off":                 {cut[:len(cut)-30], "is damaged"},
		"text":                    {archive(t, part{"word/document.xml", "<w/>"}), "is damaged"},
		"checksum":                {corrupt(t, plain), "is damaged"},
		"two parts":               {archive(t, append(slices.Clone(plain), part{"XL/worksheets/sheet1.xml", ""})...), "is damaged"},
		"no sheet":                {archive(t, plain[:len(plain)-1]...), "is damaged"},
		"no strings":              {archive(t, slices.DeleteFunc(slices.Clone(plain), func(p part) bool { return p.name == "xl/strings.xml" })...), "is damaged"},
		"hidden":                  {archive(t, replaced(plain, "xl/workbook.xml", " sheetId", ` state="veryHidden" sheetId`)...), `hidden sheet, "Host Information"`},
		"chart":                   {archive(t, replaced(plain, "xl/_rels/workbook.xml.rels", "/worksheet\"", "/chartsheet\"")...), "is no table"},
		"laughs":                  {archive(t, in(`<worksheet`, laughs+`<worksheet`)...), "has entities"},
		"laughs, strings":         {archive(t, replaced(plain, "xl/strings.xml", "<sst", laughs+"<sst")...), "has entities"},
		"laughs, book":            {archive(t, replaced(plain, "xl/workbook.xml", "<workbook", laughs+"<workbook")...), "has entities"},
		"entity":                  {archive(t, in(`<v>z</v>`, `<v>&b;</v>`)...), "is damaged"},
		"ends early":              {archive(t, in(`</sheetData></worksheet>`, "")...), "is damaged"},
		"ends in a row":           {archive(t, in(`</row></sheetData></worksheet>`, "")...), "is damaged"},
		"broken behind":           {archive(t, in(`</sheetData>`, "</sheetData><a>")...), "is damaged"},
		"other encoding":          {archive(t, in(`<worksheet`, `<?xml version="1.0" encoding="utf-16"?><worksheet`)...), "is damaged"},
		"row again":               {archive(t, in(`r="3"`, `r="1"`)...), "is damaged"},
		"row backwards":           {archive(t, in(`r="1"`, `r="4"`)...), "is damaged"},
		"row 0":                   {archive(t, in(`r="1"`, `r="0"`)...), "is damaged"},
		"row far away":            {archive(t, in(`r="3"`, `r="1048577"`)...), "is damaged"},
		"cell of another row":     {archive(t, in(`r="A3"`, `r="A4"`)...), "is damaged"},
		"cell backwards":          {archive(t, in(`r="E3"`, `r="D3"`)...), "is damaged"},
		"cell without a name":     {archive(t, in(`r="E3"`, `r="3"`)...), "is damaged"},
		"cell far away":           {archive(t, in(`r="E3"`, `r="XFE3"`)...), "is damaged"},
		"cell by two names":       {archive(t, in(`r="E3"`, `r="E3" xmlns:y="y" y:r="F3"`)...), "is damaged"},
		"cell of an odd style":    {archive(t, in(`r="E3"`, `r="E3" s="x"`)...), "is damaged"},
		"cell beyond":             {archive(t, in(`r="E3"`, `r="XFD3"`)...), "has more than 64 columns"},
		"cell in a cell":          {archive(t, in(`<v>7</v>`, `<c><v>7</v></c>`)...), "is damaged"},
		"string beyond":           {archive(t, in(`<v>1</v>`, `<v>2</v>`)...), "is damaged"},
		"string before":           {archive(t, in(`<v>1</v>`, `<v>-1</v>`)...), "is damaged"},
		"string in a string":      {archive(t, replaced(plain, "xl/strings.xml", "<t>", "<si/><t>")...), "is damaged"},
		"formula without result":  {archive(t, in(`<v>7</v>`, `<f>3+4</f>`)...), "in C3"},
		"large cell":              {archive(t, in(`<v>z</v>`, `<v>`+strings.Repeat("z", maxCell+1)+`</v>`)...), "16 KiB: D3"},
		"larger cell":             {archive(t, in(`<v>z</v>`, `<v>`+strings.Repeat("z", maxTag)+`</v>`)...), "16 KiB"},
		"large string":            {archive(t, replaced(plain, "xl/strings.xml", "ho", strings.Repeat("z", maxCell+1))...), "16 KiB: A3"},
		"runs":                    {archive(t, in(`<v>z</v>`, bomb("<is>", "<r/>", "</is>", 1<<20))...), "too much formatting: D3"},
		"runs, strings":           {archive(t, replaced(plain, "xl/strings.xml", "<si>", bomb("<si>", "<r/>", "", 1<<20))...), "too much formatting"},
		"deep":                    {archive(t, in(`<v>z</v>`, strings.Repeat("<a>", 1000))...), "is damaged"},
		"attributes":              {archive(t, in(`<v>z</v>`, bomb("<v", ` a="1>"`, "/>", 32<<20))...), "16 KiB"},
		"zip bomb":                {archive(t, append(slices.Clone(plain), part{"xl/media/1.png", strings.Repeat("\x00", maxUnzipped)})...), "when it is unpacked"},
		"zip bomb, strings":       {archive(t, replaced(plain, "xl/strings.xml", "<si>", bomb("", "<si/>", "<si>", 32<<20))...), "too many strings"},
		"zip bomb, book":          {archive(t, replaced(plain, "xl/workbook.xml", "<sheets>", bomb("<sheets>", "<sheet/>", "", 2<<20))...), "too large"},
		"sheets":                  {archive(t, replaced(plain, "xl/workbook.xml", "<sheets>", bomb("<sheets>", "<sheet/>", "", 8*300))...), "is damaged"},
		"escapes":                 {archive(t, rows(head+escapes(1000))...), "200000 underscores"},
		"much text":               {archive(t, rows(head+strings.Repeat(`<row><c t="str"><v>`+strings.Repeat("x", maxCell)+`</v></c></row>`, 1100))...), "has more than 16 MiB of text"},
		"empty rows":              {archive(t, rows(head+strings.Repeat("<row/>", maxRowTags))...), "delete those behind"},
		"wide rows":               {archive(t, rows(head+wideRows(100_000))...), "has more than 64 columns"},
		"empty rows and then one": {archive(t, rows(`<row r="1048576"><c t="str"><v>x</v></c></row>`)...), "or 17 columns"},
	} {
		started := time.Now()
		refused(t, what, c.data, c.want)
		if took := time.Since(started); took > time.Minute {
			t.Errorf("%s took %s", what, took)
		}
	}
	lied := archive(t, byHand(head+host1, bomb("", "<si/>", "", 8<<20))...)
	refused(t, "a size that is not so", lie(t, lied, "xl/strings.xml", 100), "is damaged")
}

// escapes are rows of cells that take long to decode.
func escapes(n int) string {
	cell := `<c t="inlineStr"><is><t>` + strings.Repeat("_x0041_", maxCell/7) + `</t></is></c>`
	return strings.Repeat("<row>"+cell+"</row>", n)
}

func wideRows(n int) string { return `<row>` + strings.Repeat(`<c t="str"><v>x</v></c>`, n) + `</row>` }

// corrupt packs parts with a byte of the sheet changed.
func corrupt(t *testing.T, all []part) []byte {
	var to bytes.Buffer
	w := zip.NewWriter(&to)
	for _, p := range all {
		f, err := w.CreateRaw(&zip.FileHeader{Name: p.name, CRC32: crc32.ChecksumIEEE([]byte(p.content)), CompressedSize64: uint64(len(p.content)), UncompressedSize64: uint64(len(p.content))})
		if err != nil {
			t.Fatal(err)
		}
		if p.name == theSheet {
			p.content = strings.Replace(p.content, "10.0.0.1", "10.0.0.2", 1)
		}
		if _, err := io.WriteString(f, p.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Bytes()
}

// lie copies an archive and says another size of a part.
func lie(t *testing.T, data []byte, name string, size uint64) []byte {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var to bytes.Buffer
	w := zip.NewWriter(&to)
	for _, f := range r.File {
		raw, err := f.OpenRaw()
		if err != nil {
			t.Fatal(err)
		}
		header := f.FileHeader
		if f.Name == name {
			header.UncompressedSize64 = size
		}
		part, err := w.CreateRaw(&header)
		if err == nil {
			_, err = io.Copy(part, raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Bytes()
}

// The costliest file that is within all bounds takes seconds, not minutes, and none leaves a
// file on the disk.
func TestReadCostly(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	index := strings.Repeat(`<c t="s"><v>0</v></c>`, 60)
	for what, all := range map[string][]part{
		"escapes": byHand(head+escapes(42), ""),
		"shared":  byHand(head+strings.Repeat("<row>"+index+"</row>", MaxRows), "<si><t>"+strings.Repeat("z", 50)+"</t></si>"),
		"rows":    byHand(head+strings.Repeat("<row/>", maxRowTags-1), ""),
		"far":     byHand(head+`<row r="1048576"><c t="str"><v>x</v></c></row>`, ""),
		"strings": byHand(head+host1, words+strings.Repeat("<si><t/></si>", maxStrings-2)),
		"runs":    byHand(head+host1, words+strings.Repeat("<si>"+strings.Repeat("<r><rPr/></r>", 1000)+"</si>", 490)),
	} {
		started := time.Now()
		_, _, err := Read(bytes.NewReader(archive(t, all...)), "x")
		if took := time.Since(started); took > time.Minute {
			t.Errorf("%s took %s", what, took)
		} else {
			t.Logf("%s: %s, %v", what, took.Round(time.Millisecond), err)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left on the disk: %v, %v", left, err)
	}
}

func TestReadChoosesTheSheet(t *testing.T) {
	sheets := func(names ...string) func(*excelize.File) error {
		return func(f *excelize.File) error {
			for i, name := range names {
				if _, err := f.NewSheet(name); err != nil {
					return err
				}
				head, r := header(positional), good(i)
				if err := f.SetSheetRow(name, "A1", &head); err != nil {
					return err
				}
				if err := f.SetSheetRow(name, "A2", &r); err != nil {
					return err
				}
			}
			return f.DeleteSheet("Sheet1")
		}
	}
	for want, names := range map[string][]string{"host-0": {"one", "two"}, "host-1": {"one", sheetName}} {
		if all, wrong := mustRead(t, edit(t, sheets(names...))); len(all) != 1 || all[0].Name != want || len(wrong) > 0 {
			t.Errorf("%v: %+v, %v", names, all, wrong)
		}
	}
	refused(t, "hidden", edit(t, func(f *excelize.File) error {
		if err := sheets("one", sheetName)(f); err != nil {
			return err
		}
		return f.SetSheetVisible(sheetName, false)
	}), "hidden sheet")
}

// A template has no hosts. With its example it has one without faults.
func TestTemplate(t *testing.T) {
	for _, format := range []string{"csv", "xlsx"} {
		data, err := Template(format)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, format, data, "has no hosts: there is no row below the names of the columns")
		again, err := Template(format)
		if err != nil || !bytes.Equal(data, again) {
			t.Errorf("%s: made again, it is another one: %v", format, err)
		}
	}
	if _, err := Template("ods"); err == nil {
		t.Error("a format that is none")
	}
	data, err := Template("xlsx")
	if err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if got := f.GetSheetList(); !reflect.DeepEqual(got, []string{sheetName, exampleName}) {
		t.Errorf("sheets %v", got)
	}
	rows, err := f.GetRows(exampleName)
	if err != nil || len(rows) != 3 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, cell := range rows[1] {
		if err := f.SetCellStr(sheetName, fmt.Sprintf("%s2", letters(i)), cell); err != nil {
			t.Fatal(err)
		}
	}
	var to bytes.Buffer
	if err := f.Write(&to); err != nil {
		t.Fatal(err)
	}
	if all, wrong := mustRead(t, to.Bytes()); len(all) != 1 || len(wrong) > 0 || all[0].Labels["team"] != "data" || len(all[0].Disks) != 1 {
		t.Errorf("%+v, %v", all, wrong)
	}
}
