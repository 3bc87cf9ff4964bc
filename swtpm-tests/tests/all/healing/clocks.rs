//! Clocks that differ.

use super::bed::Bed;

/// Threat 56
#[test]
fn an_agent_whose_clock_is_five_minutes_ahead_works() {
    Bed::start_skewed("", 300);
}
