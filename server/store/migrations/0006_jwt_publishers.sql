-- Which downstream server published a JWT authority of the own trust domain: each may have a share of the bundle. A row whose authority has
-- left the bundle goes when the next one comes.
CREATE TABLE jwt_publishers (
    key_id VARCHAR(255) NOT NULL PRIMARY KEY,
    publisher VARCHAR(2048) NOT NULL
);
