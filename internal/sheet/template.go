package sheet

import (
	"bytes"
	"encoding/csv"
	"fmt"

	"github.com/xuri/excelize/v2"

	"github.com/berth-project/berth/internal/fault"
)

// exampleName is the sheet of the template that is never read.
const exampleName = "Example"

// Template gives the empty template, in the format "csv" or "xlsx": the names of the columns.
// A workbook has a second sheet with an example, and notes for each column.
func Template(format string) ([]byte, error) {
	switch format {
	case "csv":
		return templateCSV()
	case "xlsx":
		return templateWorkbook()
	default:
		return nil, fault.Invalid([]fault.FieldError{{Field: "format", Message: "must be csv or xlsx"}})
	}
}

func templateCSV() ([]byte, error) {
	var to bytes.Buffer
	w := csv.NewWriter(&to)
	w.UseCRLF = true // RFC 4180
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	if err := w.Write(names); err != nil {
		return nil, err
	}
	w.Flush()
	return to.Bytes(), w.Error()
}

func templateWorkbook() ([]byte, error) {
	f := excelize.NewFile()
	defer func() { _ = f.Close() }()
	t := templateSheets{f: f}
	t.do(f.SetSheetName(f.GetSheetName(0), sheetName))
	_, err := f.NewSheet(exampleName)
	t.do(err)
	t.head(sheetName)
	t.head(exampleName)
	t.example()
	t.choices(colArch, "amd64", "arm64")
	t.choices(colDiskType, "nvme", "ssd", "hdd")
	if t.err != nil {
		return nil, fmt.Errorf("make the template: %w", t.err)
	}
	var to bytes.Buffer
	if err := f.Write(&to); err != nil {
		return nil, fmt.Errorf("write the template: %w", err)
	}
	return to.Bytes(), nil
}

// templateSheets writes the sheets of a template. Its first error is kept, and nothing is
// done after it.
type templateSheets struct {
	f   *excelize.File
	err error
}

func (t *templateSheets) do(err error) {
	if t.err == nil {
		t.err = err
	}
}

// style makes a style.
func (t *templateSheets) style(s excelize.Style) int {
	id, err := t.f.NewStyle(&s)
	t.do(err)
	return id
}

// head writes the names of the columns, which stay in view, and has all cells hold text as it
// is typed: a password of digits would lose those after the fifteenth.
func (t *templateSheets) head(sheet string) {
	text := t.style(excelize.Style{NumFmt: 49})
	bold := t.style(excelize.Style{Font: &excelize.Font{Bold: true}, NumFmt: 49})
	last := letters(len(columns) - 1)
	t.do(t.f.SetColWidth(sheet, "A", last, 18))
	t.do(t.f.SetColWidth(sheet, letters(colDisks), letters(colDisks), 60))
	t.do(t.f.SetColStyle(sheet, "A:"+last, text))
	for i, c := range columns {
		t.do(t.f.SetCellStr(sheet, letters(i)+"1", c.name))
	}
	t.do(t.f.SetCellStyle(sheet, "A1", last+"1", bold))
	t.do(t.f.SetPanes(sheet, &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}))
}

// example writes one host, and below it what the columns are for.
func (t *templateSheets) example() {
	wrapped := t.style(excelize.Style{
		Font:      &excelize.Font{Italic: true, Color: "666666"},
		Alignment: &excelize.Alignment{WrapText: true, Vertical: "top"},
	})
	for i, c := range columns {
		need := "optional: "
		if c.required {
			need = "required: "
		}
		t.do(t.f.SetCellStr(exampleName, letters(i)+"2", c.example))
		t.do(t.f.SetCellStr(exampleName, letters(i)+"3", need+c.note))
	}
	t.do(t.f.SetCellStyle(exampleName, "A3", letters(len(columns)-1)+"3", wrapped))
}

// choices offers values in a column of the sheet that is read; others can be typed, too.
func (t *templateSheets) choices(which int, values ...string) {
	offer := excelize.NewDataValidation(true)
	offer.Sqref = fmt.Sprintf("%[1]s2:%[1]s%[2]d", letters(which), MaxRows+1)
	offer.ShowErrorMessage = false
	t.do(offer.SetDropList(values))
	t.do(t.f.AddDataValidation(sheetName, offer))
}
