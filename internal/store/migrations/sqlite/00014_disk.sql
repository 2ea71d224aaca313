-- +goose Up
-- What was measured of an instance's disk.
ALTER TABLE instances ADD COLUMN disk_state TEXT NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN disk_used INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN disk_bound TEXT NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN disk_seen INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE instances DROP COLUMN disk_seen;
ALTER TABLE instances DROP COLUMN disk_bound;
ALTER TABLE instances DROP COLUMN disk_used;
ALTER TABLE instances DROP COLUMN disk_state;
