//! Quotes that fail a check in more than a bit.

use plastron_attestation::Refused;
use plastron_attestation_fake_tpm::AttestedParts;

use super::{forged, in_response};

pub(super) fn quote_signature() -> Box<Refused> {
    in_response(|response| *response.signature.last_mut().unwrap() ^= 1)
}

/// A certification by the same AK, which its own bytes name a certification.
pub(super) fn quote_type() -> Box<Refused> {
    forged(|tpm| {
        tpm.before_signing(|attest| {
            attest.attest_type = 0x8017;
            attest.attested = AttestedParts::Raw(vec![0, 0, 0, 0]);
        });
    })
}

pub(super) fn pcr_selection() -> Box<Refused> {
    forged(|tpm| {
        tpm.before_signing(|attest| {
            if let AttestedParts::Quote { select, .. } = &mut attest.attested {
                select[1].bitmap &= !1;
            }
        });
    })
}
