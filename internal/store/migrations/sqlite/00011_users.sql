-- +goose Up
CREATE TABLE users (
    id            TEXT    NOT NULL PRIMARY KEY,
    login         TEXT    NOT NULL UNIQUE,
    name          TEXT    NOT NULL,
    password_hash TEXT    NOT NULL, -- empty: no password opens it
    operator      INTEGER NOT NULL,
    home_id       TEXT    NOT NULL, -- tenant whose owners may reset the password; empty: none
    epoch         INTEGER NOT NULL,
    disabled_at   INTEGER NOT NULL,
    rev           INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
);

CREATE TABLE members (
    tenant_id  TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);
CREATE INDEX members_user ON members (user_id, created_at, tenant_id);
CREATE INDEX members_role ON members (tenant_id, role);

CREATE TABLE sessions (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    tenant_id  TEXT    NOT NULL,
    hash       TEXT    NOT NULL UNIQUE,
    epoch      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id, id);
CREATE INDEX sessions_expired ON sessions (expires_at);

CREATE TABLE invitations (
    id         TEXT    NOT NULL PRIMARY KEY,
    tenant_id  TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    hash       TEXT    NOT NULL UNIQUE,
    created_by TEXT    NOT NULL,
    by_user    TEXT    NOT NULL, -- empty: a key
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL, -- 0: it is open
    used_by    TEXT    NOT NULL
);
CREATE INDEX invitations_list ON invitations (tenant_id, used_at, id);
CREATE INDEX invitations_expired ON invitations (expires_at);

CREATE TABLE password_resets (
    hash       TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    tenant_id  TEXT    NOT NULL, -- whose owner made it; empty: an operator
    by_user    TEXT    NOT NULL, -- empty: a key
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE INDEX password_resets_user ON password_resets (user_id);
CREATE INDEX password_resets_expired ON password_resets (expires_at);

CREATE TABLE attempts (
    id         TEXT    NOT NULL PRIMARY KEY, -- a hash of the account and the address
    level      REAL    NOT NULL,
    last_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    rev        INTEGER NOT NULL
);
CREATE INDEX attempts_expired ON attempts (expires_at);

-- +goose Down
DROP TABLE attempts;
DROP TABLE password_resets;
DROP TABLE invitations;
DROP TABLE sessions;
DROP TABLE members;
DROP TABLE users;
