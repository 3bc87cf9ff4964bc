//! The table, whole and by class.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cryptoki::context::Function;
use cryptoki::error::{Error, Rv, RvError};

use super::{PinVerdict, Recovery, Row, Verdict, classify, pin_verdict, row};

const VENDOR: u64 = 0x8000_0000;
/// Beyond every code that a version of the standard gives (the last of 3.2 is 0x209).
const BEYOND: u64 = 0x1000;

/// Every code that has a row of its own, in the order of the standard's numbers.
fn rows() -> Vec<(u64, Row)> {
    let mut rows = Vec::new();
    for number in (1..BEYOND).chain([VENDOR]) {
        let Rv::Error(code) = Rv::from(number) else { continue };
        let row = row(code);
        if row.name != row_of_the_rest().name {
            rows.push((number, row));
        }
    }
    rows
}

fn row_of_the_rest() -> Row {
    row(RvError::UnknownErrorCode(BEYOND))
}

fn done(call: Verdict) -> String {
    match call {
        Verdict::Recover(Recovery::Session) => "a new session, once more".to_owned(),
        Verdict::Recover(Recovery::Login) => "a new login, once more".to_owned(),
        Verdict::Recover(Recovery::Module) => "the module anew, once more".to_owned(),
        Verdict::Later => "the caller is told to come back".to_owned(),
        Verdict::Operator(remedy) => format!("permanent: {remedy}"),
        Verdict::Refused => "permanent: refused".to_owned(),
    }
}

fn of_pin(login: PinVerdict) -> &'static str {
    match login {
        PinVerdict::LoggedIn => "as good as logged in",
        PinVerdict::NotSeen => "may be sent again",
        PinVerdict::Refused => "refused: not sent again",
        PinVerdict::Unclear => "perhaps counted: not sent again",
    }
}

fn render() -> String {
    let mut text = String::from(
        "# Answers of a PKCS#11 token, and what the server does\n\n\
         Rendered from `hsm/pkcs11/src/classify.rs`; `UPDATE_GOLDEN=1 cargo test -p plastron-hsm-pkcs11` writes it anew.\n\
         The third column is what an answer to any call leads to, the last one what it means for the PIN when C_Login gives it.\n\n\
         | code | | what is done | the token says | the PIN, after C_Login |\n|---|---|---|---|---|\n",
    );
    let numbered = rows().into_iter().map(|(number, row)| {
        let number = if number == VENDOR { format!("{number:#010x} and above") } else { format!("{number:#05x}") };
        (number, row)
    });
    for (number, Row { name, call, login, says }) in numbered.chain([(String::new(), row_of_the_rest())]) {
        let _ = writeln!(text, "| {number} | {name} | {} | {says} | {} |", done(call), of_pin(login));
    }
    text
}

/// The table as it was reviewed, where operators read it.
#[test]
fn the_table_is_the_reviewed_one() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/plugins/keymanager-pkcs11-errors.md");
    let rendered = render();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &rendered).unwrap();
    }
    assert_eq!(std::fs::read_to_string(golden).unwrap(), rendered);
}

/// The build holds that no code lacks a row; this holds that no row is told twice, and that the rendering has them all.
#[test]
fn every_code_has_a_row_of_its_own() {
    let rows = rows();
    let names: BTreeSet<_> = rows.iter().map(|(_, row)| row.name).collect();
    assert_eq!(names.len(), rows.len());
    // 93 that cryptoki names, 10 of version 3 that it does not, and the vendors'.
    assert_eq!(rows.len(), 104);
    assert!(names.iter().all(|name| name.starts_with("CKR_")));
}

#[test]
fn each_class_has_its_recovery() {
    let of = |rv| classify(&Error::Pkcs11(rv, Function::Sign));
    assert_eq!(of(RvError::SessionHandleInvalid), Verdict::Recover(Recovery::Session));
    assert_eq!(of(RvError::UserNotLoggedIn), Verdict::Recover(Recovery::Login));
    assert_eq!(of(RvError::ObjectHandleInvalid), Verdict::Recover(Recovery::Login));
    assert_eq!(of(RvError::DeviceError), Verdict::Recover(Recovery::Module));
    assert_eq!(of(RvError::TokenNotPresent), Verdict::Recover(Recovery::Module));
    assert_eq!(of(RvError::VendorDefined(VENDOR + 7)), Verdict::Recover(Recovery::Session));
    assert_eq!(of(RvError::DeviceMemory), Verdict::Later);
    assert_eq!(of(RvError::SessionCount), Verdict::Later);
    assert_eq!(of(RvError::MechanismInvalid), Verdict::Refused);
    assert!(matches!(of(RvError::PinLocked), Verdict::Operator(_)));
    assert_eq!(classify(&Error::NotSupported), Verdict::Refused);
    assert!(Recovery::Session < Recovery::Login && Recovery::Login < Recovery::Module);
}

/// A wrong PIN that is sent again locks the token: whatever says something about the PIN leads to a person, never to a retry.
#[test]
fn a_refused_pin_never_leads_to_a_retry() {
    let mut refused = 0;
    for (_, row) in rows().into_iter().filter(|(_, row)| row.login == PinVerdict::Refused) {
        assert!(matches!(row.call, Verdict::Operator(_)), "{}", row.name);
        refused += 1;
    }
    assert_eq!(refused, 7);
}

/// An answer that does not say whether a try was counted is no reason to try again.
#[test]
fn only_an_error_from_before_the_pin_was_seen_lets_it_be_sent_again() {
    let not_seen: Vec<_> =
        rows().into_iter().filter(|(_, row)| row.login == PinVerdict::NotSeen).map(|(_, row)| row.name).collect();
    let certain = [
        "CKR_SLOT_ID_INVALID",
        "CKR_DEVICE_REMOVED",
        "CKR_SESSION_CLOSED",
        "CKR_SESSION_HANDLE_INVALID",
        "CKR_TOKEN_NOT_PRESENT",
        "CKR_TOKEN_NOT_RECOGNIZED",
        "CKR_CRYPTOKI_NOT_INITIALIZED",
    ];
    assert_eq!(not_seen, certain);
    assert_eq!(row_of_the_rest().login, PinVerdict::Unclear);
    assert_eq!(pin_verdict(&Error::NotSupported), PinVerdict::Unclear);
}
