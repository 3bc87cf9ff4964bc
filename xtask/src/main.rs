//! Layering, generated code, recorded evidence.

fn main() {}
