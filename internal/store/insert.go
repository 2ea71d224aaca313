package store

import (
	"reflect"
	"strings"
	"sync"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/berth-project/berth/internal/tenant"
)

// insertion is how a kind of row is added.
type insertion struct {
	sql    string // without its verb
	table  string
	owner  int // which of the fields says whose the row is; -1: none does
	fields []*schema.Field
}

const insertVerb = "INSERT"

// insertions are kept by the type of the row.
var insertions sync.Map

// insert adds a row. GORM's Create looks for defaults, hooks and associations first, which
// takes as long again as SQLite does; no row here has any.
func insert[T any](db *gorm.DB, row T) error { return put(db, insertVerb, row) }

// replace adds a row in the place of one with the same key, if there is one.
func replace[T any](db *gorm.DB, row T) error { return put(db, "REPLACE", row) }

func put[T any](db *gorm.DB, verb string, row T) error {
	i, err := insertionOf[T](db)
	if err != nil {
		return err
	}
	of, values := reflect.ValueOf(&row).Elem(), make([]any, len(i.fields))
	for n, f := range i.fields {
		values[n], _ = f.ValueOf(db.Statement.Context, of)
	}
	if err := i.fence(db, verb, values); err != nil {
		return err
	}
	if b, ok := db.Statement.ConnPool.(*batch); ok && !b.alone {
		return b.later(db.Statement.Context, verb+i.sql, values)
	}
	_, err = db.Statement.ConnPool.ExecContext(db.Statement.Context, verb+i.sql, values...)
	if translator, ok := db.Dialector.(gorm.ErrorTranslator); ok && err != nil {
		err = translator.Translate(err)
	}
	return err
}

// fence refuses a row that is not the tenant's whom all that is written must be.
func (i insertion) fence(db *gorm.DB, verb string, values []any) error {
	of, fenced := tenant.Fence(db.Statement.Context)
	if !fenced {
		return nil
	}
	if verb != insertVerb && tables[i.table] == ofTenant {
		return refused("a row of %s that may replace another", i.table)
	}
	var owner any
	if i.owner >= 0 {
		owner = values[i.owner]
	}
	return ours(db, of, i.table, owner)
}

func insertionOf[T any](db *gorm.DB) (insertion, error) {
	kind := reflect.TypeFor[T]()
	if known, ok := insertions.Load(kind); ok {
		return known.(insertion), nil //nolint:forcetypeassert // nothing else is kept
	}
	parsed := gorm.Statement{DB: db}
	if err := parsed.Parse(new(T)); err != nil {
		return insertion{}, err
	}
	i := insertion{table: parsed.Schema.Table, owner: -1}
	var names []string
	for _, f := range parsed.Schema.Fields {
		if !f.AutoIncrement {
			if f.DBName == columnOfOwner(tables[i.table]) {
				i.owner = len(i.fields)
			}
			i.fields, names = append(i.fields, f), append(names, "`"+f.DBName+"`")
		}
	}
	i.sql = " INTO `" + parsed.Schema.Table + "` (" + strings.Join(names, ",") + ") VALUES (?" + strings.Repeat(",?", len(names)-1) + ")"
	insertions.Store(kind, i)
	return i, nil
}
