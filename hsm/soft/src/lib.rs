//! Signing keys in memory or on disk.
