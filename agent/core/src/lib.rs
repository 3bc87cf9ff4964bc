//! Attest, keep SVIDs fresh, decide what a workload may have.
