-- +goose Up
-- The processes that work, and the master keys that each has.
CREATE TABLE key_holders (
    owner   TEXT    NOT NULL PRIMARY KEY,
    key_ids TEXT    NOT NULL, -- separated by commas
    sealing TEXT    NOT NULL, -- the key id that it writes with; empty: it is starting
    seen_at INTEGER NOT NULL
);

-- +goose Down
DROP TABLE key_holders;
