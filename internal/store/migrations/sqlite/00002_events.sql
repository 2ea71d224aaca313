-- +goose Up
ALTER TABLE events ADD COLUMN seq INTEGER; -- the number that readers see, per tenant; NULL until the sequencer has given it
CREATE UNIQUE INDEX events_seq ON events (tenant_id, seq);
CREATE INDEX events_unnumbered ON events (number) WHERE seq IS NULL;
CREATE INDEX events_instance ON events (instance_id, seq);
CREATE INDEX events_at ON events (at);
DROP INDEX events_list; -- nobody reads by insertion order and tenant

CREATE TABLE event_counters (
    tenant_id TEXT    NOT NULL PRIMARY KEY,
    last      INTEGER NOT NULL -- the highest seq given out
);

CREATE INDEX jobs_live ON jobs (tenant_id, live_instance_id);
ALTER TABLE jobs ADD COLUMN on_failure TEXT NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN kept_until INTEGER NOT NULL DEFAULT 0; -- a failed one, for inspection
CREATE INDEX instances_kept ON instances (kept_until);

-- +goose Down
DROP INDEX instances_kept;
ALTER TABLE instances DROP COLUMN kept_until;
ALTER TABLE jobs DROP COLUMN on_failure;
DROP INDEX jobs_live;
DROP TABLE event_counters;
CREATE INDEX events_list ON events (tenant_id, number);
DROP INDEX events_at;
DROP INDEX events_instance;
DROP INDEX events_unnumbered;
DROP INDEX events_seq;
ALTER TABLE events DROP COLUMN seq;
