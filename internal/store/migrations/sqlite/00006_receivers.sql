-- +goose Up
-- What is known of receivers that are not well; the others have no row.
CREATE TABLE receivers (
    name          TEXT    NOT NULL PRIMARY KEY,
    failures      INTEGER NOT NULL,
    failing_since INTEGER NOT NULL,
    took          INTEGER NOT NULL,
    rest_until    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
);
CREATE INDEX receivers_old ON receivers (updated_at);

ALTER TABLE deliveries ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET expires_at = created_at + 259200000; -- three days
UPDATE deliveries SET receiver = tenant_id || '@' || receiver WHERE webhook_id = '' AND state = 'pending';
DROP INDEX deliveries_wake;
DROP INDEX deliveries_receiver;
CREATE INDEX deliveries_pending ON deliveries (state, receiver, due_at, id);
CREATE INDEX deliveries_expiry ON deliveries (state, expires_at);

-- +goose Down
DROP INDEX deliveries_expiry;
DROP INDEX deliveries_pending;
CREATE INDEX deliveries_receiver ON deliveries (receiver, state, due_at, id);
CREATE INDEX deliveries_wake ON deliveries (wake_at);
ALTER TABLE deliveries DROP COLUMN expires_at;
DROP TABLE receivers;
