//! Device tests: real TPMs, real tokens, real programs. One executable, one module per scenario.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod harness;
