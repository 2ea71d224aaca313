-- +goose Up
ALTER TABLE jobs ADD COLUMN parent_id TEXT; -- the job that has started this one
ALTER TABLE jobs ADD COLUMN parent_step TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_parent ON jobs (parent_id, id) WHERE parent_id IS NOT NULL;

-- +goose Down
DROP INDEX jobs_parent;
ALTER TABLE jobs DROP COLUMN parent_step;
ALTER TABLE jobs DROP COLUMN parent_id;
