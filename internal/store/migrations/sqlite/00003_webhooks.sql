-- +goose Up
CREATE TABLE webhooks (
    id                  TEXT    NOT NULL PRIMARY KEY,
    tenant_id           TEXT    NOT NULL,
    url                 TEXT    NOT NULL,
    events              TEXT    NOT NULL,
    description         TEXT    NOT NULL,
    enabled             BOOLEAN NOT NULL,
    reason              TEXT    NOT NULL,
    key_id              TEXT    NOT NULL,
    ciphertext          BLOB    NOT NULL,
    previous_key_id     TEXT    NOT NULL,
    previous_ciphertext BLOB    NOT NULL, -- empty: none
    previous_until      INTEGER NOT NULL,
    rev                 INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL
);
CREATE INDEX webhooks_list ON webhooks (tenant_id, id);

ALTER TABLE deliveries ADD COLUMN webhook_id TEXT NOT NULL DEFAULT ''; -- empty: a callback
ALTER TABLE deliveries ADD COLUMN receiver TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN event_type TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN attempts TEXT; -- the last few
CREATE INDEX deliveries_receiver ON deliveries (receiver, state, due_at, id);
CREATE INDEX deliveries_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_job ON deliveries (job_id, id);
CREATE INDEX deliveries_list ON deliveries (tenant_id, id);

-- +goose Down
DROP INDEX deliveries_list;
DROP INDEX deliveries_job;
DROP INDEX deliveries_webhook;
DROP INDEX deliveries_receiver;
ALTER TABLE deliveries DROP COLUMN attempts;
ALTER TABLE deliveries DROP COLUMN event_type;
ALTER TABLE deliveries DROP COLUMN receiver;
ALTER TABLE deliveries DROP COLUMN webhook_id;
DROP TABLE webhooks;
