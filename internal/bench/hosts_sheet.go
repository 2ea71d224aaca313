package main

import (
	"bytes"
	"encoding/csv"
	"fmt"

	"github.com/xuri/excelize/v2"

	"github.com/berth-project/berth/internal/sheet"
)

const sheetRows = 2000

// sheetOf fills the template in with machines that the pool does not have.
func sheetOf(format string, rows int) ([]byte, error) {
	empty, err := sheet.Template("csv")
	if err != nil {
		return nil, err
	}
	table, err := csv.NewReader(bytes.NewReader(empty)).ReadAll()
	if err != nil {
		return nil, err
	}
	header := table[0]
	for i := range rows {
		table = append(table, machineRow(header, i))
	}
	if format == "xlsx" {
		return workbookOf(table[1:])
	}
	var to bytes.Buffer
	err = csv.NewWriter(&to).WriteAll(table)
	return to.Bytes(), err
}

func machineRow(header []string, i int) []string {
	cells := map[string]string{
		"Host Name": fmt.Sprintf("machine-%04d", i), "IP": fmt.Sprintf("10.20.%d.%d", i/250, i%250+1),
		"Login UserName": "root", "Login Password": fmt.Sprintf("secret-of-%d", i),
		"RegionID": fmt.Sprintf("region-%d", i%4), "ZoneID": fmt.Sprintf("zone-%d", i/4%5), "RackID": fmt.Sprintf("rack-%d", i/20%10),
		"Arch": "x86_64", "OS Version": "Debian 13", "Kernel": "6.12", "CpuCores": "64", "Memory": "256", "Nic": "10GE",
		"Cluster Purpose": "Database", "Component Purpose": "Compute,Storage", "Labels": fmt.Sprintf("team=data;cost=%d", i%9),
		"Disk Type": "nvme", "Disks": `[{"name":"nvme0n1","capacity":3576,"status":"Available","path":"/data1"},` +
			`{"name":"nvme1n1","capacity":3576,"status":"Available","path":"/data2"}]`,
	}
	row := make([]string, len(header))
	for c, name := range header {
		row[c] = cells[name]
	}
	return row
}

// workbookOf writes the rows below the header of the workbook that operators get.
func workbookOf(rows [][]string) ([]byte, error) {
	empty, err := sheet.Template("xlsx")
	if err != nil {
		return nil, err
	}
	f, err := excelize.OpenReader(bytes.NewReader(empty))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it is in memory
	for i, cells := range rows {
		if err := f.SetSheetRow(f.GetSheetName(0), fmt.Sprintf("A%d", i+2), &cells); err != nil {
			return nil, err
		}
	}
	var to bytes.Buffer
	err = f.Write(&to)
	return to.Bytes(), err
}
