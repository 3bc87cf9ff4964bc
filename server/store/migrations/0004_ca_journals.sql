-- Several servers on one database have slots of their own, for X.509 CAs and for JWT keys. `certificate`, `intermediates` (a JSON list
-- of hexadecimal DER) and `upstream_authority_id` are a CA's; `jwt_key_id` and `jwt_public_key` are a JWT key's. `status` has SPIRE's
-- numbers: 2 prepared, 3 active, 4 old. What one server wrote before becomes the journal of the server whose identifier is all zeros.
CREATE TABLE ca_journal (
    server VARCHAR(32) NOT NULL,
    slot VARCHAR(32) NOT NULL,
    key_id BLOB NOT NULL,
    spki_sha256 BLOB NOT NULL,
    certificate BLOB,
    intermediates TEXT NOT NULL,
    upstream_authority_id VARCHAR(255),
    jwt_key_id VARCHAR(255),
    jwt_public_key BLOB,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    status SMALLINT NOT NULL,
    PRIMARY KEY (server, slot)
);
INSERT INTO ca_journal (server, slot, key_id, spki_sha256, certificate, intermediates, not_before, not_after, status)
SELECT '00000000000000000000000000000000', slot, key_id, spki_sha256, certificate, '[]', not_before, not_after, status
FROM ca_slots;
DROP TABLE ca_slots;

-- The servers on this database: when each was last there, by its own clock, and up to which change it had followed the log.
CREATE TABLE servers (
    id VARCHAR(32) NOT NULL PRIMARY KEY,
    seen_at BIGINT NOT NULL,
    revision BIGINT NOT NULL
);
