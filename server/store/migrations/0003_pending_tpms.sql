-- TPMs that proved themselves and wait for a person: one row for each SPIFFE ID. `asks_for`: 1 new node, 2 new AK. `tpm` is the record
-- that would be enrolled. `decision`: 0 none yet, 1 approved, 2 rejected.
CREATE TABLE pending_tpms (
    id VARCHAR(2048) NOT NULL PRIMARY KEY,
    asks_for SMALLINT NOT NULL,
    pool VARCHAR(64) NOT NULL,
    tpm TEXT NOT NULL,
    source VARCHAR(64) NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    decision SMALLINT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    reason TEXT NOT NULL
);
