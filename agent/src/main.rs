//! The Plastron agent.

fn main() {}
