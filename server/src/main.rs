//! The Plastron server.

fn main() {}
