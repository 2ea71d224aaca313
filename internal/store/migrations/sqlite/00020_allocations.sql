-- +goose Up
-- Disks of hosts, and what units hold of hosts and disks.
CREATE TABLE disks (
    id TEXT NOT NULL PRIMARY KEY,
    host_id TEXT NOT NULL,
    path TEXT NOT NULL, -- empty: the engine's own folder
    type TEXT NOT NULL,
    capacity INTEGER NOT NULL, -- 0: not limited
    state TEXT NOT NULL,
    enforcement TEXT NOT NULL,
    total INTEGER NOT NULL,
    free INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    used INTEGER NOT NULL, -- the sum of the allocations
    units INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    UNIQUE (host_id, path)
);

CREATE TABLE allocations (
    instance_id TEXT NOT NULL PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    host_id TEXT NOT NULL,
    disk_id TEXT NOT NULL,
    cpu_millis INTEGER NOT NULL,
    memory_bytes INTEGER NOT NULL,
    disk_bytes INTEGER NOT NULL,
    ports INTEGER NOT NULL,
    holder TEXT NOT NULL,
    job_id TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX allocations_host ON allocations (host_id, instance_id);
CREATE INDEX allocations_disk ON allocations (disk_id);
CREATE INDEX allocations_holder ON allocations (tenant_id, holder);
CREATE INDEX allocations_job ON allocations (job_id);

-- What hosts are reached with; the id is the host's, or "pool" for what is for all, and a name.
CREATE TABLE host_secrets (
    id TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL,
    ciphertext BLOB NOT NULL
);

-- Regions, and zones of regions; a region is the row without a zone.
CREATE TABLE places (
    region TEXT NOT NULL,
    zone TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (region, zone)
);

-- What there is already: each host has one disk, and each unit that holds a port has its share.
INSERT INTO disks (id, host_id, path, type, capacity, state, enforcement, total, free, seen_at, used, units, rev)
SELECT 'dsk_' || SUBSTR(id, 5), id, '', '', 0, 'available', 'none', 0, 0, 0, 0, 0, 1 FROM hosts;
INSERT INTO allocations (instance_id, tenant_id, host_id, disk_id, cpu_millis, memory_bytes, disk_bytes, ports, holder, job_id, created_at)
SELECT i.id, i.tenant_id, i.host_id, 'dsk_' || SUBSTR(i.host_id, 5), i.cpu_millis, i.memory_bytes, i.disk_bytes, i.ports, '', '', i.created_at
FROM instances AS i JOIN hosts AS h ON h.id = i.host_id
WHERE EXISTS (SELECT 1 FROM ports AS p WHERE p.instance_id = i.id AND p.host_id = i.host_id);
UPDATE hosts SET
    cpu_used = (SELECT COALESCE(SUM(a.cpu_millis), 0) FROM allocations AS a WHERE a.host_id = hosts.id),
    memory_used = (SELECT COALESCE(SUM(a.memory_bytes), 0) FROM allocations AS a WHERE a.host_id = hosts.id),
    units = (SELECT COUNT(*) FROM allocations AS a WHERE a.host_id = hosts.id);
UPDATE disks SET
    used = (SELECT COALESCE(SUM(a.disk_bytes), 0) FROM allocations AS a WHERE a.disk_id = disks.id),
    units = (SELECT COUNT(*) FROM allocations AS a WHERE a.disk_id = disks.id);

-- +goose Down
DROP TABLE places;
DROP TABLE host_secrets;
DROP TABLE allocations;
DROP TABLE disks;
