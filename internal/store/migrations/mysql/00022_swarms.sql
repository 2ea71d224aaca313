-- +goose Up
-- Swarms whose nodes become hosts by themselves, and what was seen of them last.
CREATE TABLE IF NOT EXISTS swarms (
    name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    endpoint VARCHAR(512) NOT NULL, -- of the managers
    region VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    zone VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- of a node whose labels name none
    reserved BOOLEAN NOT NULL,
    nodes MEDIUMTEXT NOT NULL, -- as the managers describe them; JSON
    seen_at BIGINT NOT NULL, -- when they were listed last
    error VARCHAR(2048) NOT NULL, -- why they could not be since then
    rev BIGINT NOT NULL,
    created_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- As long as an endpoint may be: one that names many managers is.
ALTER TABLE hosts MODIFY COLUMN endpoint VARCHAR(512) NOT NULL;

-- +goose Down
ALTER TABLE hosts MODIFY COLUMN endpoint VARCHAR(255) NOT NULL;
DROP TABLE swarms;
