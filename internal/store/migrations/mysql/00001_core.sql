-- +goose Up
-- Times are whole milliseconds since 1970, UTC; 0 means "not yet". Ids are a prefix and a ULID.

CREATE TABLE settings (
    name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE hosts (
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL UNIQUE,
    endpoint VARCHAR(255) NOT NULL,
    advertise VARCHAR(255) NOT NULL,
    bind VARCHAR(255) NOT NULL,
    port_low BIGINT NOT NULL,
    port_high BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE instances (
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    engine VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    version VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    live_name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin, -- the name while not deleted, so that a name is unique among the living
    plan VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    cpu_millis BIGINT NOT NULL,
    memory_bytes BIGINT NOT NULL,
    disk_bytes BIGINT NOT NULL,
    parameters TEXT NOT NULL,
    labels TEXT NOT NULL,
    state VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    reason TEXT NOT NULL,
    host_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    address VARCHAR(255) NOT NULL,
    port BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE UNIQUE INDEX instances_live_name ON instances (tenant_id, live_name);
CREATE INDEX instances_list ON instances (tenant_id, deleted_at, id);
CREATE INDEX instances_state ON instances (tenant_id, state, id);
CREATE INDEX instances_deleted ON instances (deleted_at);

CREATE TABLE instance_labels (
    instance_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    value VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    PRIMARY KEY (instance_id, name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE INDEX instance_labels_value ON instance_labels (name, value, instance_id);

CREATE TABLE jobs (
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    instance_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    live_instance_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin UNIQUE, -- the instance while not ended: one job at a time
    engine VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    kind VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    state VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    steps MEDIUMTEXT NOT NULL, -- the journal
    error TEXT,
    attempt BIGINT NOT NULL,
    crashes BIGINT NOT NULL,
    undoing BOOLEAN NOT NULL,
    fence BIGINT NOT NULL,
    owner VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    lease_until BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    wake_at BIGINT, -- NULL once ended
    callback_url VARCHAR(2048) NOT NULL,
    deadline BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE INDEX jobs_wake ON jobs (wake_at);
CREATE INDEX jobs_list ON jobs (tenant_id, id);
CREATE INDEX jobs_state ON jobs (tenant_id, state, id);
CREATE INDEX jobs_instance ON jobs (instance_id, id);
CREATE INDEX jobs_finished ON jobs (finished_at);

CREATE TABLE credentials (
    instance_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    key_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    ciphertext MEDIUMBLOB NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE ports (
    host_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    port BIGINT NOT NULL,
    instance_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin, -- NULL: nobody's
    name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    rest_until BIGINT NOT NULL, -- out of use until then
    PRIMARY KEY (host_id, port)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE INDEX ports_free ON ports (host_id, instance_id, rest_until);
CREATE INDEX ports_instance ON ports (instance_id);

CREATE TABLE events (
    number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    type VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    instance_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    job_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    message TEXT NOT NULL,
    at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE INDEX events_list ON events (tenant_id, number);

CREATE TABLE deliveries (
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    instance_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    job_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    event_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    url VARCHAR(2048) NOT NULL,
    body MEDIUMBLOB NOT NULL,
    key_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    ciphertext MEDIUMBLOB NOT NULL,
    state VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    attempt BIGINT NOT NULL,
    last_status BIGINT NOT NULL,
    last_error TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    wake_at BIGINT,
    rev BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE INDEX deliveries_wake ON deliveries (wake_at);
CREATE INDEX deliveries_ended ON deliveries (state, updated_at);

CREATE TABLE idempotency (
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    idem_key VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    fingerprint VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    key_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    ciphertext MEDIUMBLOB NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, idem_key)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE duties (
    name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL PRIMARY KEY,
    owner VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    until_time BIGINT NOT NULL,
    rev BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- +goose Down
DROP TABLE duties;
DROP TABLE idempotency;
DROP TABLE deliveries;
DROP TABLE events;
DROP TABLE ports;
DROP TABLE credentials;
DROP TABLE jobs;
DROP TABLE instance_labels;
DROP TABLE instances;
DROP TABLE hosts;
DROP TABLE settings;
