-- +goose Up
-- What lets an operator read the credentials of a tenant for some time.
CREATE TABLE grants_given (
    id         TEXT    NOT NULL PRIMARY KEY,
    tenant_id  TEXT    NOT NULL,
    user_id    TEXT    NOT NULL, -- of the operator; empty: a key
    key_id     TEXT    NOT NULL, -- empty as well: the admin key
    given_by   TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL -- before its time; 0: not
);
CREATE INDEX grants_given_list ON grants_given (tenant_id, id);

-- +goose Down
DROP TABLE grants_given;
