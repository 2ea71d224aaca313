-- +goose Up
-- What was measured of an instance's disk.
ALTER TABLE instances
    ADD COLUMN disk_state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    ADD COLUMN disk_used BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN disk_bound VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    ADD COLUMN disk_seen BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE instances
    DROP COLUMN disk_seen,
    DROP COLUMN disk_bound,
    DROP COLUMN disk_used,
    DROP COLUMN disk_state;
