//! SPIFFE, SPIRE and Plastron interfaces.
