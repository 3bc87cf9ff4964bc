//! JWT-SVIDs: what is issued validates, and every vector (V-J) is accepted or refused for its own reason.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod accepted;
mod fixture;
mod issue;
mod refused;
