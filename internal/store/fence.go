package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/berth-project/berth/internal/fault"
	"github.com/berth-project/berth/internal/tenant"
)

// The fence between tenants stands here, below every query: what is asked for with a context
// that is within a tenant (tenant.Within) gets a condition that the row is that tenant's,
// whatever the caller asked for, and a row of another is not added. So a room that forgets to
// compare a tenant answers "not found". What the fence cannot see through it refuses: raw SQL,
// a table that is not in the list below, a join that brings a fenced table in. Conditions
// are not read: a subquery that is spelled out in one must be tied to the row outside.

// place says whose the rows of a table are.
type place int

const (
	unknown    place = iota // refused within a fence
	ofTenant                // that of the column tenant_id
	ofInstance              // the tenant's whose instance has the id in the column instance_id
	ofPlatform              // no tenant's, or the fence is not for them
)

// tables has every table of the schema.
var tables = map[string]place{
	"instances":      ofTenant,
	"jobs":           ofTenant,
	"events":         ofTenant,
	"event_counters": ofTenant,
	"deliveries":     ofTenant,
	"webhooks":       ofTenant,
	"idempotency":    ofTenant,

	"instance_labels": ofInstance,
	"credentials":     ofInstance,
	"watches":         ofInstance,

	// The platform's: no tenant is told of a row of these.
	"hosts":            ofPlatform,
	"ports":            ofPlatform, // of a host, taken by whoever is placed there
	"disks":            ofPlatform,
	"host_secrets":     ofPlatform,
	"places":           ofPlatform,
	"swarms":           ofPlatform,
	"allocations":      ofPlatform, // a host's books; by whose, is for placement alone
	"duties":           ofPlatform,
	"settings":         ofPlatform,
	"receivers":        ofPlatform, // by address, which tenants may share
	"authorities":      ofPlatform,
	"key_holders":      ofPlatform,
	"goose_db_version": ofPlatform, // how far the schema is
	"goose_lock":       ofPlatform, // who migrates it; on MySQL

	// People, who may be in several tenants, or in none yet.
	"users":           ofPlatform,
	"sessions":        ofPlatform,
	"attempts":        ofPlatform,
	"password_resets": ofPlatform, // by their hash; the tenant is that of who issued it

	// The tenant room's own. It recognizes callers by them, before there is a fence; operators
	// and people with several tenants cross from one to another here by right; and each of its
	// queries names the tenant.
	"tenants":      ofPlatform,
	"members":      ofPlatform,
	"api_keys":     ofPlatform,
	"invitations":  ofPlatform,
	"quotas":       ofPlatform,
	"grants_given": ofPlatform,

	// One chain over all tenants, which a request of any of them lengthens; operators read all
	// of it, others their tenant's, which is named.
	"audit":       ofPlatform,
	"audit_chain": ofPlatform,
}

// errFenced marks what was refused because it is not the tenant's, or might not be.
var errFenced = errors.New("refused within the fence of a tenant")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errFenced}, args...)...)
}

// fence has every statement of the database look whose it may see.
func fence(db *gorm.DB) error {
	callbacks := db.Callback()
	const name = "berth:fence"
	return errors.Join(
		callbacks.Query().Before("gorm:query").Register(name, fenceRows),
		callbacks.Row().Before("gorm:row").Register(name, fenceRows),
		callbacks.Update().Before("gorm:update").Register(name, fenceUpdate),
		callbacks.Delete().Before("gorm:delete").Register(name, fenceWrite),
		callbacks.Create().Before("gorm:create").Register(name, fenceCreate),
		callbacks.Raw().Before("gorm:raw").Register(name, fenceRaw),
	)
}

// fenceRows narrows what a statement meets to the rows of the tenant.
func fenceRows(db *gorm.DB) {
	of, fenced := tenant.Fence(db.Statement.Context)
	if !fenced || db.Error != nil {
		return
	}
	if db.Statement.SQL.Len() > 0 {
		fenceRaw(db)
		return
	}
	table, is, err := tableOf(db.Statement)
	if err != nil {
		_ = db.AddError(err)
		return
	}
	var within clause.Expression
	switch is {
	case ofTenant:
		within = clause.Eq{Column: clause.Column{Table: table, Name: "tenant_id"}, Value: key(of)}
	case ofInstance: // looked up for each row: a list of all that the tenant has could be long
		within = clause.Expr{
			SQL:  "EXISTS (SELECT 1 FROM instances AS fence WHERE fence.id = ? AND fence.tenant_id = ?)",
			Vars: []any{clause.Column{Table: table, Name: "instance_id"}, key(of)},
		}
	case ofPlatform, unknown: // tableOf fails where it is not known
		return
	}
	if c, ok := db.Statement.Clauses["WHERE"]; ok {
		if where, ok := c.Expression.(clause.Where); ok && len(where.Exprs) > 0 {
			c.Expression = clause.Where{Exprs: []clause.Expression{clause.And(where.Exprs...)}} // there may be an OR among them
			db.Statement.Clauses["WHERE"] = c
		}
	}
	db.Statement.AddClause(clause.Where{Exprs: []clause.Expression{within}})
}

// tableOf gives the table that a statement is about, and whose its rows are. It fails where the
// fence would not hold for all that the statement reads.
func tableOf(s *gorm.Statement) (table string, is place, err error) {
	if s.Schema != nil {
		table = s.Schema.Table
	}
	var named []string
	if from := s.TableExpr; from != nil {
		if len(from.Vars) > 0 {
			return "", ofPlatform, checkSubquery(s)
		}
		named = words(from.SQL)
		if len(named) > 0 && !slices.Contains(named, table) {
			table = named[0]
		}
	}
	for _, join := range s.Joins {
		named = append(named, words(join.Name)...)
	}
	if is = tables[table]; is == unknown {
		return "", unknown, refused("whose the table %q is, is not known", table)
	}
	for _, other := range named {
		labels := table == "instances" && tables[other] == ofInstance // which lead to theirs
		if other != table && !labels && (tables[other] == ofTenant || tables[other] == ofInstance) {
			return "", unknown, refused("a query of %s with %s", table, other)
		}
	}
	return table, is, nil
}

// checkSubquery fails unless a statement reads from a subquery, and from nothing else. That has
// a fence of its own.
func checkSubquery(s *gorm.Statement) error {
	alias, found := strings.CutPrefix(s.TableExpr.SQL, "(?) AS ")
	inner, ok := s.TableExpr.Vars[0].(*gorm.DB)
	if !found || !ok || len(s.TableExpr.Vars) > 1 || len(words(alias)) != 1 || len(s.Joins) > 0 || inner.Statement.SQL.Len() > 0 {
		return refused("a query of %s", s.TableExpr.SQL)
	}
	return nil
}

// words gives the words of a part of a statement.
func words(sql string) []string {
	return strings.FieldsFunc(sql, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// fenceWrite is fenceRows for what changes rows. It must have conditions of its own: without
// any it would meet all that the tenant has, and be refused without a fence.
func fenceWrite(db *gorm.DB) {
	if _, fenced := tenant.Fence(db.Statement.Context); !fenced || db.Error != nil {
		return
	}
	if _, some := db.Statement.Clauses["WHERE"]; !some {
		_ = db.AddError(gorm.ErrMissingWhereClause)
		return
	}
	fenceRows(db)
}

// fenceUpdate is fenceWrite, and refuses to hand a row to somebody else.
func fenceUpdate(db *gorm.DB) {
	if _, fenced := tenant.Fence(db.Statement.Context); fenced && db.Error == nil {
		table, is, err := tableOf(db.Statement)
		if err == nil && is != ofPlatform {
			columns, ok := db.Statement.Dest.(map[string]any)
			_, tenants := columns["tenant_id"]
			_, instances := columns["instance_id"]
			if !ok || tenants || instances {
				err = refused("an update of %s that says whose it is", table)
			}
		}
		if err != nil {
			_ = db.AddError(err)
			return
		}
	}
	fenceWrite(db)
}

// fenceRaw refuses a statement that was spelled out. Rows that put adds do not come here.
func fenceRaw(db *gorm.DB) {
	if _, fenced := tenant.Fence(db.Statement.Context); fenced {
		_ = db.AddError(refused("a statement that was spelled out"))
	}
}

// fenceCreate refuses new rows that are not the tenant's.
func fenceCreate(db *gorm.DB) {
	of, fenced := tenant.Fence(db.Statement.Context)
	if !fenced || db.Error != nil {
		return
	}
	table, is, err := tableOf(db.Statement)
	if err == nil && is != ofPlatform {
		err = fenceNew(db, of, table)
	}
	if err != nil {
		_ = db.AddError(err)
	}
}

func fenceNew(db *gorm.DB, of tenant.ID, table string) error {
	s := db.Statement
	if c, ok := s.Clauses["ON CONFLICT"]; ok && tables[table] == ofTenant {
		if on, ok := c.Expression.(clause.OnConflict); !ok || !on.DoNothing {
			return refused("a row of %s that may replace another", table)
		}
	}
	if s.Schema == nil || s.Schema.Table != table {
		return refused("a row of %s of a form that is not known", table)
	}
	column := s.Schema.LookUpField(columnOfOwner(tables[table]))
	rows := s.ReflectValue
	if rows.Kind() == reflect.Struct {
		value, _ := column.ValueOf(s.Context, rows)
		return ours(db, of, table, value)
	}
	if rows.Kind() != reflect.Slice {
		return refused("rows of %s of a form that is not known", table)
	}
	for n := range rows.Len() {
		value, _ := column.ValueOf(s.Context, reflect.Indirect(rows.Index(n)))
		if err := ours(db, of, table, value); err != nil {
			return err
		}
	}
	return nil
}

func columnOfOwner(p place) string {
	if p == ofInstance {
		return "instance_id"
	}
	return "tenant_id"
}

// ours fails where a new row, with that tenant or that instance, is not the tenant's.
func ours(db *gorm.DB, of tenant.ID, table string, owner any) error {
	id, _ := owner.(string)
	switch tables[table] {
	case ofPlatform:
		return nil
	case ofTenant:
		if id != string(of) {
			return refused("a row of %s that is another tenant's", table)
		}
		return nil
	case ofInstance:
		if made, ok := db.Statement.Context.Value(writtenKey{}).(*written); ok && made.instance == id {
			return nil
		}
		var found []string // of the tenant alone, as this is within the fence, too
		err := db.Session(&gorm.Session{NewDB: true}).Model(&instanceRow{}).Where("id = ?", key(id)).Pluck("id", &found).Error
		if err == nil && len(found) == 0 {
			err = refused("a row of %s that is another tenant's", table)
		}
		return err
	default:
		return refused("whose the table %q is, is not known", table)
	}
}

// written is the instance that a transaction within a fence has written: what is added to it
// is its tenant's, without another question to the database.
type written struct{ instance string }

type writtenKey struct{}

// remembering gives the context of a transaction within a fence.
func remembering(ctx context.Context) context.Context {
	if _, fenced := tenant.Fence(ctx); !fenced {
		return ctx
	}
	return context.WithValue(ctx, writtenKey{}, &written{})
}

// wrote notes an instance that is the tenant's now.
func wrote(ctx context.Context, instance string) {
	if made, ok := ctx.Value(writtenKey{}).(*written); ok {
		made.instance = instance
	}
}

// mayCount fails where it is asked what another tenant has, and nothing would be an answer
// that permits something.
func mayCount(ctx context.Context, of tenant.ID) error {
	if within, fenced := tenant.Fence(ctx); fenced && within != of {
		return fault.Errorf(fault.CodeNotFound, errFenced, "there is no tenant %s", of)
	}
	return nil
}
