-- +goose Up
ALTER TABLE instances ADD COLUMN placement VARCHAR(6144) NOT NULL DEFAULT ''; -- where it was asked to be; JSON

-- +goose Down
ALTER TABLE instances DROP COLUMN placement;
