-- +goose Up
CREATE TABLE watches (
    instance_id TEXT    NOT NULL PRIMARY KEY,
    probe_at    INTEGER NOT NULL,
    misses      INTEGER NOT NULL,
    repairs     INTEGER NOT NULL,
    repaired_at INTEGER NOT NULL,
    claim       TEXT    NOT NULL, -- of the worker that took it last
    rev         INTEGER NOT NULL
);
CREATE INDEX watches_probe ON watches (probe_at);
CREATE INDEX watches_claim ON watches (claim);
INSERT INTO watches SELECT id, 0, 0, 0, 0, '', 0 FROM instances WHERE state IN ('running', 'unhealthy');
CREATE INDEX instances_host ON instances (host_id, deleted_at, id);

-- +goose Down
DROP INDEX instances_host;
DROP TABLE watches;
