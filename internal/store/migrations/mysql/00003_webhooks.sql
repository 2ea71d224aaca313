-- +goose Up
CREATE TABLE webhooks (
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    url VARCHAR(2048) NOT NULL,
    events TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    reason TEXT NOT NULL,
    key_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    ciphertext MEDIUMBLOB NOT NULL,
    previous_key_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    previous_ciphertext MEDIUMBLOB NOT NULL, -- empty: none
    previous_until BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE INDEX webhooks_list ON webhooks (tenant_id, id);

ALTER TABLE deliveries
    ADD COLUMN webhook_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '', -- empty: a callback
    ADD COLUMN receiver VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL DEFAULT '',
    ADD COLUMN event_type VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL DEFAULT '',
    ADD COLUMN attempts MEDIUMTEXT; -- the last few
CREATE INDEX deliveries_receiver ON deliveries (receiver, state, due_at, id);
CREATE INDEX deliveries_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_job ON deliveries (job_id, id);
CREATE INDEX deliveries_list ON deliveries (tenant_id, id);

-- +goose Down
DROP INDEX deliveries_list ON deliveries;
DROP INDEX deliveries_job ON deliveries;
DROP INDEX deliveries_webhook ON deliveries;
DROP INDEX deliveries_receiver ON deliveries;
ALTER TABLE deliveries DROP COLUMN attempts, DROP COLUMN event_type, DROP COLUMN receiver, DROP COLUMN webhook_id;
DROP TABLE webhooks;
