//! Clocks that are set while the programs run, and clocks that differ.

use std::time::Duration;

use super::bed::{BOUND, Bed, HOUR, MONTH};

/// Nothing panicked, and nothing asks for something in a loop.
fn assert_calm(bed: &mut Bed) {
    for process in [bed.server.process(), bed.agent.process()] {
        assert!(process.is_running(), "{}", process.log());
        assert!(!process.log().contains("panicked"), "{}", process.log());
    }
    let count = |log: String| log.matches("level=").count();
    let before = [count(bed.server.process().log()), count(bed.agent.process().log())];
    std::thread::sleep(Duration::from_secs(10));
    let after = [count(bed.server.process().log()), count(bed.agent.process().log())];
    for (before, after) in before.into_iter().zip(after) {
        assert!(after - before < 50, "{} lines in ten seconds", after - before);
    }
}

/// From one time to another, in seconds ahead of now: never before now, since the TPM's certificate begins there.
fn jump(what: &str, from: i64, to: i64) {
    let mut bed = Bed::start_by("", from, from);
    let node = bed.node();
    bed.set_clocks(to);
    bed.await_svid(what);
    assert_eq!(bed.node(), node);
    assert_calm(&mut bed);
    bed.await_svid("and it stays so");
}

/// Suspended machines, or a clock battery that was empty.
///
/// Threat 56
#[test]
fn both_clocks_are_set_a_month_ahead() {
    jump("both clocks 30 days ahead", 0, MONTH);
}

/// Threat 56
#[test]
fn both_clocks_are_set_an_hour_back() {
    jump("both clocks an hour back", HOUR, 0);
}

/// Threat 56
#[test]
fn both_clocks_are_set_a_month_back() {
    jump("both clocks 30 days back", MONTH, 0);
}

/// Nothing is wrong with the server, so nothing heals before the clock does: the agent asks, calmly, and is back at once.
///
/// Threat 56
#[test]
fn an_agent_alone_with_a_wrong_clock_is_back_when_it_is_right() {
    let mut bed = Bed::start("");
    bed.set_agent_clock(MONTH);
    bed.agent.process().wait_for_line("Failed to rotate agent SVID", BOUND).unwrap();
    bed.set_agent_clock(0);
    bed.await_svid("the agent's clock is right again");
    assert_calm(&mut bed);
}

/// Threat 56
#[test]
fn an_agent_whose_clock_is_five_minutes_ahead_works() {
    Bed::start_by("", 0, 300);
}

/// What is issued is valid from five minutes before. (Less ten seconds here: the certificate is made before the agent looks at it.)
///
/// Threat 56
#[test]
fn an_agent_whose_clock_is_five_minutes_late_works() {
    Bed::start_by("", 300, 10);
}
