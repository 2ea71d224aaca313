-- +goose Up
-- The processes that work, and the master keys that each has.
CREATE TABLE IF NOT EXISTS key_holders (
    owner VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL PRIMARY KEY,
    key_ids TEXT NOT NULL, -- separated by commas
    sealing VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- the key id that it writes with; empty: it is starting
    seen_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- +goose Down
DROP TABLE key_holders;
