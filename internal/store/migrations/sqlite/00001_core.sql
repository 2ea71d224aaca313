-- +goose Up
-- Times are whole milliseconds since 1970, UTC; 0 means "not yet". Ids are a prefix and a ULID.

CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE hosts (
    id        TEXT    NOT NULL PRIMARY KEY,
    name      TEXT    NOT NULL UNIQUE,
    endpoint  TEXT    NOT NULL,
    advertise TEXT    NOT NULL,
    bind      TEXT    NOT NULL,
    port_low  INTEGER NOT NULL,
    port_high INTEGER NOT NULL
);

CREATE TABLE instances (
    id           TEXT    NOT NULL PRIMARY KEY,
    tenant_id    TEXT    NOT NULL,
    engine       TEXT    NOT NULL,
    version      TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    live_name    TEXT, -- the name while not deleted, so that a name is unique among the living
    plan         TEXT    NOT NULL,
    cpu_millis   INTEGER NOT NULL,
    memory_bytes INTEGER NOT NULL,
    disk_bytes   INTEGER NOT NULL,
    parameters   TEXT    NOT NULL,
    labels       TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    host_id      TEXT    NOT NULL,
    address      TEXT    NOT NULL,
    port         INTEGER NOT NULL,
    fence        INTEGER NOT NULL,
    rev          INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    deleted_at   INTEGER NOT NULL
);
CREATE UNIQUE INDEX instances_live_name ON instances (tenant_id, live_name);
CREATE INDEX instances_list ON instances (tenant_id, deleted_at, id);
CREATE INDEX instances_state ON instances (tenant_id, state, id);
CREATE INDEX instances_deleted ON instances (deleted_at);

CREATE TABLE instance_labels (
    instance_id TEXT NOT NULL,
    name        TEXT NOT NULL,
    value       TEXT NOT NULL,
    PRIMARY KEY (instance_id, name)
);
CREATE INDEX instance_labels_value ON instance_labels (name, value, instance_id);

CREATE TABLE jobs (
    id               TEXT    NOT NULL PRIMARY KEY,
    tenant_id        TEXT    NOT NULL,
    instance_id      TEXT    NOT NULL,
    live_instance_id TEXT UNIQUE, -- the instance while not ended: one job at a time
    engine           TEXT    NOT NULL,
    kind             TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    steps            TEXT    NOT NULL, -- the journal
    error            TEXT,
    attempt          INTEGER NOT NULL,
    crashes          INTEGER NOT NULL,
    undoing          BOOLEAN NOT NULL,
    fence            INTEGER NOT NULL,
    owner            TEXT    NOT NULL,
    lease_until      INTEGER NOT NULL,
    generation       INTEGER NOT NULL,
    wake_at          INTEGER, -- NULL once ended
    callback_url     TEXT    NOT NULL,
    deadline         INTEGER NOT NULL,
    rev              INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    started_at       INTEGER NOT NULL,
    finished_at      INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL
);
CREATE INDEX jobs_wake ON jobs (wake_at);
CREATE INDEX jobs_list ON jobs (tenant_id, id);
CREATE INDEX jobs_state ON jobs (tenant_id, state, id);
CREATE INDEX jobs_instance ON jobs (instance_id, id);
CREATE INDEX jobs_finished ON jobs (finished_at);

CREATE TABLE credentials (
    instance_id TEXT NOT NULL PRIMARY KEY,
    key_id      TEXT NOT NULL,
    ciphertext  BLOB NOT NULL
);

CREATE TABLE ports (
    host_id     TEXT    NOT NULL,
    port        INTEGER NOT NULL,
    instance_id TEXT, -- NULL: nobody's
    name        TEXT    NOT NULL,
    rest_until  INTEGER NOT NULL, -- out of use until then
    PRIMARY KEY (host_id, port)
);
CREATE INDEX ports_free ON ports (host_id, instance_id, rest_until);
CREATE INDEX ports_instance ON ports (instance_id);

CREATE TABLE events (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    tenant_id   TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    instance_id TEXT    NOT NULL,
    job_id      TEXT    NOT NULL,
    message     TEXT    NOT NULL,
    at          INTEGER NOT NULL
);
CREATE INDEX events_list ON events (tenant_id, number);

CREATE TABLE deliveries (
    id          TEXT    NOT NULL PRIMARY KEY,
    tenant_id   TEXT    NOT NULL,
    instance_id TEXT    NOT NULL,
    job_id      TEXT    NOT NULL,
    event_id    TEXT    NOT NULL,
    url         TEXT    NOT NULL,
    body        BLOB    NOT NULL,
    key_id      TEXT    NOT NULL,
    ciphertext  BLOB    NOT NULL,
    state       TEXT    NOT NULL,
    attempt     INTEGER NOT NULL,
    last_status INTEGER NOT NULL,
    last_error  TEXT    NOT NULL,
    due_at      INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    wake_at     INTEGER,
    rev         INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
);
CREATE INDEX deliveries_wake ON deliveries (wake_at);
CREATE INDEX deliveries_ended ON deliveries (state, updated_at);

CREATE TABLE idempotency (
    tenant_id   TEXT    NOT NULL,
    idem_key    TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    key_id      TEXT    NOT NULL,
    ciphertext  BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, idem_key)
);
CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE duties (
    name       TEXT    NOT NULL PRIMARY KEY,
    owner      TEXT    NOT NULL,
    until_time INTEGER NOT NULL,
    rev        INTEGER NOT NULL
);

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
