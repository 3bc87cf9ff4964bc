//! The seams that attestors implement, server and agent halves.

pub mod node;
pub mod workload;
