-- One row for each change of state, in the order in which they were committed. `subject` is the key of what changed.
CREATE TABLE change_log (
    sequence BIGINT NOT NULL PRIMARY KEY,
    committed_at BIGINT NOT NULL,
    kind VARCHAR(32) NOT NULL,
    subject VARCHAR(2048) NOT NULL
);

-- The sequence number of the last change: one row, whose update orders the writers.
CREATE TABLE change_log_head (
    id INTEGER NOT NULL PRIMARY KEY,
    last_sequence BIGINT NOT NULL
);
INSERT INTO change_log_head (id, last_sequence) VALUES (1, 0);

-- Lists are JSON: they are read and written with their entry and never looked for. `identity_hash` is the SHA-256 of SPIFFE ID,
-- parent and selectors, which no two entries share.
CREATE TABLE entries (
    id VARCHAR(255) NOT NULL PRIMARY KEY,
    identity_hash BLOB NOT NULL UNIQUE,
    spiffe_id VARCHAR(2048) NOT NULL,
    parent_id VARCHAR(2048) NOT NULL,
    selectors TEXT NOT NULL,
    x509_svid_ttl BIGINT NOT NULL,
    jwt_svid_ttl BIGINT NOT NULL,
    federates_with TEXT NOT NULL,
    admin SMALLINT NOT NULL,
    downstream SMALLINT NOT NULL,
    expires_at BIGINT NOT NULL,
    dns_names TEXT NOT NULL,
    revision_number BIGINT NOT NULL,
    store_svid SMALLINT NOT NULL,
    hint VARCHAR(1024) NOT NULL,
    created_at BIGINT NOT NULL,
    disable_x509_svid_prefetch SMALLINT NOT NULL,
    jwt_svid_include_jti SMALLINT NOT NULL
);

-- `standing`: 1 active, 2 cut off, 3 quarantined, 4 banned. Serial numbers only where it is active.
CREATE TABLE nodes (
    id VARCHAR(2048) NOT NULL PRIMARY KEY,
    attestation_type VARCHAR(255) NOT NULL,
    standing SMALLINT NOT NULL,
    standing_reason TEXT NOT NULL,
    serial BLOB,
    not_after BIGINT NOT NULL,
    pending_serial BLOB,
    pending_not_after BIGINT,
    can_reattest SMALLINT NOT NULL,
    selectors TEXT NOT NULL,
    agent_version VARCHAR(64) NOT NULL,
    ak_name BLOB UNIQUE,
    tpm TEXT
);

CREATE TABLE join_tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL,
    alias VARCHAR(2048)
);

CREATE TABLE bundles (
    trust_domain VARCHAR(255) NOT NULL PRIMARY KEY,
    own SMALLINT NOT NULL,
    refresh_hint BIGINT NOT NULL,
    sequence_number BIGINT NOT NULL
);

CREATE TABLE x509_authorities (
    trust_domain VARCHAR(255) NOT NULL REFERENCES bundles (trust_domain),
    certificate_sha256 BLOB NOT NULL,
    position BIGINT NOT NULL,
    certificate BLOB NOT NULL,
    tainted SMALLINT NOT NULL,
    PRIMARY KEY (trust_domain, certificate_sha256)
);

CREATE TABLE jwt_authorities (
    trust_domain VARCHAR(255) NOT NULL REFERENCES bundles (trust_domain),
    key_id VARCHAR(255) NOT NULL,
    position BIGINT NOT NULL,
    public_key BLOB NOT NULL,
    expires_at BIGINT NOT NULL,
    tainted SMALLINT NOT NULL,
    PRIMARY KEY (trust_domain, key_id)
);

-- `status` has SPIRE's numbers: 2 prepared, 3 active, 4 old.
CREATE TABLE ca_slots (
    slot VARCHAR(32) NOT NULL PRIMARY KEY,
    key_id BLOB NOT NULL,
    spki_sha256 BLOB NOT NULL,
    certificate BLOB NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    status SMALLINT NOT NULL
);
