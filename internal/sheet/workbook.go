package sheet

import (
	"archive/zip"
	"bytes"
	"io"

	"github.com/xuri/excelize/v2"
)

// readWorkbook gives the rows of a workbook's sheet.
func readWorkbook(data []byte, each func(row) error) (err error) {
	all, err := openParts(data)
	if err != nil {
		return err
	}
	sheet, table, err := all.workbookParts()
	if err != nil {
		return err
	}
	sizes, err := scanStrings(table)
	if err != nil {
		return err
	}
	end, err := scanSheet(sheet, sizes)
	if err != nil {
		return err
	}
	plain, err := repack(sheet[:end], table)
	if err != nil {
		return err
	}
	f, err := excelize.OpenReader(bytes.NewReader(plain), excelize.Options{
		RawCellValue: true, UnzipSizeLimit: 2 * maxUnzipped, UnzipXMLSizeLimit: 2 * maxUnzipped, // nothing on the disk
	})
	if err != nil {
		return errDamaged
	}
	defer func() { _ = f.Close() }()
	rows, err := f.Rows(sheetName)
	if err != nil {
		return errDamaged
	}
	defer func() { _ = rows.Close() }()
	for number := 1; rows.Next(); number++ {
		cells, err := rows.Columns()
		if err != nil {
			return errDamaged
		}
		if err := eachRow(number, cells, each); err != nil {
			return err
		}
	}
	if rows.Error() != nil {
		return errDamaged
	}
	return nil
}

// The parts of a workbook with one sheet, as Excelize wants them.
const (
	xmlHead      = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"
	xmlBook      = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
	xmlRelations = "http://schemas.openxmlformats.org/package/2006/relationships"
	xmlRelation  = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
	xmlTypes     = "http://schemas.openxmlformats.org/package/2006/content-types"
)

var fixedParts = [][2]string{
	{"[Content_Types].xml", `<Types xmlns="` + xmlTypes + `"/>`},
	{"_rels/.rels", `<Relationships xmlns="` + xmlRelations + `">` +
		`<Relationship Id="rId1" Type="` + xmlRelation +
		`/officeDocument" Target="xl/workbook.xml"/></Relationships>`},
	{"xl/workbook.xml", `<workbook xmlns="` + xmlBook + `" xmlns:r="` + xmlRelation + `">` +
		`<sheets><sheet name="` + sheetName + `" sheetId="1" r:id="rId1"/></sheets></workbook>`},
	{"xl/_rels/workbook.xml.rels", `<Relationships xmlns="` + xmlRelations + `">` +
		`<Relationship Id="rId1" Type="` + xmlRelation +
		`/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`},
}

// repack makes a workbook of the sheet and the table of strings alone, so that nothing that
// was not checked is decoded: styles, themes, chains of formulas, other sheets.
func repack(sheet, table []byte) ([]byte, error) {
	var to bytes.Buffer
	to.Grow(len(sheet) + len(table) + 4096)
	w := zip.NewWriter(&to)
	put := func(name string, content []byte) error {
		part, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = io.Copy(part, bytes.NewReader(content))
		}
		return err
	}
	for _, part := range fixedParts {
		if err := put(part[0], []byte(xmlHead+part[1])); err != nil {
			return nil, err
		}
	}
	if len(table) > 0 {
		if err := put("xl/sharedStrings.xml", table); err != nil {
			return nil, err
		}
	}
	if err := put("xl/worksheets/sheet1.xml", sheet); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return to.Bytes(), nil
}
