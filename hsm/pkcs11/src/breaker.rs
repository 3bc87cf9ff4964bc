//! The circuit breaker: a device that failed again and again is left alone for a while, and calls fail at once instead of waiting for it.
//!
//! Closed, it counts failures in a row. Open, nothing is asked until a pause is over; each pause that did not help is twice as long, up
//! to a bound. Half-open, one call goes through as a probe, and for it the module is set up again whatever its error says. What the
//! token refuses for good (a wrong scheme, a locked PIN, no such key) is an answer of a device that works, and no failure.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plastron_hsm::Circuit;

/// So many failures in a row open the circuit; one whose recovery failed as well does at once.
const THRESHOLD: u32 = 5;
/// The first pause: a session that a network HSM drops is back by then.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest one, and so how late it is noticed that a device is back.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(16);

pub(crate) struct Breaker {
    state: Mutex<State>,
    /// True while the state is `Closed` without failures, so that a signature costs no lock.
    calm: AtomicBool,
}

enum State {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration, reason: String },
    HalfOpen { until: Instant, pause: Duration, reason: String },
}

/// Leave to make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// As usual.
    Usual,
    /// It finds out whether the device works again.
    Probe,
}

/// A call that is not made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LeftAlone {
    pub(crate) reason: String,
    pub(crate) retry_after: Duration,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::Closed { failures: 0 }), calm: AtomicBool::new(true) }
    }

    /// Before a call is put into the queue. A probe whose outcome is not heard of within `patience` is lost, and the next call is one.
    pub(crate) fn admit(&self, now: Instant, patience: Duration) -> Result<Pass, LeftAlone> {
        if self.calm.load(Ordering::Acquire) {
            return Ok(Pass::Usual);
        }
        let mut state = self.lock();
        match &mut *state {
            State::Closed { .. } => Ok(Pass::Usual),
            State::Open { until, pause, reason } | State::HalfOpen { until, pause, reason } if *until <= now => {
                let reason = std::mem::take(reason);
                *state = State::HalfOpen { until: now + patience, pause: *pause, reason };
                Ok(Pass::Probe)
            }
            State::Open { until, reason, .. } => {
                Err(LeftAlone { reason: reason.clone(), retry_after: until.saturating_duration_since(now) })
            }
            State::HalfOpen { until, pause, reason } => {
                let retry_after = until.saturating_duration_since(now).min(*pause);
                Err(LeftAlone { reason: reason.clone(), retry_after })
            }
        }
    }

    /// Before a call that waited in the queue goes to the device.
    pub(crate) fn still(&self, pass: Pass, now: Instant) -> Result<(), LeftAlone> {
        if pass == Pass::Probe || self.calm.load(Ordering::Acquire) {
            return Ok(());
        }
        match &*self.lock() {
            State::Closed { .. } => Ok(()),
            State::Open { until, pause, reason } | State::HalfOpen { until, pause, reason } => {
                let left = until.saturating_duration_since(now).min(*pause);
                Err(LeftAlone { reason: reason.clone(), retry_after: left })
            }
        }
    }

    /// The device did what it was asked for.
    pub(crate) fn worked(&self) {
        if !self.calm.load(Ordering::Acquire) {
            self.set(&mut self.lock(), State::Closed { failures: 0 });
        }
    }

    /// The device answered, though not with what it was asked for: that ends a probe, and says nothing about the failures before.
    pub(crate) fn answered(&self, pass: Pass) {
        if pass == Pass::Probe {
            self.worked();
        }
    }

    /// The device failed; `hopeless` where a recovery failed as well.
    pub(crate) fn failed(&self, pass: Pass, now: Instant, reason: String, hopeless: bool) {
        let mut state = self.lock();
        let next = match &mut *state {
            State::Closed { failures } if !hopeless && *failures + 1 < THRESHOLD => {
                State::Closed { failures: *failures + 1 }
            }
            State::Closed { .. } => State::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE, reason },
            State::HalfOpen { pause, .. } | State::Open { pause, .. } if pass == Pass::Probe => {
                let pause = (*pause * 2).min(LONGEST_PAUSE);
                State::Open { until: now + pause, pause, reason }
            }
            // A straggler from before tells nothing new.
            State::HalfOpen { .. } | State::Open { .. } => return,
        };
        self.set(&mut state, next);
    }

    /// A probe was not made: nobody waited for it any more, or the device had no room for it.
    pub(crate) fn gave_up(&self, pass: Pass, now: Instant) {
        let mut state = self.lock();
        if let (Pass::Probe, State::HalfOpen { pause, reason, .. }) = (pass, &mut *state) {
            let (pause, reason) = (*pause, std::mem::take(reason));
            self.set(&mut state, State::Open { until: now, pause, reason });
        }
    }

    pub(crate) fn circuit(&self, now: Instant) -> Circuit {
        match &*self.lock() {
            State::Closed { .. } => Circuit::Closed,
            State::Open { until, reason, .. } => {
                Circuit::Open { reason: reason.clone(), retry_after: until.saturating_duration_since(now) }
            }
            State::HalfOpen { reason, .. } => Circuit::HalfOpen { reason: reason.clone() },
        }
    }

    fn set(&self, state: &mut State, next: State) {
        match (&*state, &next) {
            (State::Closed { .. }, State::Open { reason, .. }) => {
                tracing::error!(reason, "The token is left alone for a while: calls fail at once");
            }
            (State::Open { .. } | State::HalfOpen { .. }, State::Closed { .. }) => {
                tracing::info!("The token works again");
            }
            _ => {}
        }
        self.calm.store(matches!(next, State::Closed { failures: 0 }), Ordering::Release);
        *state = next;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Breaker, FIRST_PAUSE, LONGEST_PAUSE, Pass, THRESHOLD};
    use plastron_hsm::Circuit;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn fail(breaker: &Breaker, now: Instant, times: u32) {
        for _ in 0..times {
            breaker.failed(Pass::Usual, now, "CKR_DEVICE_ERROR".to_owned(), false);
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_no_others() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..3 {
            fail(&breaker, now, THRESHOLD - 1);
            breaker.worked();
        }
        assert_eq!(breaker.admit(now, PATIENCE), Ok(Pass::Usual));
        fail(&breaker, now, THRESHOLD - 1);
        // An answer is no success, and no failure.
        breaker.answered(Pass::Usual);
        fail(&breaker, now, 1);
        let left = breaker.admit(now, PATIENCE).unwrap_err();
        assert_eq!((left.reason.as_str(), left.retry_after), ("CKR_DEVICE_ERROR", FIRST_PAUSE));
        assert!(breaker.still(Pass::Usual, now).is_err(), "what waits in the queue fails too");

        let hopeless = Breaker::new();
        hopeless.failed(Pass::Usual, now, "no token".to_owned(), true);
        assert!(hopeless.admit(now, PATIENCE).is_err());
    }

    #[test]
    fn one_probe_goes_through_when_the_pause_is_over() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        fail(&breaker, now, THRESHOLD);
        let later = now + FIRST_PAUSE;
        assert!(breaker.admit(later - Duration::from_millis(1), PATIENCE).is_err());
        assert_eq!(breaker.admit(later, PATIENCE), Ok(Pass::Probe));
        assert!(breaker.admit(later, PATIENCE).unwrap_err().retry_after <= FIRST_PAUSE);
        assert_eq!(breaker.still(Pass::Probe, later), Ok(()));
        assert!(matches!(breaker.circuit(later), Circuit::HalfOpen { .. }));
        breaker.worked();
        assert_eq!(breaker.circuit(later), Circuit::Closed);
        assert_eq!(breaker.admit(later, PATIENCE), Ok(Pass::Usual));
    }

    #[test]
    fn each_probe_that_fails_doubles_the_pause_up_to_a_bound() {
        let (breaker, mut now) = (Breaker::new(), Instant::now());
        fail(&breaker, now, THRESHOLD);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let left = breaker.admit(now, PATIENCE).unwrap_err().retry_after;
            pauses.push(left.as_secs());
            now += left;
            assert_eq!(breaker.admit(now, PATIENCE), Ok(Pass::Probe));
            // A straggler neither lengthens the pause nor ends the probe.
            fail(&breaker, now, 1);
            breaker.failed(Pass::Probe, now, "still dead".to_owned(), true);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(LONGEST_PAUSE.as_secs(), 16);
    }

    #[test]
    fn a_probe_that_is_lost_or_given_up_does_not_keep_it_shut() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        fail(&breaker, now, THRESHOLD);
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.admit(later, PATIENCE), Ok(Pass::Probe));
        breaker.gave_up(Pass::Probe, later);
        assert_eq!(breaker.admit(later, PATIENCE), Ok(Pass::Probe));
        assert!(breaker.admit(later, PATIENCE).is_err());
        // It hangs in the device.
        assert_eq!(breaker.admit(later + PATIENCE, PATIENCE), Ok(Pass::Probe));
    }
}
