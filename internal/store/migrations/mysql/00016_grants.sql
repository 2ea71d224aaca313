-- +goose Up
-- What lets an operator read the credentials of a tenant for some time. Each statement can be
-- repeated: MySQL takes back none of them.
CREATE TABLE IF NOT EXISTS grants_given (
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- of the operator; empty: a key
    key_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- empty as well: the admin key
    given_by VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    reason VARCHAR(400) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL, -- before its time; 0: not
    KEY grants_given_list (tenant_id, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- +goose Down
DROP TABLE grants_given;
