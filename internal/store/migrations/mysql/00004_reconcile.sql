-- +goose Up
CREATE TABLE watches (
    instance_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    probe_at BIGINT NOT NULL,
    misses BIGINT NOT NULL,
    repairs BIGINT NOT NULL,
    repaired_at BIGINT NOT NULL,
    claim VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- of the worker that took it last
    rev BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE INDEX watches_probe ON watches (probe_at);
CREATE INDEX watches_claim ON watches (claim);
INSERT INTO watches SELECT id, 0, 0, 0, 0, '', 0 FROM instances WHERE state IN ('running', 'unhealthy');
CREATE INDEX instances_host ON instances (host_id, deleted_at, id);

-- +goose Down
DROP INDEX instances_host ON instances;
DROP TABLE watches;
