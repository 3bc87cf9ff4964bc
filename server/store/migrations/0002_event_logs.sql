-- Firmware event logs of nodes, each once; `nodes.event_log_sha256` says whose. A log that no node names is dropped.
CREATE TABLE event_logs (
    sha256 BLOB NOT NULL PRIMARY KEY,
    log BLOB NOT NULL
);

ALTER TABLE nodes ADD COLUMN event_log_sha256 BLOB;

CREATE INDEX nodes_by_event_log ON nodes (event_log_sha256);
