//! What a test wants to happen, read from its file whenever that has changed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cryptoki_sys::CK_RV;

use crate::calls;
use crate::functions::Function;
use crate::inject::stop;

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is answered, and the real module is not asked.
    Return(CK_RV),
    /// The real module is asked, and its answer replaced.
    Lose(CK_RV),
    /// It waits.
    Delay(Duration),
    /// It waits until the rules say no more that it does.
    Hang,
    /// It uses another key: (CKA_ID of the one that is asked for, CKA_ID of the one that is used).
    Other(Vec<u8>, Vec<u8>),
}

#[derive(Clone, Debug)]
struct Rule {
    function: Function,
    skip: u64,
    times: Option<u64>,
    action: Action,
}

/// A version of the file: a test that writes twice within one tick of the clock makes another file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

struct Rules {
    version: Option<Version>,
    rules: Vec<Rule>,
}

static RULES: Mutex<Rules> = Mutex::new(Rules { version: None, rules: Vec::new() });

/// What happens to this call, in the order of the rules; each is used once by this. `wanted` says which actions the caller can carry out.
pub(crate) fn take(function: Function, wanted: impl Fn(&Action) -> bool) -> Vec<Action> {
    let mut rules = RULES.lock().unwrap_or_else(PoisonError::into_inner);
    rules.refresh();
    let mut actions = Vec::new();
    for rule in rules.rules.iter_mut().filter(|rule| rule.function == function && wanted(&rule.action)) {
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        match &mut rule.times {
            Some(0) => continue,
            Some(times) => *times -= 1,
            None => {}
        }
        actions.push(rule.action.clone());
    }
    actions
}

/// Whether the rules still have a `hang` for this function, used or not.
pub(crate) fn hangs(function: Function) -> bool {
    let mut rules = RULES.lock().unwrap_or_else(PoisonError::into_inner);
    rules.refresh();
    rules.rules.iter().any(|rule| rule.function == function && rule.action == Action::Hang)
}

impl Rules {
    fn refresh(&mut self) {
        let Some(path) = calls::path("rules") else { return };
        let version = match fs::metadata(&path) {
            Ok(metadata) => Some(Version {
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => stop(&format!("can't look at {}: {error}", path.display())),
        };
        if version == self.version {
            return;
        }
        self.version = version;
        self.rules = if version.is_some() { read(&path) } else { Vec::new() };
    }
}

fn read(path: &Path) -> Vec<Rule> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => stop(&format!("can't read {}: {error}", path.display())),
    };
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| parse(line).unwrap_or_else(|| stop(&format!("can't read the rule {line:?}")))).collect()
}

fn parse(line: &str) -> Option<Rule> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let function = Function::ALL.iter().copied().find(|function| function.name() == name)?;
    let (mut skip, mut times, mut action) = (0, None, None);
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let next = match key {
            "skip" => {
                skip = value.parse().ok()?;
                continue;
            }
            "times" => {
                times = Some(value.parse().ok()?);
                continue;
            }
            "return" => Action::Return(code(value)?),
            "lose" => Action::Lose(code(value)?),
            "delay" => Action::Delay(Duration::from_millis(value.parse().ok()?)),
            "hang" => Action::Hang,
            "other" => {
                let (asked, used) = value.split_once(':')?;
                Action::Other(bytes(asked)?, bytes(used)?)
            }
            _ => return None,
        };
        if action.replace(next).is_some() {
            return None;
        }
    }
    let action = action?;
    let fits = !matches!(action, Action::Other(..))
        || matches!(function, Function::C_SignInit | Function::C_GetAttributeValue);
    fits.then_some(Rule { function, skip, times, action })
}

fn code(text: &str) -> Option<CK_RV> {
    CK_RV::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks_exact(2);
    if hex.is_empty() || !digits.remainder().is_empty() {
        return None;
    }
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
