-- +goose Up
-- Disks of hosts, and what units hold of hosts and disks. Each statement can be repeated.
CREATE TABLE IF NOT EXISTS disks (
    id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    host_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    path VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL, -- empty: the engine's own folder
    type VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    capacity BIGINT NOT NULL, -- 0: not limited
    state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    enforcement VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    total BIGINT NOT NULL,
    free BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    used BIGINT NOT NULL, -- the sum of the allocations
    units BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    UNIQUE KEY disks_path (host_id, path)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS allocations (
    instance_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    tenant_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    host_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    disk_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    cpu_millis BIGINT NOT NULL,
    memory_bytes BIGINT NOT NULL,
    disk_bytes BIGINT NOT NULL,
    ports BIGINT NOT NULL,
    holder VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL,
    job_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at BIGINT NOT NULL,
    KEY allocations_host (host_id, instance_id),
    KEY allocations_disk (disk_id),
    KEY allocations_holder (tenant_id, holder),
    KEY allocations_job (job_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- What hosts are reached with; the id is the host's, or "pool" for what is for all, and a name.
CREATE TABLE IF NOT EXISTS host_secrets (
    id VARCHAR(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    key_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    ciphertext MEDIUMBLOB NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- Regions, and zones of regions; a region is the row without a zone.
CREATE TABLE IF NOT EXISTS places (
    region VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    zone VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    name VARCHAR(255) NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (region, zone)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- What there is already: each host has one disk, and each unit that holds a port has its share.
INSERT IGNORE INTO disks (id, host_id, path, type, capacity, state, enforcement, total, free, seen_at, used, units, rev)
SELECT CONCAT('dsk_', SUBSTR(id, 5)), id, '', '', 0, 'available', 'none', 0, 0, 0, 0, 0, 1 FROM hosts;
INSERT IGNORE INTO allocations (instance_id, tenant_id, host_id, disk_id, cpu_millis, memory_bytes, disk_bytes, ports, holder, job_id, created_at)
SELECT i.id, i.tenant_id, i.host_id, CONCAT('dsk_', SUBSTR(i.host_id, 5)), i.cpu_millis, i.memory_bytes, i.disk_bytes, i.ports, '', '', i.created_at
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
