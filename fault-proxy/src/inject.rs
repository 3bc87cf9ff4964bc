//! A call with its rules.

use std::process::abort;
use std::thread::sleep;
use std::time::Duration;

use cryptoki_sys::CK_RV;

use crate::calls::{Step, count};
use crate::functions::Function;
use crate::rules::{self, Action};

/// How often a call that hangs looks whether it may go on.
const LOOK: Duration = Duration::from_millis(2);

/// Carries a call out as the rules say.
pub(crate) fn around(function: Function, ask: impl FnOnce() -> CK_RV) -> CK_RV {
    count(function, Step::Came);
    let actions = rules::take(function, |action| !matches!(action, Action::Other(..)));
    if actions.is_empty() {
        return ask();
    }
    count(function, Step::Met);
    let (mut instead, mut afterwards) = (None, None);
    for action in actions {
        match action {
            Action::Return(code) => instead = instead.or(Some(code)),
            Action::Lose(code) => afterwards = afterwards.or(Some(code)),
            Action::Delay(time) => sleep(time),
            Action::Hang => hang(function),
            Action::Other(..) => {}
        }
    }
    match (instead, afterwards) {
        (Some(code), _) => code,
        (None, Some(code)) => {
            ask();
            code
        }
        (None, None) => ask(),
    }
}

fn hang(function: Function) {
    count(function, Step::Hangs);
    while rules::hangs(function) {
        sleep(LOOK);
    }
    count(function, Step::GoesOn);
}

/// Ends the program: a fault that can't be injected must not look like one that was survived.
pub(crate) fn stop(reason: &str) -> ! {
    eprintln!("fault proxy: {reason}");
    abort()
}
