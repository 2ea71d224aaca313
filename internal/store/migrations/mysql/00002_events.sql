-- +goose Up
ALTER TABLE events ADD COLUMN seq BIGINT; -- the number that readers see, per tenant; NULL until the sequencer has given it
CREATE UNIQUE INDEX events_seq ON events (tenant_id, seq);
CREATE INDEX events_unnumbered ON events (seq); -- InnoDB keeps the primary key behind it, so it is in insertion order
CREATE INDEX events_instance ON events (instance_id, seq);
CREATE INDEX events_at ON events (at);
DROP INDEX events_list ON events; -- nobody reads by insertion order and tenant

CREATE TABLE event_counters (
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL -- the highest seq given out
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE INDEX jobs_live ON jobs (tenant_id, live_instance_id);
ALTER TABLE jobs ADD COLUMN on_failure VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN kept_until BIGINT NOT NULL DEFAULT 0; -- a failed one, for inspection
CREATE INDEX instances_kept ON instances (kept_until);

-- +goose Down
DROP INDEX instances_kept ON instances;
ALTER TABLE instances DROP COLUMN kept_until;
ALTER TABLE jobs DROP COLUMN on_failure;
DROP INDEX jobs_live ON jobs;
DROP TABLE event_counters;
CREATE INDEX events_list ON events (tenant_id, number);
DROP INDEX events_at ON events;
DROP INDEX events_instance ON events;
DROP INDEX events_unnumbered ON events;
DROP INDEX events_seq ON events;
ALTER TABLE events DROP COLUMN seq;
