//! What every program does at start and stop.
