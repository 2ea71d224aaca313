-- +goose Up
ALTER TABLE hosts ADD COLUMN engine_id VARCHAR(128) NOT NULL DEFAULT ''; -- the engine's own name; '' before the first contact
ALTER TABLE hosts ADD COLUMN missing_since BIGINT NOT NULL DEFAULT 0; -- since when much of its data is missing
ALTER TABLE instances ADD COLUMN data_lost BOOLEAN NOT NULL DEFAULT FALSE; -- it failed because its volume was gone
ALTER TABLE watches ADD COLUMN ended_at BIGINT NOT NULL DEFAULT 0; -- the last end of its server that was told of

-- +goose Down
ALTER TABLE watches DROP COLUMN ended_at;
ALTER TABLE instances DROP COLUMN data_lost;
ALTER TABLE hosts DROP COLUMN missing_since;
ALTER TABLE hosts DROP COLUMN engine_id;
