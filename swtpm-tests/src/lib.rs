//! Real swtpm, SoftHSM and the real programs as processes.
