-- +goose Up
-- What is known of receivers that are not well; the others have no row.
CREATE TABLE receivers (
    name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    failing_since BIGINT NOT NULL,
    took BIGINT NOT NULL,
    rest_until BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE INDEX receivers_old ON receivers (updated_at);

ALTER TABLE deliveries ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;
UPDATE deliveries SET expires_at = created_at + 259200000; -- three days
UPDATE deliveries SET receiver = CONCAT(tenant_id, '@', LEFT(receiver, 200)) WHERE webhook_id = '' AND state = 'pending';
DROP INDEX deliveries_wake ON deliveries;
DROP INDEX deliveries_receiver ON deliveries;
CREATE INDEX deliveries_pending ON deliveries (state, receiver, due_at, id);
CREATE INDEX deliveries_expiry ON deliveries (state, expires_at);

-- +goose Down
DROP INDEX deliveries_expiry ON deliveries;
DROP INDEX deliveries_pending ON deliveries;
CREATE INDEX deliveries_receiver ON deliveries (receiver, state, due_at, id);
CREATE INDEX deliveries_wake ON deliveries (wake_at);
ALTER TABLE deliveries DROP COLUMN expires_at;
DROP TABLE receivers;
