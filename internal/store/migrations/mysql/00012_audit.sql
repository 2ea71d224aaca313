-- +goose Up
-- What was done, by whom and from where. Entries are only ever added; a number, once given,
-- and the hashes stay. Each statement can be repeated: MySQL takes back none of them.
CREATE TABLE IF NOT EXISTS audit (
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    number BIGINT UNIQUE, -- its place in the chain; NULL: it has none yet
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- empty: the platform's
    at BIGINT NOT NULL,
    actor VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    user_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    key_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    session_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    address VARCHAR(120) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    request VARCHAR(120) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    action VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    subject VARCHAR(120) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    job_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    result VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    detail VARCHAR(600) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    previous VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    hash VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    KEY audit_tenant (tenant_id, number),
    KEY audit_subject (subject, number)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- The end of the chain, and what is locked to change it.
CREATE TABLE IF NOT EXISTS audit_chain (
    id BIGINT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    hash VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
INSERT IGNORE INTO audit_chain (id, number, hash) VALUES (1, 0, '');

-- +goose Down
DROP TABLE audit_chain;
DROP TABLE audit;
