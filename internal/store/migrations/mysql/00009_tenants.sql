-- +goose Up
-- Each statement can be repeated: MySQL takes back none of them.
CREATE TABLE IF NOT EXISTS tenants (
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    name VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    live_name VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin UNIQUE, -- NULL: deleted
    rev BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT NOT NULL,
    KEY tenants_list (deleted_at, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
INSERT IGNORE INTO tenants (id, name, live_name, rev, created_at, updated_at, deleted_at)
VALUES ('default', 'default', 'default', 1, 1000 * UNIX_TIMESTAMP(), 1000 * UNIX_TIMESTAMP(), 0);

CREATE TABLE IF NOT EXISTS api_keys (
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    name VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    role VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    limits TEXT NOT NULL,
    hash VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
    hint VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_by VARCHAR(255) NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL,
    KEY api_keys_list (tenant_id, revoked_at, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- +goose Down
DROP TABLE api_keys;
DROP TABLE tenants;
