-- How the bundles of foreign trust domains are fetched; the bundles themselves are rows of `bundles` that are not `own`. `profile`:
-- 1 https_web, 2 https_spiffe, which has `endpoint_spiffe_id`.
CREATE TABLE federation_relationships (
    trust_domain VARCHAR(255) NOT NULL PRIMARY KEY,
    bundle_endpoint_url VARCHAR(2048) NOT NULL,
    profile SMALLINT NOT NULL,
    endpoint_spiffe_id VARCHAR(2048)
);
