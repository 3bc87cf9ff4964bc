//! Words of a status: SPIRE's, and no more than arrive.

use plastron_server_core::admission::{AdmissionError, RenewalError};
use plastron_server_core::issuance::SvidRefusal;
use plastron_server_core::minting::MintError;
use plastron_spiffe::x509::CsrError;
use tonic::{Code, Status};

use super::{Failure, explain};
use crate::limits::MAX_MESSAGE_LEN;

/// What is wrong with a CSR, after SPIRE's words for the call.
pub(super) fn csr(failure: &Failure) -> Option<String> {
    let (step, error) = match failure {
        Failure::Admission(AdmissionError::Csr(error)) | Failure::Renewal(RenewalError::Csr(error)) => {
            ("failed to parse CSR", error)
        }
        Failure::Svid(SvidRefusal::Csr(CsrError::Signature)) => return Some("invalid CSR signature".to_owned()),
        Failure::Svid(SvidRefusal::Csr(error)) | Failure::Mint(MintError::Csr(error)) => ("malformed CSR", error),
        _ => return None,
    };
    Some(match error {
        CsrError::Malformed { reason } => format!("{step}: {reason}"),
        error => format!("{step}: {}", explain(error)),
    })
}

/// As much of a message as arrives: it travels in a header, percent-encoded, and clients drop calls whose headers are long.
pub(super) fn shortened(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE_LEN) {
        Some((at, _)) => format!("{}…", message.get(..at).unwrap_or_default()),
        None => message,
    }
}

/// What a decoder says of a message that is too long, with the code that every other gRPC library has for it.
pub(crate) fn decoded(status: Status) -> Status {
    match status.code() {
        Code::OutOfRange => {
            Status::resource_exhausted(format!("received message larger than max: {}", status.message()))
        }
        _ => status,
    }
}
