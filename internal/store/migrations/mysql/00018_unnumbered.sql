-- +goose Up
-- MySQL has no partial indexes; InnoDB buffers what is added to the others.
SELECT 1;

-- +goose Down
SELECT 1;
