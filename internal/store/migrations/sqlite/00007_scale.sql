-- +goose Up
CREATE INDEX instances_all ON instances (tenant_id, id); -- with the deleted
CREATE INDEX instances_engine ON instances (tenant_id, engine, deleted_at, id);
CREATE INDEX instances_name ON instances (tenant_id, name, id);
CREATE INDEX jobs_kind ON jobs (tenant_id, kind, id);

-- What few rows are in costs the others nothing.
DROP INDEX instances_deleted;
CREATE INDEX instances_deleted ON instances (deleted_at) WHERE deleted_at > 0;
DROP INDEX instances_kept;
CREATE INDEX instances_kept ON instances (kept_until) WHERE kept_until > 0;
DROP INDEX jobs_live;
CREATE INDEX jobs_live ON jobs (tenant_id, live_instance_id) WHERE live_instance_id IS NOT NULL;
DROP INDEX jobs_wake;
CREATE INDEX jobs_wake ON jobs (wake_at) WHERE wake_at IS NOT NULL;
DROP INDEX jobs_finished;
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at > 0;

-- +goose Down
DROP INDEX jobs_finished;
CREATE INDEX jobs_finished ON jobs (finished_at);
DROP INDEX jobs_wake;
CREATE INDEX jobs_wake ON jobs (wake_at);
DROP INDEX jobs_live;
CREATE INDEX jobs_live ON jobs (tenant_id, live_instance_id);
DROP INDEX instances_kept;
CREATE INDEX instances_kept ON instances (kept_until);
DROP INDEX instances_deleted;
CREATE INDEX instances_deleted ON instances (deleted_at);
DROP INDEX jobs_kind;
DROP INDEX instances_name;
DROP INDEX instances_engine;
DROP INDEX instances_all;
