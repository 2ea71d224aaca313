-- +goose Up
-- Hosts as a pool: where they are, what they have, what is used of it.
ALTER TABLE hosts ADD COLUMN source TEXT NOT NULL DEFAULT 'environment'; -- who keeps it: the environment of the workers, or operators
ALTER TABLE hosts ADD COLUMN state TEXT NOT NULL DEFAULT 'online';
ALTER TABLE hosts ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN region TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN zone TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN rack TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN arch TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN purpose TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN labels TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN health TEXT NOT NULL DEFAULT 'healthy';
ALTER TABLE hosts ADD COLUMN health_note TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN health_since INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN cpu_found INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN memory_found INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN os TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN kernel TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN engine_version TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN storage_driver TEXT NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN found_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN cpu_percent INTEGER NOT NULL DEFAULT 0; -- overcommit; 0: not limited
ALTER TABLE hosts ADD COLUMN cpu_kept INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN memory_percent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN memory_kept INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN cpu_cap INTEGER NOT NULL DEFAULT 0; -- 0: not limited
ALTER TABLE hosts ADD COLUMN memory_cap INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN cpu_used INTEGER NOT NULL DEFAULT 0; -- the sum of the allocations, as memory_used and units
ALTER TABLE hosts ADD COLUMN memory_used INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN units INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN live_address TEXT; -- of a host of the pool; no other of them has it
ALTER TABLE hosts ADD COLUMN live_engine TEXT; -- the same
ALTER TABLE hosts ADD COLUMN host_key TEXT NOT NULL DEFAULT ''; -- the public key that its machine must show
ALTER TABLE hosts ADD COLUMN before_state TEXT NOT NULL DEFAULT ''; -- what it goes back to where a job on it fails
ALTER TABLE hosts ADD COLUMN taken_over INTEGER NOT NULL DEFAULT 0; -- what is there that nobody knows of is left alone
ALTER TABLE hosts ADD COLUMN import_options TEXT; -- JSON: how it became a host
ALTER TABLE hosts ADD COLUMN checks TEXT; -- JSON: what the last look at it found
ALTER TABLE hosts ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN rev INTEGER NOT NULL DEFAULT 1;
ALTER TABLE hosts ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX hosts_live_address ON hosts (live_address);
CREATE UNIQUE INDEX hosts_live_engine ON hosts (live_engine);

-- +goose Down
DROP INDEX hosts_live_engine;
DROP INDEX hosts_live_address;
ALTER TABLE hosts DROP COLUMN updated_at;
ALTER TABLE hosts DROP COLUMN created_at;
ALTER TABLE hosts DROP COLUMN rev;
ALTER TABLE hosts DROP COLUMN fence;
ALTER TABLE hosts DROP COLUMN checks;
ALTER TABLE hosts DROP COLUMN import_options;
ALTER TABLE hosts DROP COLUMN taken_over;
ALTER TABLE hosts DROP COLUMN before_state;
ALTER TABLE hosts DROP COLUMN host_key;
ALTER TABLE hosts DROP COLUMN live_engine;
ALTER TABLE hosts DROP COLUMN live_address;
ALTER TABLE hosts DROP COLUMN units;
ALTER TABLE hosts DROP COLUMN memory_used;
ALTER TABLE hosts DROP COLUMN cpu_used;
ALTER TABLE hosts DROP COLUMN memory_cap;
ALTER TABLE hosts DROP COLUMN cpu_cap;
ALTER TABLE hosts DROP COLUMN memory_kept;
ALTER TABLE hosts DROP COLUMN memory_percent;
ALTER TABLE hosts DROP COLUMN cpu_kept;
ALTER TABLE hosts DROP COLUMN cpu_percent;
ALTER TABLE hosts DROP COLUMN found_at;
ALTER TABLE hosts DROP COLUMN storage_driver;
ALTER TABLE hosts DROP COLUMN engine_version;
ALTER TABLE hosts DROP COLUMN kernel;
ALTER TABLE hosts DROP COLUMN os;
ALTER TABLE hosts DROP COLUMN memory_found;
ALTER TABLE hosts DROP COLUMN cpu_found;
ALTER TABLE hosts DROP COLUMN health_since;
ALTER TABLE hosts DROP COLUMN health_note;
ALTER TABLE hosts DROP COLUMN health;
ALTER TABLE hosts DROP COLUMN reserved;
ALTER TABLE hosts DROP COLUMN labels;
ALTER TABLE hosts DROP COLUMN purpose;
ALTER TABLE hosts DROP COLUMN arch;
ALTER TABLE hosts DROP COLUMN rack;
ALTER TABLE hosts DROP COLUMN zone;
ALTER TABLE hosts DROP COLUMN region;
ALTER TABLE hosts DROP COLUMN reason;
ALTER TABLE hosts DROP COLUMN state;
ALTER TABLE hosts DROP COLUMN source;
