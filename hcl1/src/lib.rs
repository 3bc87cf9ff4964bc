//! SPIRE's configuration language with positions.
