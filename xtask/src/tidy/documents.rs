//! Documents that promise: every invariant and every threat that claims a test names one that exists.

use super::Fault;
use super::sources::File;
use crate::threats::numbers;

/// Sentences of this document that begin so name the test that holds them.
const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";
const INVARIANT: &str = "Architecture invariant:";

/// The table of threats and tests.
const THREATS: &str = "docs/threat-model.md";

/// The documents' faults.
pub(super) fn faults(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files {
        match file.path.as_str() {
            ARCHITECTURE => faults.extend(invariant_faults(file, files)),
            THREATS => faults.extend(threat_faults(file, files)),
            _ => {}
        }
    }
    faults
}

fn invariant_faults(document: &File, files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, line) in document.text.lines().enumerate().filter(|(_, line)| line.contains(INVARIANT)) {
        let place = format!("{}:{}", document.path, number + 1);
        let tests = named_tests(line);
        if tests.is_empty() {
            faults.push(Fault::new(&place, "an invariant names the test that holds it, as `path/file.rs::test`"));
        }
        faults.extend(tests.into_iter().filter(|test| !test.exists(files)).map(|test| test.missing(&place)));
    }
    faults
}

/// Rows begin with `| N |`. A test that a row names carries that number in its doc comment.
fn threat_faults(document: &File, files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, line) in document.text.lines().enumerate() {
        let Some(row) = line.split('|').nth(1).and_then(|cell| cell.trim().parse::<u32>().ok()) else { continue };
        let place = format!("{}:{}", document.path, number + 1);
        for test in named_tests(line) {
            match test.doc_comment(files) {
                None => faults.push(test.missing(&place)),
                Some(doc) if !names_threat(&doc, row) => {
                    let rule = format_args!("{}::{} does not say that it is of threat {row}", test.path, test.name)
                        .to_string();
                    faults.push(Fault::new(&place, rule));
                }
                Some(_) => {}
            }
        }
    }
    faults
}

fn names_threat(doc: &str, row: u32) -> bool {
    doc.lines().any(|line| numbers(line).contains(&row))
}

/// A test that a document names: `path/file.rs::name`, in back quotes.
struct NamedTest<'a> {
    path: &'a str,
    name: &'a str,
}

fn named_tests(line: &str) -> Vec<NamedTest<'_>> {
    let quoted = line.split('`').skip(1).step_by(2);
    let named = quoted.filter_map(|text| text.split_once("::")).filter(|(path, _)| path.ends_with(".rs"));
    named.map(|(path, name)| NamedTest { path, name }).collect()
}

impl NamedTest<'_> {
    fn exists(&self, files: &[File]) -> bool {
        self.doc_comment(files).is_some()
    }

    /// The comment above the test, empty if it has none; `None` if there is no such test.
    fn doc_comment(&self, files: &[File]) -> Option<String> {
        let file = files.iter().find(|file| file.path == self.path)?;
        let signature = format!("fn {}(", self.name);
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        let at = lines.iter().position(|line| line.contains(&signature))?;
        let above = lines.iter().take(at).rev();
        let comment: Vec<&str> =
            above.take_while(|line| line.starts_with("///") || line.starts_with("#[")).copied().collect();
        Some(comment.join("\n"))
    }

    fn missing(&self, place: &str) -> Fault {
        Fault::new(place, format_args!("there is no test {} in {}", self.name, self.path))
    }
}
