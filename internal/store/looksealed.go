package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/berth-project/berth/internal/sealing"
	"github.com/berth-project/berth/internal/secret"
)

// LookAtSealed reads samples of all that is sealed in the database at a URL, of every key
// that has sealed any of it, and changes nothing.
func LookAtSealed(ctx context.Context, databaseURL string) ([]sealing.Value, error) {
	var samples []sealing.Value
	err := look(ctx, databaseURL, func(l *looker) error {
		for _, column := range sealedColumns {
			found, err := l.samples(column)
			if err != nil {
				return fmt.Errorf("read what is sealed in %s: %w", column.table, err)
			}
			samples = append(samples, found...)
		}
		check, err := l.keyCheck()
		samples = append(samples, check...)
		return err
	})
	return samples, err
}

// samplesOfEach is how many values of each key are read: one that was damaged says nothing
// of the key.
const samplesOfEach = 2

func (l *looker) samples(c sealedColumn) ([]sealing.Value, error) {
	if !l.has(c.table) {
		return nil, nil
	}
	where, args := c.whereNeeded(time.Now())
	keys, err := texts(l, "SELECT DISTINCT "+c.keyID+" FROM "+c.table+" WHERE "+where, args...)
	if err != nil {
		return nil, err
	}
	var all []sealing.Value
	for _, key := range keys {
		found, err := l.samplesOf(c, key, where, args)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (l *looker) samplesOf(c sealedColumn, key, where string, args []any) ([]sealing.Value, error) {
	//nolint:gosec // the names are this package's
	query := fmt.Sprintf("SELECT %s, %s, %s FROM %s WHERE %s = ? AND %s LIMIT %d", c.owner(), c.id, c.ciphertext, c.table, c.keyID, where, samplesOfEach)
	rows, err := l.db.QueryContext(l.ctx, query, append([]any{key}, args...)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err tells
	var found []sealing.Value
	for rows.Next() {
		s := sealing.Value{Kind: c.kind, Sealed: secret.Sealed{KeyID: key}}
		if err := rows.Scan(&s.Tenant, &s.ID, &s.Sealed.Ciphertext); err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	return found, rows.Err()
}

func (l *looker) keyCheck() ([]sealing.Value, error) {
	text, found, err := l.setting(keyCheckSetting)
	if err != nil || !found {
		return nil, err
	}
	deployment, _, err := l.setting(deploymentSetting)
	if err != nil {
		return nil, err
	}
	s := sealing.Value{Kind: sealing.Check, ID: deployment}
	if err := json.Unmarshal([]byte(text), &s.Sealed); err != nil {
		return nil, fmt.Errorf("read the check value of the master key: %w", err)
	}
	return []sealing.Value{s}, nil
}
