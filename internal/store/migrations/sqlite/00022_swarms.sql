-- +goose Up
-- Swarms whose nodes become hosts by themselves, and what was seen of them last.
CREATE TABLE swarms (
    name TEXT NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL, -- of the managers
    region TEXT NOT NULL,
    zone TEXT NOT NULL, -- of a node whose labels name none
    reserved BOOLEAN NOT NULL,
    nodes TEXT NOT NULL, -- as the managers describe them; JSON
    seen_at INTEGER NOT NULL, -- when they were listed last
    error TEXT NOT NULL, -- why they could not be since then
    rev INTEGER NOT NULL,
    created_at INTEGER NOT NULL
);

-- +goose Down
DROP TABLE swarms;
