//! What a log tells, rule by rule, with good and tampered logs; and what a node can't make it tell.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod boot;
mod command_line;
mod judged;
#[path = "../machine/mod.rs"]
mod machine;
mod others;
mod retyped;
mod secure_boot;
mod separators;
