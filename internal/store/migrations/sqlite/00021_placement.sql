-- +goose Up
ALTER TABLE instances ADD COLUMN placement TEXT NOT NULL DEFAULT ''; -- where it was asked to be; JSON

-- +goose Down
ALTER TABLE instances DROP COLUMN placement;
