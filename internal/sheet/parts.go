package sheet

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"path"
	"strings"
)

// The bounds of a workbook.
const (
	maxUnzipped = 64 << 20 // bytes of all parts
	maxParts    = 2000
	maxDirPart  = 1 << 20 // bytes of a part that says where others are
	maxSheets   = 256
)

var errDamaged = refuse("is damaged, or no .xlsx workbook; open it in a spreadsheet program and save it as .xlsx")

// parts are the parts of a workbook by their names in lower case: names differ by more than
// that (ISO 29500-2, 6.2.2).
type parts map[string]*zip.File

// openParts opens the archive. What its parts say of their sizes is bound here, and held to
// when they are read. Two parts of one name are refused: programs differ in which one counts.
func openParts(data []byte) (parts, error) {
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, errDamaged
	}
	if len(archive.File) > maxParts {
		return nil, refuse("has more than %d parts", maxParts)
	}
	all, total := parts{}, uint64(0)
	for _, f := range archive.File {
		if f.UncompressedSize64 > maxUnzipped || total+f.UncompressedSize64 > maxUnzipped {
			return nil, refuse("is larger than %d MiB when it is unpacked", maxUnzipped>>20)
		}
		total += f.UncompressedSize64
		name := strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(f.Name, `\`, "/"), "/"))
		if all[name] != nil {
			return nil, errDamaged
		}
		all[name] = f
	}
	return all, nil
}

// read unpacks a part whole, with its checksum.
func (p parts) read(name string, limit uint64) ([]byte, error) {
	f := p[strings.ToLower(name)]
	if f == nil {
		return nil, errDamaged
	}
	if f.UncompressedSize64 > limit {
		return nil, refuse("has a part that is too large")
	}
	r, err := f.Open()
	if err != nil {
		return nil, errDamaged
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(io.LimitReader(r, maxUnzipped+1))
	if err != nil || uint64(len(data)) != f.UncompressedSize64 {
		return nil, errDamaged
	}
	return data, checkTags(data)
}

// decode reads a small part.
func (p parts) decode(name string, to any) error {
	data, err := p.read(name, maxDirPart)
	if err != nil {
		return err
	}
	if err := checkXML(data); err != nil {
		return err
	}
	if xml.Unmarshal(data, to) != nil {
		return errDamaged
	}
	return nil
}

// relationships is a part that says where the parts are that another one names.
type relationships struct {
	All []struct {
		ID     string `xml:"Id,attr"`
		Type   string `xml:"Type,attr"`
		Target string `xml:"Target,attr"`
	} `xml:"Relationship"`
}

// related gives the parts that a part is related to; "" is the workbook as a whole. Their
// targets are absolute, or relative to its folder.
func (p parts) related(part string) (relationships, error) {
	var found relationships
	folder, name := path.Split(part)
	err := p.decode(folder+"_rels/"+name+".rels", &found)
	for i, r := range found.All {
		if target := strings.ReplaceAll(r.Target, `\`, "/"); path.IsAbs(target) {
			found.All[i].Target = strings.TrimPrefix(path.Clean(target), "/")
		} else {
			found.All[i].Target = path.Join(folder, target)
		}
	}
	return found, err
}

// kind gives the last element of a relationship's type: the rest differs between the two
// flavours of the standard.
func kind(relation string) string { return path.Base(relation) }

// book is the part that lists the sheets.
type book struct {
	Sheets []struct {
		Name  string `xml:"name,attr"`
		State string `xml:"state,attr"`
		ID    string `xml:"http://schemas.openxmlformats.org/officeDocument/2006/relationships id,attr"`
		// StrictID is the same in the strict flavour.
		StrictID string `xml:"http://purl.oclc.org/ooxml/officeDocument/relationships id,attr"`
	} `xml:"sheets>sheet"`
}

// workbookParts gives the sheet that is read and the table of strings, which may be missing.
func (p parts) workbookParts() (sheet, table []byte, err error) {
	top, err := p.related("")
	if err != nil {
		return nil, nil, err
	}
	main := ""
	for _, r := range top.All {
		if kind(r.Type) == "officeDocument" {
			main = r.Target
		}
	}
	var b book
	if err := p.decode(main, &b); err != nil {
		return nil, nil, err
	}
	related, err := p.related(main)
	if err != nil {
		return nil, nil, err
	}
	id, err := b.choose()
	if err != nil {
		return nil, nil, err
	}
	for _, r := range related.All {
		switch {
		case r.ID == id && kind(r.Type) != "worksheet":
			return nil, nil, refuse("has a sheet of hosts that is no table but a chart or a dialog")
		case r.ID == id && sheet == nil:
			sheet, err = p.read(r.Target, maxUnzipped)
		case kind(r.Type) == "sharedStrings" && table == nil:
			table, err = p.read(r.Target, maxUnzipped)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if sheet == nil {
		return nil, nil, errDamaged
	}
	return sheet, table, nil
}

// choose gives the id of the sheet that is read. A hidden one is refused: nobody would see
// what they import.
func (b book) choose() (string, error) {
	if len(b.Sheets) == 0 || len(b.Sheets) > maxSheets {
		return "", errDamaged
	}
	chosen := b.Sheets[0]
	for _, s := range b.Sheets {
		if strings.EqualFold(trim(s.Name), sheetName) {
			chosen = s
			break
		}
	}
	if chosen.State != "" && chosen.State != "visible" {
		return "", refuse("has its hosts on a hidden sheet, %q; show the sheet, or remove it", shown(chosen.Name))
	}
	if chosen.ID == "" {
		chosen.ID = chosen.StrictID
	}
	return chosen.ID, nil
}
