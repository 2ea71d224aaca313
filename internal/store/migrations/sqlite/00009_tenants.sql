-- +goose Up
CREATE TABLE tenants (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    live_name  TEXT    UNIQUE, -- NULL: deleted
    rev        INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER NOT NULL
);
INSERT INTO tenants (id, name, live_name, rev, created_at, updated_at, deleted_at)
VALUES ('default', 'default', 'default', 1, 1000 * CAST(strftime('%s', 'now') AS INTEGER), 1000 * CAST(strftime('%s', 'now') AS INTEGER), 0);
CREATE INDEX tenants_list ON tenants (deleted_at, id);

CREATE TABLE api_keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    tenant_id  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    limits     TEXT    NOT NULL,
    hash       TEXT    NOT NULL UNIQUE,
    hint       TEXT    NOT NULL,
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL
);
CREATE INDEX api_keys_list ON api_keys (tenant_id, revoked_at, id);

-- +goose Down
DROP TABLE api_keys;
DROP TABLE tenants;
