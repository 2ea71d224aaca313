-- +goose Up
CREATE INDEX instances_all ON instances (tenant_id, id); -- with the deleted
CREATE INDEX instances_engine ON instances (tenant_id, engine, deleted_at, id);
CREATE INDEX instances_name ON instances (tenant_id, name, id);
CREATE INDEX jobs_kind ON jobs (tenant_id, kind, id);

-- +goose Down
DROP INDEX jobs_kind ON jobs;
DROP INDEX instances_name ON instances;
DROP INDEX instances_engine ON instances;
DROP INDEX instances_all ON instances;
