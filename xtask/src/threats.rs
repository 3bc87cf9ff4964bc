//! `cargo xtask threats`: writes into `docs/threat-model.md` which tests say, in their doc comments, that they are of a threat.
//!
//! A row is `| N | attack | tests |`. Its last cell becomes the tests that carry `Threat N`; where no test does, a cell that says
//! something of its own (out of scope, and why) stays, and an empty one becomes "no test yet".

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::tidy::{TidyError, read_sources};

/// The table.
const DOCUMENT: &str = "docs/threat-model.md";
/// What a row without a test says.
const NONE: &str = "no test yet";

/// Fills the table.
pub(crate) fn write(root: &Path) -> Result<(), TidyError> {
    let mut tests: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (path, text) in read_sources(root)? {
        if path.ends_with(".rs") && !path.starts_with("xtask/") {
            collect(&path, &text, &mut tests);
        }
    }
    let path = root.join(DOCUMENT);
    let unreadable = |source| TidyError::Read { path: path.clone(), source };
    let text = fs::read_to_string(&path).map_err(unreadable)?;
    fs::write(&path, filled(&text, &tests)).map_err(unreadable)
}

/// The tests of a file, by threat.
fn collect(path: &str, text: &str, tests: &mut BTreeMap<u32, Vec<String>>) {
    let mut threats: Vec<u32> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            threats.extend(numbers(comment));
        } else if let Some(name) = function_name(line) {
            for threat in threats.drain(..) {
                tests.entry(threat).or_default().push(format!("`{path}::{name}`"));
            }
        } else if !line.starts_with("#[") {
            threats.clear();
        }
    }
}

/// The numbers of `Threat 8`, of `Threat 8, 13: why`, and of `Threat 3: why. Threat 5: why`.
pub(crate) fn numbers(comment: &str) -> Vec<u32> {
    comment.split("Threat ").skip(1).flat_map(leading_numbers).collect()
}

/// `8, 13` of `8, 13: why`.
fn leading_numbers(text: &str) -> Vec<u32> {
    let list = text.split(|c: char| !c.is_ascii_digit() && !matches!(c, ',' | ' ')).next().unwrap_or_default();
    list.split(',').map_while(|number| number.trim().parse().ok()).collect()
}

fn function_name(line: &str) -> Option<&str> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split('(').next()
}

fn filled(text: &str, tests: &BTreeMap<u32, Vec<String>>) -> String {
    let mut out = String::new();
    for line in text.lines() {
        match row(line) {
            Some((number, attack, told)) => {
                let cell = match tests.get(&number) {
                    Some(found) => found.join("<br>"),
                    None if told.is_empty() || told.starts_with('`') => NONE.to_owned(),
                    None => told.to_owned(),
                };
                out.push_str(&format!("| {number} | {attack} | {cell} |\n"));
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

fn row(line: &str) -> Option<(u32, &str, &str)> {
    let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.splitn(3, '|').map(str::trim);
    Some((cells.next()?.parse().ok()?, cells.next()?, cells.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_behind_their_word() {
        assert_eq!(numbers(" Threat 8"), [8]);
        assert_eq!(numbers(" Threat 8, 13: replay of 2 quotes."), [8, 13]);
        assert_eq!(numbers(" Threat 3: CVE-2022-0317. Threat 5: more."), [3, 5]);
        assert!(numbers(" A threat 9, Threats 10").is_empty());
    }

    #[test]
    fn rows_name_the_tests_that_say_so() {
        let code =
            "/// Threat 8, 13: replay.\n#[tokio::test]\nasync fn refused() {}\n/// Threat 9\n\nfn unrelated() {}\n";
        let mut tests = BTreeMap::new();
        collect("a/x.rs", code, &mut tests);
        let table =
            "| # | attack | tests |\n| 8 | a | no test yet |\n| 9 | b | `gone` |\n| 10 | c | out of scope: d |\n";
        let expected = "| # | attack | tests |\n| 8 | a | `a/x.rs::refused` |\n| 9 | b | no test yet |\n| 10 | c | out of scope: d |\n";
        assert_eq!(filled(table, &tests), expected);
    }
}
