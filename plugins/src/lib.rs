//! The seams that attestors and upstream authorities implement, server and agent halves.

pub mod node;
pub mod upstream;
pub mod workload;
