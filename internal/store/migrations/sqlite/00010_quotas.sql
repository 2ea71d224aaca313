-- +goose Up
-- A tenant's limits, and what requests lock that take something from them. A tenant without
-- a row has none of its own; the first who locks it adds one.
CREATE TABLE quotas (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    limits    TEXT NOT NULL -- JSON: measure to limit
);

-- +goose Down
DROP TABLE quotas;
