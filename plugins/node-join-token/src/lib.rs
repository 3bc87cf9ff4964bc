//! The join_token node attestor.
