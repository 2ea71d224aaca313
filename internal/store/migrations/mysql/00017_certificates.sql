-- +goose Up
-- The authority that certifies servers; the id is the deployment's.
CREATE TABLE IF NOT EXISTS authorities (
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    certificate TEXT NOT NULL,
    key_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    ciphertext MEDIUMBLOB NOT NULL,
    created_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
ALTER TABLE instances
    ADD COLUMN ports BIGINT NOT NULL DEFAULT 1, -- how many it takes of its host
    ADD COLUMN require_tls TINYINT(1) NOT NULL DEFAULT 0,
    ADD COLUMN tls_port BIGINT NOT NULL DEFAULT 0, -- 0: it has no second port
    ADD COLUMN cert_until BIGINT NOT NULL DEFAULT 0, -- 0: it has no certificate
    ADD INDEX instances_certificates (cert_until);

-- +goose Down
ALTER TABLE instances DROP INDEX instances_certificates, DROP COLUMN cert_until, DROP COLUMN tls_port, DROP COLUMN require_tls, DROP COLUMN ports;
DROP TABLE authorities;
