-- +goose Up
-- What is written first and numbered afterwards goes into the indexes by number, and into the
-- one by age, only then: it costs less whoever waits for the write.
DROP INDEX events_seq;
CREATE UNIQUE INDEX events_seq ON events (tenant_id, seq) WHERE seq IS NOT NULL;
DROP INDEX events_instance;
CREATE INDEX events_instance ON events (instance_id, seq) WHERE seq IS NOT NULL;
DROP INDEX events_at;
CREATE INDEX events_at ON events (at) WHERE seq IS NOT NULL;
DROP INDEX audit_tenant;
CREATE INDEX audit_tenant ON audit (tenant_id, number) WHERE number IS NOT NULL;
DROP INDEX audit_subject;
CREATE INDEX audit_subject ON audit (subject, number) WHERE number IS NOT NULL;

-- +goose Down
DROP INDEX audit_subject;
CREATE INDEX audit_subject ON audit (subject, number);
DROP INDEX audit_tenant;
CREATE INDEX audit_tenant ON audit (tenant_id, number);
DROP INDEX events_at;
CREATE INDEX events_at ON events (at);
DROP INDEX events_instance;
CREATE INDEX events_instance ON events (instance_id, seq);
DROP INDEX events_seq;
CREATE UNIQUE INDEX events_seq ON events (tenant_id, seq);
