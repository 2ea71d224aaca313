-- +goose Up
-- A tenant's limits, and what requests lock that take something from them. A tenant without
-- a row has none of its own; the first who locks it adds one.
CREATE TABLE IF NOT EXISTS quotas (
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    limits TEXT NOT NULL -- JSON: measure to limit
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- +goose Down
DROP TABLE quotas;
