-- +goose Up
-- The authority that certifies servers; the id is the deployment's.
CREATE TABLE authorities (
    id          TEXT    NOT NULL PRIMARY KEY,
    certificate TEXT    NOT NULL,
    key_id      TEXT    NOT NULL,
    ciphertext  BLOB    NOT NULL,
    created_at  INTEGER NOT NULL
);
ALTER TABLE instances ADD COLUMN ports INTEGER NOT NULL DEFAULT 1; -- how many it takes of its host
ALTER TABLE instances ADD COLUMN require_tls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN tls_port INTEGER NOT NULL DEFAULT 0; -- 0: it has no second port
ALTER TABLE instances ADD COLUMN cert_until INTEGER NOT NULL DEFAULT 0; -- 0: it has no certificate
CREATE INDEX instances_certificates ON instances (cert_until) WHERE cert_until > 0;

-- +goose Down
DROP INDEX instances_certificates;
ALTER TABLE instances DROP COLUMN cert_until;
ALTER TABLE instances DROP COLUMN tls_port;
ALTER TABLE instances DROP COLUMN require_tls;
ALTER TABLE instances DROP COLUMN ports;
DROP TABLE authorities;
