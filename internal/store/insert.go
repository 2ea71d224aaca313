package store

import (
	"reflect"
	"strings"
	"sync"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// insertion is how a kind of row is added.
type insertion struct {
	sql    string // without its verb
	fields []*schema.Field
}

// insertions are kept by the type of the row.
var insertions sync.Map

// insert adds a row. GORM's Create looks for defaults, hooks and associations first, which
// takes as long again as SQLite does; no row here has any.
func insert[T any](db *gorm.DB, row T) error { return put(db, "INSERT", row) }

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
	if b, ok := db.Statement.ConnPool.(*batch); ok && !b.alone {
		return b.later(db.Statement.Context, verb+i.sql, values)
	}
	return db.Exec(verb+i.sql, values...).Error
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
	var i insertion
	var names []string
	for _, f := range parsed.Schema.Fields {
		if !f.AutoIncrement {
			i.fields, names = append(i.fields, f), append(names, "`"+f.DBName+"`")
		}
	}
	i.sql = " INTO `" + parsed.Schema.Table + "` (" + strings.Join(names, ",") + ") VALUES (?" + strings.Repeat(",?", len(names)-1) + ")"
	insertions.Store(kind, i)
	return i, nil
}
