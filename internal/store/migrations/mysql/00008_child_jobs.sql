-- +goose Up
ALTER TABLE jobs ADD COLUMN parent_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin; -- the job that has started this one
ALTER TABLE jobs ADD COLUMN parent_step VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL DEFAULT '';
CREATE INDEX jobs_parent ON jobs (parent_id, id);

-- +goose Down
DROP INDEX jobs_parent ON jobs;
ALTER TABLE jobs DROP COLUMN parent_step;
ALTER TABLE jobs DROP COLUMN parent_id;
