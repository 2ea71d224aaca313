-- +goose Up
-- What was done, by whom and from where. Entries are only ever added; a number, once given,
-- and the hashes stay.
CREATE TABLE audit (
    id         TEXT    NOT NULL PRIMARY KEY,
    number     INTEGER UNIQUE, -- its place in the chain; NULL: it has none yet
    tenant_id  TEXT    NOT NULL, -- empty: the platform's
    at         INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    key_id     TEXT    NOT NULL,
    session_id TEXT    NOT NULL,
    address    TEXT    NOT NULL,
    request    TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    job_id     TEXT    NOT NULL,
    result     TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    previous   TEXT    NOT NULL,
    hash       TEXT    NOT NULL
);
CREATE INDEX audit_tenant ON audit (tenant_id, number);
CREATE INDEX audit_subject ON audit (subject, number);

-- The end of the chain, and what is locked to change it.
CREATE TABLE audit_chain (
    id     INTEGER NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL,
    hash   TEXT    NOT NULL
);
INSERT INTO audit_chain (id, number, hash) VALUES (1, 0, '');

-- +goose Down
DROP TABLE audit_chain;
DROP TABLE audit;
