//! TLS that authenticates SPIFFE IDs; Unix sockets with peer credentials.
